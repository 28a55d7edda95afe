"""Verifications in this process: requests, events, and continuing after a bad chunk."""

from __future__ import annotations

import tempfile
from functools import cache, partial
from random import Random
from typing import TYPE_CHECKING, Any

import pytest

from store_workers.errors import ErrorCode, StoreFailure, WorkerError
from store_workers.wire.events import ChunkBad, FileVerified, VerifyProgress
from tests.stores.flaky_store import FlakyStore
from tests.stores.memory_store import MemoryStore
from tests.unit.in_process import InProcess, upload
from tests.unit.test_manifest_reader import altered

if TYPE_CHECKING:
    from collections.abc import Sequence

    from store_workers.stores.base import Store
    from store_workers.wire.events import FileUploaded

MIB = 1024 * 1024
ONCE = {"max_attempts": 1}


class Kept:
    """A file in a store, by its hashes and by its manifest."""

    def __init__(
        self, chunks: dict[str, bytes], hashes: Sequence[str], by_manifest: FileUploaded
    ) -> None:
        self.store = MemoryStore()
        self.store.chunks.update(chunks)
        self.hashes = hashes
        self.up = by_manifest
        self.manifest = by_manifest.manifest or ""


@cache
def uploaded() -> tuple[dict[str, bytes], Sequence[str], FileUploaded]:
    """What two uploads of a file stored and emitted last, made once for all tests."""
    store = MemoryStore()
    with tempfile.NamedTemporaryFile() as file:
        file.write(Random(3).randbytes(3 * MIB + 12_345))
        file.flush()
        hashes = upload(file.name, store).hashes
        return store.chunks, hashes, upload(file.name, store, manifest=True, sha256=True)


@pytest.fixture
def kept() -> Kept:
    return Kept(*uploaded())


def start(store: Store, named: Any, **more: Any) -> InProcess:
    name = "manifest" if isinstance(named, str) else "hashes"
    listed = named if isinstance(named, str) else list(named)
    return InProcess({"type": "VERIFY_START", name: listed, **more}, store)


def failed(run: InProcess) -> WorkerError:
    with pytest.raises(WorkerError) as failure:
        run.finish()
    return failure.value


def bad(run: InProcess) -> list[tuple[int, ErrorCode]]:
    return sorted((e.index, e.code) for e in run.events if isinstance(e, ChunkBad))


@pytest.mark.parametrize("content", [True, False])
@pytest.mark.parametrize("by", ["manifest", "hashes"])
def test_a_whole_file(kept: Kept, by: str, content: bool) -> None:
    run = start(kept.store, getattr(kept, by), content=content)
    end = run.finish()
    assert isinstance(end, FileVerified)
    assert end.size == (kept.up.size if content or by == "manifest" else None)
    assert (end.compressed_size, end.chunks) == (kept.up.compressed_size, kept.up.chunks)
    assert run.events == []
    last = run.worker.progress()
    assert isinstance(last, VerifyProgress)
    assert (last.fetched_chunks, last.total_chunks) == (end.chunks, end.chunks)
    assert last.fetched_bytes == end.compressed_size
    assert last.total_bytes == (kept.up.size if by == "manifest" else None)
    fetched = set(kept.store.fetched) - {kept.manifest}
    assert fetched == (set(kept.hashes) if content else set())


@pytest.mark.parametrize("content", [True, False])
@pytest.mark.parametrize("by", ["manifest", "hashes"])
def test_it_goes_on_after_bad_chunks(kept: Kept, by: str, content: bool) -> None:
    gone, cut = kept.hashes[1], kept.hashes[4]
    del kept.store.chunks[gone]
    kept.store.chunks[cut] = b"" if by == "hashes" else kept.store.chunks[cut][:-1]
    run = start(kept.store, getattr(kept, by), content=content, settings=ONCE)
    failure = failed(run)
    assert bad(run) == [(1, ErrorCode.CHUNK_NOT_FOUND), (4, ErrorCode.CHUNK_CORRUPT)]
    assert failure.evidence() == {"index": 1, "hash": gone, "attempts": 1, "bad_chunks": 2}
    assert failure.code is ErrorCode.CHUNK_NOT_FOUND
    chunks = len(kept.hashes)
    assert failure.message.startswith(f"2 of {chunks} chunks are bad, the first one is number 1: ")
    last = run.worker.progress()
    assert isinstance(last, VerifyProgress)
    assert last.fetched_chunks == chunks - 2


def test_only_reading_finds_other_bytes_of_the_same_length(kept: Kept) -> None:
    struck = kept.hashes[2]
    kept.store.chunks[struck] = bytes(len(kept.store.chunks[struck]))
    assert isinstance(start(kept.store, kept.manifest, content=False).finish(), FileVerified)
    run = start(kept.store, kept.manifest, settings={"max_attempts": 3, "retry_delay_ms": 1})
    failure = failed(run)
    assert bad(run) == [(2, ErrorCode.CHUNK_CORRUPT)]
    assert (failure.code, failure.attempts) == (ErrorCode.CHUNK_CORRUPT, 3)
    assert failure.message.startswith("1 of ")
    assert [f.attempt for f, _ in run.retries] == [1, 2]


@pytest.mark.parametrize("allowed", [2, 10])
def test_damage_of_a_medium_is_read_three_times_at_most(kept: Kept, allowed: int) -> None:
    kept.store.properties.damage_lasts = True
    struck = kept.hashes[2]
    kept.store.chunks[struck] = b"other bytes"
    failure = failed(start(kept.store, kept.manifest, settings={"max_attempts": allowed}))
    assert (failure.code, failure.attempts) == (ErrorCode.CHUNK_CORRUPT, min(allowed, 3))
    assert kept.store.fetched.count(struck) == min(allowed, 3)


def test_every_chunk_is_bad(kept: Kept) -> None:
    run = start(MemoryStore(), kept.hashes)
    assert failed(run).bad_chunks == len(kept.hashes)
    assert [index for index, _ in bad(run)] == list(range(len(kept.hashes)))


@pytest.mark.parametrize("content", [True, False])
def test_a_store_that_fails_ends_it(kept: Kept, content: bool) -> None:
    store = FlakyStore(kept.store, 100, only=[kept.hashes[3]])
    run = start(store, kept.hashes, content=content, settings={**ONCE, "retry_delay_ms": 1})
    failure = failed(run)
    assert (failure.code, failure.index) == (ErrorCode.STORE_UNAVAILABLE, 3)
    assert failure.bad_chunks is None
    assert bad(run) == []


@pytest.mark.parametrize("content", [True, False])
def test_it_goes_on_after_a_failure_of_one_chunk(kept: Kept, content: bool) -> None:
    denied = partial(StoreFailure, ErrorCode.STORE_ACCESS_DENIED, "its file", one_chunk=True)
    store = FlakyStore(kept.store, 100, denied, only=[kept.hashes[3]])
    del kept.store.chunks[kept.hashes[4]]
    run = start(store, kept.hashes, content=content, settings=ONCE)
    failure = failed(run)
    assert (failure.code, failure.index) == (ErrorCode.STORE_ACCESS_DENIED, 3)
    assert bad(run) == [(3, ErrorCode.STORE_ACCESS_DENIED), (4, ErrorCode.CHUNK_NOT_FOUND)]


@pytest.mark.parametrize("content", [True, False])
def test_what_fails_once_is_tried_again(kept: Kept, content: bool) -> None:
    store = FlakyStore(kept.store, 1)
    run = start(store, kept.hashes, content=content, settings={"retry_delay_ms": 1})
    assert isinstance(run.finish(), FileVerified)
    assert len(run.retries) == len(kept.hashes)


def test_a_list_that_is_no_whole_file(kept: Kept) -> None:
    assert failed(start(kept.store, kept.hashes[:-1])).code is ErrorCode.STREAM_CORRUPT
    swapped = [kept.hashes[1], kept.hashes[0], *kept.hashes[2:]]
    assert failed(start(kept.store, swapped)).code is ErrorCode.STREAM_CORRUPT


@pytest.mark.parametrize(
    ("change", "code"),
    [
        ({"size": 5}, ErrorCode.FILE_MISMATCH),
        ({"size": 1 << 40}, ErrorCode.FILE_MISMATCH),
        ({"sha256": "0" * 64}, ErrorCode.FILE_MISMATCH),
        ({"chunks": 1}, ErrorCode.STREAM_CORRUPT),
    ],
)
def test_a_manifest_that_lies(kept: Kept, change: dict[str, Any], code: ErrorCode) -> None:
    assert failed(start(kept.store, altered(kept.store, kept.manifest, **change))).code is code


def test_a_manifest_that_is_missing_is_no_bad_chunk_of_the_file(kept: Kept) -> None:
    del kept.store.chunks[kept.manifest]
    run = start(kept.store, kept.manifest)
    assert failed(run).evidence() == {"hash": kept.manifest, "attempts": 1}
    assert bad(run) == []


class Silent(MemoryStore):
    """A store that does not report lengths."""

    def length(self, hash: str) -> int | None:
        super().length(hash)
        return None


def test_a_store_that_tells_no_lengths_is_asked_for_the_chunk(kept: Kept) -> None:
    store = Silent()
    store.chunks = kept.store.chunks
    assert isinstance(start(store, kept.manifest, content=False).finish(), FileVerified)
    assert set(store.fetched) >= set(kept.hashes)
