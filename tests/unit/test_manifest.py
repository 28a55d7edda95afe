"""Manifests: text, levels and checks."""

from __future__ import annotations

import hashlib
from random import Random
from typing import TYPE_CHECKING

import pytest

from store_workers.errors import ChunkFailure, ErrorCode
from store_workers.stream import manifest
from store_workers.stream.chunk_list import ChunkList
from store_workers.stream.manifest import Header, Listed, write_manifest
from store_workers.wire.events import FileUploaded
from tests.stores.flaky_store import FlakyStore
from tests.stores.memory_store import MemoryStore
from tests.support.manifests import read_levels, read_manifest
from tests.unit.in_process import InProcess, upload

if TYPE_CHECKING:
    from pathlib import Path

FULL = 512 * 1024


def listed(count: int) -> ChunkList:
    """A list of that many chunks, which need not exist."""
    chunks = ChunkList()
    for number in range(count):
        chunks.put(number, hashlib.sha256(b"%d" % number).digest(), FULL - number % 7)
    return chunks


def header_of(chunks: ChunkList, size: int = 12_345) -> Header:
    return Header(
        store_workers_manifest=1,
        of=Listed.FILE,
        size=size,
        compressed_size=sum(chunks.sizes()),
        chunks=len(chunks),
        chunk_size=FULL,
        boundaries="fixed",
    )


class Pieces:
    """What was stored, in order."""

    def __init__(self) -> None:
        self.names: list[str] = []
        self.chunks: dict[str, bytes] = {}

    def store(self, piece: bytes) -> bytes:
        digest = hashlib.sha256(piece).digest()
        self.names.append(digest.hex())
        self.chunks[digest.hex()] = piece
        return digest


@pytest.mark.parametrize("count", [1, 2, 4096, 4097, 9000])
def test_a_list_is_one_chunk(count: int) -> None:
    pieces, chunks = Pieces(), listed(count)
    name = write_manifest(header_of(chunks), chunks, pieces.store)
    assert pieces.names == [name]
    (level,) = read_levels(pieces.chunks.__getitem__, name)
    assert level.hashes == list(chunks)
    assert level.sizes == list(chunks.sizes())
    assert (level.header["of"], level.header["size"]) == ("file", 12_345)


def test_a_long_list_is_cut_and_listed_in_its_turn() -> None:
    pieces, chunks = Pieces(), listed(40_000)
    name = write_manifest(header_of(chunks), chunks, pieces.store)
    assert pieces.names[-1] == name
    top, bottom = read_levels(pieces.chunks.__getitem__, name)
    assert top.hashes == pieces.names[:-1]
    assert top.header["of"] == "manifest"
    assert len(top.hashes) == 3
    assert bottom.hashes == list(chunks)


def test_levels_go_on_until_one_chunk_is_left(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(manifest, "LARGEST_PIECE", 1024)
    monkeypatch.setattr("tests.support.manifests.LONGEST_PIECE", 1024)
    pieces, chunks = Pieces(), listed(3000)
    levels = read_levels(
        pieces.chunks.__getitem__, write_manifest(header_of(chunks), chunks, pieces.store)
    )
    assert len(levels) >= 3
    assert levels[-1].hashes == list(chunks)


def test_a_manifest_is_compressed_as_a_file_is(tmp_path: Path) -> None:
    pieces, chunks = Pieces(), listed(40_000)
    write_manifest(header_of(chunks), chunks, pieces.store)
    text = tmp_path / "text"
    text.write_bytes(b"".join(manifest.ManifestText(header_of(chunks), chunks)._blocks()))
    store = MemoryStore()
    stream = store.stream(upload(text, store).hashes)
    assert stream == b"".join(pieces.chunks[name] for name in pieces.names[:-1])


# Uploads.


@pytest.fixture
def noise(tmp_path: Path) -> Path:
    """A file that is cut into several full chunks."""
    path = tmp_path / "noise"
    path.write_bytes(Random(7).randbytes(3 * FULL + 12_345))
    return path


@pytest.mark.parametrize("asking_is_free", [True, False])
def test_an_upload_gives_one_hash_for_its_list(noise: Path, asking_is_free: bool) -> None:
    plain, store = MemoryStore(), MemoryStore(asking_is_free=asking_is_free)
    without = upload(noise, plain, sha256=True)
    end = upload(noise, store, sha256=True, manifest=True)
    assert end.manifest is not None
    assert "hashes" not in end.encode()
    assert store.sent[-1] == end.manifest, "the list came before what it names"
    assert store.chunks.keys() - plain.chunks.keys() == {end.manifest}
    found = read_manifest(store.chunks.__getitem__, end.manifest)
    assert tuple(found.hashes) == without.hashes
    assert found.header == {
        "store_workers_manifest": 1,
        "of": "file",
        "size": end.size,
        "compressed_size": end.compressed_size,
        "chunks": end.chunks,
        "chunk_size": FULL,
        "boundaries": "fixed",
        "sha256": end.sha256,
    }
    told = {**without.encode(), "duration_ms": 0}
    assert told.pop("hashes")
    assert {**end.encode(), "duration_ms": 0, "manifest": None} == {**told, "manifest": None}


def test_the_same_file_has_the_same_manifest(noise: Path, tmp_path: Path) -> None:
    other = tmp_path / "other name"
    other.write_bytes(noise.read_bytes())
    store = MemoryStore()
    first = upload(noise, store, manifest=True)
    store.sent.clear()
    again = upload(other, store, manifest=True, threads=1, settings={"concurrency": 1})
    assert again.manifest == first.manifest
    assert store.sent == [], "the second upload had nothing to send"


def test_a_manifest_is_not_stored_where_a_chunk_is_missing(noise: Path) -> None:
    memory = MemoryStore()
    hashes = upload(noise, MemoryStore()).hashes
    store = FlakyStore(memory, 100, verbs=["put"], only=[hashes[2]])
    run = start_upload(noise, store, settings={"max_attempts": 2, "retry_delay_ms": 1})
    with pytest.raises(ChunkFailure) as failed:
        run.finish()
    assert failed.value.hash == hashes[2]
    assert set(memory.chunks) <= set(hashes)


def test_a_manifest_that_cannot_be_stored_fails_the_upload(noise: Path) -> None:
    name = upload(noise, MemoryStore(), manifest=True).manifest or ""
    store = FlakyStore(MemoryStore(), 100, verbs=["put"], only=[name])
    run = start_upload(noise, store, settings={"max_attempts": 3, "retry_delay_ms": 1})
    with pytest.raises(ChunkFailure) as failed:
        run.finish()
    assert failed.value.code is ErrorCode.STORE_UNAVAILABLE
    assert failed.value.evidence() == {"hash": name, "attempts": 3, "http_status": 503}
    assert failed.value.message == "the file's manifest: flaky"
    assert [failure.attempt for failure, _ in run.retries] == [1, 2]


def test_a_manifest_is_tried_again(noise: Path) -> None:
    name = upload(noise, MemoryStore(), manifest=True).manifest or ""
    store = FlakyStore(MemoryStore(), 2, verbs=["put"], only=[name])
    run = start_upload(noise, store, settings={"retry_delay_ms": 1})
    end = run.finish()
    assert isinstance(end, FileUploaded)
    assert end.manifest == name
    assert len(run.retries) == 2


def start_upload(path: Path, store: object, **more: object) -> InProcess:
    message = {"type": "UPLOAD_START", "path": str(path), "manifest": True, **more}
    return InProcess(message, store)  # type: ignore[arg-type]
