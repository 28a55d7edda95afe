#!/usr/bin/env bash
# Find the chunks of a store that no kept manifest names, and delete them on request.
#
#   prune.sh LIST STORE            dry run: print what would be deleted
#   prune.sh LIST STORE --delete   delete it
#
# LIST is a file of lines that begin with a manifest's 64 digits, as the verb `upload` prints them.
# Empty lines and lines that begin with # are ignored.
# STORE is a directory, or a remote of rclone such as `s3:bucket/prefix`.
#
# Run it only while no upload writes to the store: an upload relies on chunks that it found there, and
# no manifest names them yet. It stops, and deletes nothing, if a manifest cannot be read.
set -euo pipefail

die() {
    echo "prune.sh: $*" >&2
    exit 1
}

[ $# -ge 2 ] && [ $# -le 3 ] && [ "${3:---delete}" = --delete ] || die "usage: prune.sh LIST STORE [--delete]"
list=$1 store=${2%/} delete=${3:-}
[ -f "$list" ] || die "$list: no such file"
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

if [ -d "$store" ]; then
    fetch() { cat "$store/${1:0:2}/$1"; }
    names() { find "$store" -type f -path "$store/??/*" -printf '%f\n'; }
    remove() { while read -r hash; do rm -- "$store/${hash:0:2}/$hash"; done; }
elif [[ $store == *:* ]]; then
    fetch() { rclone cat "$store/$1"; }
    names() { rclone lsf --files-only "$store"; }
    remove() { rclone delete --files-from - "$store"; }
else
    die "$store: no such directory, and not a remote of rclone"
fi

# Print the hashes that one manifest names, its own first. A long list is itself stored in chunks,
# which a manifest "of": "manifest" names: then the loop goes one level down. Each step says by itself
# what happens when it fails.
expand() {
    echo "$1"
    echo "$1" > "$work/parts"
    while true; do
        { while read -r part; do fetch "$part" || exit 1; done; } < "$work/parts" | zstd -dqc > "$work/text" ||
            die "$1: cannot be read; nothing is deleted"
        sed 1d "$work/text" | cut -d ' ' -f 1 > "$work/parts"
        sed -n '1s/^{"store_workers_manifest":1,.*"chunks":\([0-9]*\).*/\1/p' "$work/text" > "$work/count"
        [ "$(cat "$work/count")" = "$(grep -cE '^[0-9a-f]{64}$' "$work/parts")" ] ||
            die "$1: not a whole manifest; nothing is deleted"
        cat "$work/parts"
        sed -n 1p "$work/text" | grep -q '"of":"manifest"' || return 0
    done
}

# As in sha256sum's format, a backslash before the digits means that the name is written with escapes.
sed -nE 's/^\\?([0-9a-f]{64})( .*)?$/\1/p' "$list" | sort -u > "$work/manifests"
strange=$(grep -vnE '^(\\?[0-9a-f]{64}( .*)?|#.*|[[:space:]]*)$' "$list" | head -n 1 || true)
[ -z "$strange" ] || die "$list: line ${strange%%:*} does not begin with a manifest; nothing is deleted"
# An empty list would delete everything. Often, its disk is not mounted.
[ -s "$work/manifests" ] || die "$list: holds no manifest; nothing is deleted"

while read -r manifest; do
    expand "$manifest"
done < "$work/manifests" > "$work/all"
sort -u "$work/all" > "$work/named"
names | grep -E '^[0-9a-f]{64}$' | sort > "$work/stored" || true
comm -13 "$work/named" "$work/stored" > "$work/unnamed"
missing=$(comm -23 "$work/named" "$work/stored" | wc -l)
[ "$missing" -eq 0 ] || echo "prune.sh: warning: $missing chunks are named and not stored" >&2

echo "$(wc -l < "$work/manifests") manifests, $(wc -l < "$work/stored") chunks, $(wc -l < "$work/unnamed") of them in no manifest"
if [ -z "$delete" ]; then
    cat "$work/unnamed"
else
    remove < "$work/unnamed"
fi
