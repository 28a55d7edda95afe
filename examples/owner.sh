#!/bin/sh
# Own a worker from a shell script: jq reads the events, timeout (coreutils) sets the limit.
#
#     owner.sh upload   FILE STORE [SECONDS]
#     owner.sh download FILE STORE MANIFEST [SECONDS]
#
# An upload prints the file's manifest: the one hash that gets it back. SECONDS limits each run of
# a worker. STORE_WORKERS names the worker (default: store-workers.pyz here), PYTHON the
# interpreter (default: python3).
#
# FILE may be a FIFO. Then SECONDS is all that bounds how long it waits for its other end, and what
# was taken from it, or written to it, is not sent again: `retryable` is false.
#
# Exit status: 0 done, 1 failed, 124 out of time, 130 or 143 cancelled by Ctrl-C or SIGTERM.
set -u

action=$1 file=$2 store=$3 manifest=''
shift 3
test "$action" = upload || { manifest=$1; shift; }
seconds=${1:-0}
worker=${STORE_WORKERS:-store-workers.pyz} python=${PYTHON:-python3}
runs=5 # how often a message is sent

folder=$(mktemp -d) || exit 1
running='' cancelled=''
trap 'rm -rf "$folder"' EXIT
trap 'cancelled=130; test -z "$running" || kill -TERM "$running"' INT
trap 'cancelled=143; test -z "$running" || kill -TERM "$running"' TERM

# The message; jq writes it, so that no name of a file can break it.
case $action in
upload) type=UPLOAD_START ;;
*) type=DOWNLOAD_START ;;
esac
jq -nc --arg type "$type" --arg path "$file" --arg store "$store" --arg manifest "$manifest" \
    '{$type, $path, $store, settings: {max_attempts: 3}}
        + {manifest: (if $manifest == "" then true else $manifest end)}' \
    > "$folder/message" || exit 1

# Shows a person how far it is, while the events are kept for later.
show() {
    tee "$folder/events" | jq -r --unbuffered '
        if .type == "PROGRESS" and has("read_bytes") then
            "read \(.read_bytes) of \(.total_bytes // "?") bytes"
        elif .type == "PROGRESS" then "fetched \(.fetched_chunks) of \(.total_chunks)"
        elif .type == "CHUNK_RETRY" or .type == "WARNING" then "\(.code): \(.message)"
        else empty end' >&2
}

# Runs one worker; sets status. timeout gives it a process group of its own, so that Ctrl-C
# reaches this script alone, and hands on the signal that ends it.
run() {
    rm -f "$folder/pipe"
    mkfifo "$folder/pipe"
    show < "$folder/pipe" &
    showing=$!
    timeout --kill-after=5 "$seconds" "$python" "$worker" < "$folder/message" > "$folder/pipe" &
    running=$!
    wait "$running"
    status=$?
    while kill -0 "$running" 2> /dev/null; do # a trapped signal ends wait early
        wait "$running"
        status=$?
    done
    running=''
    wait "$showing"
}

n=1 pause=1
while :; do
    run
    last=$(tail -n 1 "$folder/events")
    test "$status" -ne 0 || break
    test -z "$cancelled" || { echo cancelled >&2; exit "$cancelled"; }
    test "$status" -ne 124 || { echo "out of time after $seconds s" >&2; exit 124; }
    printf '%s' "${last:-"{}"}" | jq -r '"\(.code): \(.message)"' >&2
    retryable=$(printf '%s' "${last:-"{}"}" | jq -r '.retryable')
    # A worker that was killed left no last line: that is worth another run, too, but where it
    # took bytes from a pipe, or wrote to one: those are gone.
    test "$retryable" = true || { test ! -e "$file" || test -f "$file"; } || exit 1
    test "$retryable" != false && test "$n" -lt "$runs" || exit 1
    sleep "$pause" & # the next run finds what this one stored: nothing is sent twice
    wait $!
    test -z "$cancelled" || exit "$cancelled"
    n=$((n + 1)) pause=$((pause * 2))
done

test "$action" != upload || printf '%s' "$last" | jq -r .manifest
printf '%s' "$last" | jq -r --arg action "$action" \
    '"\($action)ed \(.size) bytes in \(.duration_ms / 1000) s"' >&2
