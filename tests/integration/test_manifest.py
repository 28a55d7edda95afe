"""Manifests with every kind of store, and without this software."""

from __future__ import annotations

import shutil
import subprocess
from typing import TYPE_CHECKING

import pytest

from store_workers.stream import manifest
from store_workers.stream.chunk_list import ChunkList
from store_workers.stream.manifest import Header, Listed, write_manifest
from tests.docs.documents import ROOT, blocks
from tests.support.data import KIB, MIB, Inputs, noise, text
from tests.support.manifests import read_levels, read_manifest
from tests.support.reference import check_stored, digest
from tests.support.worker import Session, download, run_worker, upload

if TYPE_CHECKING:
    from pathlib import Path

    from tests.support.stores import Store

LONGEST_LINE = 2 * KIB


@pytest.mark.parametrize("name", ["0 bytes", "600 KiB", "9 MiB of text"])
def test_a_file_has_one_name(name: str, store: Store, inputs: Inputs, tmp_path: Path) -> None:
    source = inputs.path(name)
    content = source.read_bytes()
    up = run_worker(upload(source, store.url, manifest=True, sha256=True)).terminal
    found = read_manifest(store.read, up["manifest"])
    check_stored(store.read, found.hashes, content)
    assert store.files() == {*found.hashes, up["manifest"]}
    assert (found.header["size"], found.header["sha256"]) == (len(content), digest(content))
    assert (up["chunks"], up["compressed_size"]) == (len(found.hashes), sum(found.sizes))

    with Session(store.url) as one:
        again = one.run(upload(source, None, manifest=True, sha256=True)).terminal
        assert (again["manifest"], again["new_chunks"]) == (up["manifest"], 0)
        if store.server:
            keys = [request.key for request in store.server.requests("PUT")]
            assert len(keys) == len(set(keys)), "something was put twice"
            assert keys[-1] == up["manifest"], "the manifest has to be the last"

        back = one.run(download(tmp_path / "target", None, up["manifest"])).terminal
        assert (tmp_path / "target").read_bytes() == content
        assert (back["size"], back["sha256"]) == (len(content), digest(content))


def test_no_line_is_long(directory: Store, tmp_path: Path) -> None:
    source = tmp_path / "file"
    source.write_bytes(noise(24 * MIB))
    up = run_worker(upload(source, directory.url, manifest=True))
    back = run_worker(download(tmp_path / "target", directory.url, up.terminal["manifest"]))
    assert up.terminal["chunks"] * 64 > LONGEST_LINE
    for run in (up, back):
        assert max(map(len, run.stdout.splitlines())) < LONGEST_LINE


@pytest.mark.parametrize("piece", [512 * KIB, 250])
def test_a_file_comes_back_with_curl_zstd_and_a_loop(
    nginx: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, piece: int
) -> None:
    """The commands of the document, on a manifest of one level and on one of several."""
    source = tmp_path / "file"
    source.write_bytes(text(4 * MIB) + noise(12 * MIB))
    up = run_worker(upload(source, nginx.url, manifest=True)).terminal
    name = relisted(nginx, up["manifest"], tmp_path, monkeypatch, piece)
    monkeypatch.setattr("tests.support.manifests.LONGEST_PIECE", piece)
    assert len(read_levels(nginx.read, name)) == (1 if piece > KIB else 3)

    (commands,) = [
        block.text
        for block in blocks(ROOT / "docs" / "recover.md", "sh")
        if "while" in block.text and "manifest" in block.text and "text" in block.text
    ]
    bash = shutil.which("bash")
    assert bash
    script = commands.replace("http://localhost:8080/chunks", nginx.url.rstrip("/"))
    script = script.replace("cmp numbers.txt", f"cmp {source}")
    subprocess.run(
        [bash, "-euo", "pipefail", "-c", f"manifest={name}\n{script}"], cwd=tmp_path, check=True
    )
    back = run_worker(download(tmp_path / "target", nginx.url, name)).terminal
    assert back["size"] == 16 * MIB
    assert digest((tmp_path / "target").read_bytes()) == digest(source.read_bytes())


def relisted(
    store: Store, name: str, folder: Path, monkeypatch: pytest.MonkeyPatch, piece: int
) -> str:
    """Store the list of a file anew, cut into pieces of that size; return its name."""
    found = read_manifest(store.read, name)
    chunks = ChunkList()
    for place, (hash, size) in enumerate(zip(found.hashes, found.sizes, strict=True)):
        chunks.put(place, bytes.fromhex(hash), size)
    monkeypatch.setattr(manifest, "LARGEST_PIECE", piece)
    header = {**found.header, "of": Listed.FILE}

    def put(data: bytes) -> bytes:
        path = folder / "piece"
        path.write_bytes(data)
        target = f"{store.url.rstrip('/')}/{digest(data)}"
        command = ["curl", "--silent", "--fail", "--upload-file", str(path), target]
        subprocess.run(command, check=True)
        return bytes.fromhex(digest(data))

    return write_manifest(Header(**header), chunks, put)
