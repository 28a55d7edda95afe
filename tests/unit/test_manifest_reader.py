"""Untrusted manifests: their checks, and downloads with them."""

from __future__ import annotations

import hashlib
import json
import tracemalloc
from random import Random
from typing import TYPE_CHECKING, Any

import pytest
import zstandard

from store_workers.errors import ChunkFailure, ErrorCode, StreamCorrupt, WorkerError
from store_workers.stream.codec_threads import CodecThreads
from store_workers.stream.compression import frame_maker
from store_workers.stream.manifest import write_manifest
from store_workers.stream.manifest_reader import read_manifest
from store_workers.stream.seek_table import SeekTable
from store_workers.stream.spans import FRAME_SPAN
from tests.stores.memory_store import MemoryStore
from tests.support.reference import zstd_decode
from tests.unit.in_process import download, upload
from tests.unit.test_manifest import FULL, Pieces, header_of, listed

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from store_workers.stream.chunk_list import ChunkList
    from store_workers.stream.manifest_reader import Manifest


def pieces_of(text: bytes) -> Pieces:
    """A text that is stored like a manifest in one chunk; `name` is its hash."""
    pieces = Pieces()
    pieces.store(compressed(text))
    return pieces


def compressed(text: bytes, *, sealed: bool = True) -> bytes:
    make = frame_maker(3, verify=False, threads=CodecThreads(1))()
    table = SeekTable()
    frames = []
    for start in range(0, len(text), FRAME_SPAN):
        frame = make(memoryview(text[start : start + FRAME_SPAN]))
        table.add(len(frame.data), frame.size, frame.checksum)
        frames.append(frame.data)
    return b"".join([*frames, table.encode() if sealed else b""])


def read(pieces: Pieces, name: str | None = None) -> Manifest:
    return read_manifest(
        name or pieces.names[-1], lambda chunks: [pieces.chunks[hash] for hash in chunks]
    )


@pytest.mark.parametrize("count", [1, 4097, 40_000])
def test_what_was_written_is_read(count: int) -> None:
    pieces, chunks = Pieces(), listed(count)
    header = header_of(chunks)
    found = read(pieces, write_manifest(header, chunks, pieces.store))
    assert found.header == header
    assert list(found.chunks) == list(chunks)
    assert list(found.chunks.sizes()) == list(chunks.sizes())


def text_of(*lines: str, **changes: object) -> bytes:
    """A manifest's text of two chunks, with changes to its first line, or other lines."""
    head = {"store_workers_manifest": 1, "of": "file", "size": 9, "compressed_size": 30}
    head |= {"chunks": 2, "chunk_size": 524288, "boundaries": "fixed", **changes}
    told = {name: value for name, value in head.items() if value is not ...}
    rows = lines or (f"{'a' * 64} 10", f"{'b' * 64} 20")
    return "".join(line + "\n" for line in (json.dumps(told), *rows)).encode()


def test_fields_of_a_later_version_are_passed_over() -> None:
    found = read(pieces_of(text_of(comment="later")))
    assert list(found.chunks) == ["a" * 64, "b" * 64]
    assert found.header.size == 9


NO_MANIFESTS = {
    "nothing": (b"", "ends in the middle of a line"),
    "a line without its end": (text_of()[:-1], "ends in the middle of a line"),
    "only a first line": (text_of().split(b"\n")[0] + b"\n", "lists 0 chunks with 0 bytes"),
    "no JSON": (b"hello\n", "not a JSON object"),
    "broken JSON": (b"{]\n", "invalid JSON"),
    "no UTF-8": (b'{"\xff":1}\n', "not valid UTF-8"),
    "an endless first line": (b"{" + b" " * 9000, "not a JSON object"),
    "another JSON object": (
        b'{"type":"UPLOAD_START"}\n',
        "store_workers_manifest: required field is missing",
    ),
    "a later version": (text_of(store_workers_manifest=2), "store_workers_manifest: expected"),
    "of something else": (text_of(of="directory"), "of: expected"),
    "too few chunks": (text_of(chunks=3), "lists 2 chunks with 30 bytes"),
    "too many chunks": (text_of(chunks=1), "lists more chunks than"),
    "another total": (text_of(compressed_size=31), "first line says 2 chunks with 31"),
    "no size": (text_of(size=...), "size: required field is missing"),
    "a size that is none": (text_of(size=-1), "size: expected"),
    "a chunk above the largest": (text_of(chunk_size=19), "larger than its first line allows"),
    "a largest chunk above all": (text_of(chunk_size=8388609), "chunk_size: expected"),
    "a digest that is none": (text_of(sha256="x"), "sha256: expected"),
    "a number of chunks beyond memory": (text_of(chunks=1 << 40), "are supported"),
    "no hash": (text_of("hello 10", f"{'b' * 64} 20"), "a line is not a hash with a size"),
    "a short hash": (text_of(f"{'a' * 63} 10", f"{'b' * 64} 20"), "a line is not a hash"),
    "upper case": (text_of(f"{'A' * 64} 10", f"{'b' * 64} 20"), "a line is not a hash"),
    "an empty chunk": (text_of(f"{'a' * 64} 0", f"{'b' * 64} 30"), "a line is not a hash"),
    "a size with a zero": (text_of(f"{'a' * 64} 010", f"{'b' * 64} 20"), "a line is not a hash"),
    "a giant": (text_of(f"{'a' * 64} 99999999", f"{'b' * 64} 20"), "a line is not a hash"),
    "other ends of lines": (text_of().replace(b"\n", b"\r\n"), "a line is not a hash"),
    "an empty line": (text_of() + b"\n", "a line is not a hash"),
    "a line without an end": (text_of() + b"x" * 100, "a line is not a hash"),
}


@pytest.mark.parametrize("name", NO_MANIFESTS)
def test_what_is_no_manifest_is_told_in_a_sentence(name: str) -> None:
    text, problem = NO_MANIFESTS[name]
    pieces = pieces_of(text)
    with pytest.raises(StreamCorrupt) as corrupt:
        read(pieces)
    assert corrupt.value.code is ErrorCode.STREAM_CORRUPT
    assert corrupt.value.hash == pieces.names[0]
    assert problem in corrupt.value.message
    assert corrupt.value.message.startswith("not a complete manifest: ")
    assert corrupt.value.message.isprintable()


@pytest.mark.parametrize(
    ("stored", "problem"),
    [
        (b"hello", "not a zstd frame"),
        (compressed(text_of(), sealed=False), "does not end in a seek table"),
        (compressed(text_of())[:-20], "ends in the middle"),
        (compressed(text_of())[:-30] + b"x" * 30, "cannot be decoded"),
        (compressed(bytes(5 << 20)), "not a JSON object"),
        (zstandard.compress(bytes(5 << 20)), "larger than any"),
    ],
)
def test_what_is_no_stream_of_a_worker_is_told_too(stored: bytes, problem: str) -> None:
    pieces = Pieces()
    pieces.store(stored)
    with pytest.raises(StreamCorrupt, match=problem):
        read(pieces)


def test_what_names_itself_ends() -> None:
    """Impossible with genuine hashes; a store that returns wrong data can do this."""
    text = b""
    fetched = 0

    def fetch(chunks: ChunkList) -> Iterator[bytes]:
        nonlocal fetched
        fetched += 1
        yield chunk

    size = 0
    while True:  # the size of a text that tells its own
        chunk = compressed(
            text_of(
                f"{'a' * 64} {max(size, 1)}",
                of="manifest",
                chunks=1,
                compressed_size=max(size, 1),
                size=len(text),
            )
        )
        if len(chunk) == size:
            break
        size, text = (
            len(chunk),
            text_of(
                f"{'a' * 64} {len(chunk)}",
                of="manifest",
                chunks=1,
                compressed_size=len(chunk),
                size=len(text),
            ),
        )
    with pytest.raises(StreamCorrupt, match="nested more than 8 levels deep"):
        read_manifest("a" * 64, fetch)
    assert fetched == 8


def test_what_nests_too_deep_ends() -> None:
    pieces, chunks = Pieces(), listed(1)
    name = write_manifest(header_of(chunks), chunks, pieces.store)
    for depth in range(9):
        if depth < 7:
            assert list(read(pieces, name).chunks) == list(chunks)
        else:
            with pytest.raises(StreamCorrupt, match="nested more than 8"):
                read(pieces, name)
        name = nest(pieces, name)


def nest(pieces: Pieces, name: str, **changes: object) -> str:
    """A manifest of a manifest."""
    stored = pieces.chunks[name]
    size = len(zstandard.ZstdDecompressor().stream_reader(stored).read())
    fields = {"size": size, "compressed_size": len(stored), "chunks": 1, "of": "manifest"}
    text = text_of(f"{name} {len(stored)}", **{**fields, **changes})
    return pieces.store(compressed(text)).hex()


def test_a_level_is_what_the_one_above_says() -> None:
    pieces, chunks = Pieces(), listed(3)
    name = write_manifest(header_of(chunks), chunks, pieces.store)
    with pytest.raises(StreamCorrupt, match=r"a level of it has \d+ bytes, but 7"):
        read(pieces, nest(pieces, name, size=7))
    size = len(pieces.chunks[name])
    text = text_of(f"{name} {size + 1}", of="manifest", chunks=1, compressed_size=size + 1)
    with pytest.raises(StreamCorrupt, match=r"chunk 0 has \d+ bytes, but"):
        read(pieces, pieces.store(compressed(text)).hex())


def test_memory_is_that_of_the_list(tmp_path: Path) -> None:
    count = 100_000
    pieces, chunks = Pieces(), listed(count)
    name = write_manifest(header_of(chunks), chunks, pieces.store)
    tracemalloc.start()
    found = read(pieces, name)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert len(found.chunks) == count
    assert peak <= 60 * count + (20 << 20)


# Downloads.


@pytest.fixture
def noise(tmp_path: Path) -> Path:
    """A file that is cut into several full chunks."""
    path = tmp_path / "noise"
    path.write_bytes(Random(7).randbytes(3 * FULL + 12_345))
    return path


@pytest.mark.parametrize("digest", [True, False])
def test_a_file_comes_back_by_one_hash(noise: Path, tmp_path: Path, digest: bool) -> None:
    store = MemoryStore()
    up = upload(noise, store, manifest=True, sha256=digest)
    target = tmp_path / "copy"
    end = download(target, store, manifest=up.manifest, size=up.size)
    assert target.read_bytes() == noise.read_bytes()
    assert (end.size, end.compressed_size, end.chunks) == (up.size, up.compressed_size, up.chunks)
    assert end.sha256 == up.sha256


def test_the_manifests_own_digest_is_matched(noise: Path, tmp_path: Path) -> None:
    store = MemoryStore()
    up = upload(noise, store, manifest=True)
    wrong = altered(store, up.manifest or "", sha256="0" * 64)
    target = tmp_path / "copy"
    with pytest.raises(WorkerError) as failed:
        download(target, store, manifest=wrong)
    assert failed.value.code is ErrorCode.FILE_MISMATCH
    assert not target.exists()


def altered(store: MemoryStore, name: str, **changes: object) -> str:
    """Store a manifest with another first line; its hash."""
    text = zstd_decode(store.chunks[name])
    first, rest = text.split(b"\n", 1)
    other = compressed(json.dumps({**json.loads(first), **changes}).encode() + b"\n" + rest)
    store.chunks[hashlib.sha256(other).hexdigest()] = other
    return hashlib.sha256(other).hexdigest()


@pytest.mark.parametrize(
    ("changes", "code"),
    [
        ({"size": 5}, ErrorCode.FILE_MISMATCH),
        ({"size": 1 << 40}, ErrorCode.FILE_MISMATCH),
        ({"chunks": 3}, ErrorCode.STREAM_CORRUPT),
        ({"compressed_size": 3}, ErrorCode.STREAM_CORRUPT),
    ],
)
def test_totals_that_lie(
    noise: Path, tmp_path: Path, changes: dict[str, int], code: ErrorCode
) -> None:
    store = MemoryStore()
    name = altered(store, upload(noise, store, manifest=True).manifest or "", **changes)
    store.fetched.clear()
    with pytest.raises(WorkerError) as failed:
        download(tmp_path / "copy", store, manifest=name)
    assert failed.value.code is code
    assert not (tmp_path / "copy").exists()
    if code is ErrorCode.STREAM_CORRUPT:
        assert store.fetched == [name], "the list was to be checked before any chunk is fetched"


@pytest.mark.parametrize("wrong", [{"size": 5}, {"sha256": "0" * 64}])
def test_what_the_message_expects_is_compared_first(
    noise: Path, tmp_path: Path, wrong: dict[str, Any]
) -> None:
    store = MemoryStore()
    name = upload(noise, store, manifest=True, sha256=True).manifest
    with pytest.raises(WorkerError) as failed:
        download(tmp_path / "copy", store, manifest=name, **wrong)
    assert failed.value.code is ErrorCode.FILE_MISMATCH
    assert store.fetched == [name]


def test_a_manifest_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(ChunkFailure) as failed:
        download(tmp_path / "copy", MemoryStore(), manifest="0" * 64)
    assert failed.value.code is ErrorCode.CHUNK_NOT_FOUND
    assert failed.value.evidence() == {"hash": "0" * 64, "attempts": 1}
    assert failed.value.message == "the file's manifest: the store does not have this chunk"
