"""Downloads in this process: content, refusals and memory."""

from __future__ import annotations

import hashlib
import os
import tempfile
import threading
from functools import cache
from random import Random
from typing import TYPE_CHECKING, Any

import pytest

from store_workers.errors import ChunkFailure, ErrorCode, StoreFailure, WorkerError
from store_workers.wire.events import DownloadProgress, FileDownloaded
from tests.stores.flaky_store import FlakyStore
from tests.stores.memory_store import MemoryStore
from tests.unit.in_process import TIMEOUT, InProcess, beside, download, settled, upload
from tests.unit.streams import rle_bomb

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

MIB = 1024 * 1024
CONTENT = Random(5).randbytes(2 * MIB) + bytes(3 * MIB) + Random(6).randbytes(MIB + 777)


@cache
def chunks_of(content: bytes) -> tuple[dict[str, bytes], list[str]]:
    """The chunks of an upload and its list, made once for all tests with this content."""
    store = MemoryStore()
    with tempfile.NamedTemporaryFile() as source:
        source.write(content)
        source.flush()
        return store.chunks, list(upload(source.name, store).hashes)


class Stored:
    """An uploaded file in a store of its own, and a target for its download."""

    def __init__(self, folder: Path, content: bytes = CONTENT) -> None:
        self.content = content
        self.store = MemoryStore()
        chunks, hashes = chunks_of(content)
        self.store.chunks.update(chunks)
        self.hashes = list(hashes)
        self.folder = folder
        self.path = folder / "file"

    def download(self, **more: Any) -> FileDownloaded:
        return download(self.path, more.pop("store", self.store), self.hashes, **more)

    def refused(self, **more: Any) -> WorkerError:
        """Return the failure of a download, which must not change the old file."""
        self.path.write_bytes(b"old")
        with pytest.raises(WorkerError) as raised:
            self.download(**more)
        assert self.path.read_bytes() == b"old"
        assert [entry.name for entry in self.folder.iterdir()] == ["file"]
        return raised.value


@pytest.fixture
def stored(tmp_path: Path) -> Stored:
    return Stored(tmp_path)


@pytest.mark.parametrize("size", [0, 1, 4095, 600 * 1024, MIB, 3 * MIB + 1])
@pytest.mark.parametrize("more", ["nothing", "size", "sha256", "both"])
def test_the_file_comes_back(tmp_path: Path, size: int, more: str) -> None:
    content = Random(size).randbytes(size // 2) + bytes(size - size // 2)
    stored = Stored(tmp_path, content)
    given: dict[str, Any] = {}
    if more in {"size", "both"}:
        given["size"] = size
    if more in {"sha256", "both"}:
        given["sha256"] = hashlib.sha256(content).hexdigest()
    end = stored.download(**given)
    assert stored.path.read_bytes() == content
    assert (end.path, end.size, end.chunks) == (str(stored.path), size, len(stored.hashes))
    assert end.compressed_size == len(stored.store.stream(stored.hashes))
    assert end.sha256 == given.get("sha256")
    assert [entry.name for entry in tmp_path.iterdir()] == ["file"]


@pytest.mark.parametrize("threads", [1, 2, 5])
@pytest.mark.parametrize("concurrency", [1, 3, 256])
def test_any_number_of_threads_and_requests(stored: Stored, threads: int, concurrency: int) -> None:
    stored.download(threads=threads, settings={"concurrency": concurrency})
    assert stored.path.read_bytes() == stored.content
    assert stored.store.peak <= concurrency
    assert sorted(stored.store.fetched) == sorted(stored.hashes)
    if concurrency == 1:
        assert stored.store.fetched == stored.hashes


def test_progress(stored: Stored) -> None:
    message = {"type": "DOWNLOAD_START", "path": str(stored.path), "hashes": stored.hashes}
    run = InProcess(message, stored.store)
    run.finish()
    progress = run.worker.progress()
    assert isinstance(progress, DownloadProgress)
    assert progress.fetched_chunks == progress.total_chunks == len(stored.hashes)
    assert progress.fetched_bytes == len(stored.store.stream(stored.hashes))
    assert progress.written_bytes == len(stored.content)


DAMAGE: dict[str, Callable[[bytes], bytes]] = {
    "a flipped bit": lambda data: data[:99] + bytes([data[99] ^ 4]) + data[100:],
    "cut short": lambda data: data[:-1],
    "empty": lambda _data: b"",
    "longer": lambda data: data + b"x",
    "oversized": lambda data: data * 3,
    "another chunk": lambda data: bytes(len(data)),
}


@pytest.mark.parametrize("damage", DAMAGE)
@pytest.mark.parametrize("index", [0, 2, -1])
def test_a_damaged_chunk_is_tried_again_and_then_told(
    stored: Stored, damage: str, index: int
) -> None:
    victim = stored.hashes[index]
    stored.store.chunks[victim] = DAMAGE[damage](stored.store.chunks[victim])
    error = stored.refused(settings={"max_attempts": 3})
    assert error.code is ErrorCode.CHUNK_CORRUPT
    expected = stored.hashes.index(victim)
    assert error.evidence() == {"index": expected, "hash": victim, "attempts": 3}
    assert stored.store.fetched.count(victim) == 3


def test_a_chunk_that_was_damaged_on_the_way_only_is_fetched_again(stored: Stored) -> None:
    class OnceDamaged(MemoryStore):
        def get(self, hash: str) -> bytes:
            data = super().get(hash)
            return data[:-1] + b"!" if self.fetched.count(hash) == 1 else data

    store = OnceDamaged()
    store.chunks = stored.store.chunks
    stored.download(store=store)
    assert stored.path.read_bytes() == stored.content


def test_a_missing_chunk_is_not_tried_again(stored: Stored) -> None:
    del stored.store.chunks[stored.hashes[1]]
    error = stored.refused()
    assert error.code is ErrorCode.CHUNK_NOT_FOUND
    assert error.evidence() == {"index": 1, "hash": stored.hashes[1], "attempts": 1}
    assert stored.store.fetched.count(stored.hashes[1]) == 1


def test_failures_that_pass_are_survived_and_told(stored: Stored) -> None:
    message: dict[str, Any] = {"type": "DOWNLOAD_START", "path": str(stored.path)}
    message["hashes"] = stored.hashes
    message["settings"] = {"retry_delay_ms": 1}
    run = InProcess(message, FlakyStore(stored.store, 2))
    run.finish()
    assert stored.path.read_bytes() == stored.content
    for index, hash in enumerate(stored.hashes):
        told = [failure for failure, _ in run.retries if failure.index == index]
        assert [failure.attempt for failure in told] == [1, 2]
        assert {failure.hash for failure in told} == {hash}


def test_a_permanent_failure_ends_the_run(stored: Stored) -> None:
    store = FlakyStore(stored.store, 1, lambda: StoreFailure(ErrorCode.STORE_ACCESS_DENIED, "no"))
    error = stored.refused(store=store)
    assert isinstance(error, ChunkFailure)
    assert error.code is ErrorCode.STORE_ACCESS_DENIED


@pytest.mark.parametrize("difference", [-1, 1, -len(CONTENT)])
def test_another_size_than_expected(stored: Stored, difference: int) -> None:
    error = stored.refused(size=len(stored.content) + difference)
    assert error.code is ErrorCode.FILE_MISMATCH


def test_another_digest_than_expected(stored: Stored) -> None:
    error = stored.refused(sha256="0" * 64)
    assert error.code is ErrorCode.FILE_MISMATCH
    assert error.path == str(stored.path)


def put(store: MemoryStore, stream: bytes) -> list[str]:
    """Store another tool's stream in chunks of any length."""
    pieces = [stream[start : start + 100_000] for start in range(0, len(stream), 100_000)]
    hashes = [hashlib.sha256(piece).hexdigest() for piece in pieces]
    store.chunks.update(zip(hashes, pieces, strict=True))
    return hashes


@pytest.mark.parametrize("given", ["nothing", "size", "sha256"])
def test_a_stream_without_a_table_needs_something_that_vouches_for_it(
    tmp_path: Path, given: str
) -> None:
    store = MemoryStore()
    hashes = put(store, rle_bomb(100 * 1024))
    content = b"x" * 100 * 1024
    more: dict[str, Any] = {}
    if given == "size":
        more = {"size": len(content)}
    if given == "sha256":
        more = {"sha256": hashlib.sha256(content).hexdigest()}
    path = tmp_path / "file"
    if more:
        download(path, store, hashes, **more)
        assert path.read_bytes() == content
        return
    with pytest.raises(WorkerError) as raised:
        download(path, store, hashes)
    assert raised.value.code is ErrorCode.STREAM_CORRUPT
    assert list(tmp_path.iterdir()) == []


def test_a_bomb_is_stopped_by_the_size_that_is_expected(tmp_path: Path) -> None:
    store = MemoryStore()
    hashes = put(store, rle_bomb(1024 * MIB))
    run = InProcess(
        {
            "type": "DOWNLOAD_START",
            "path": str(tmp_path / "file"),
            "hashes": hashes,
            "size": 5000,
        },
        store,
    )
    with pytest.raises(WorkerError) as raised:
        run.finish()
    assert raised.value.code is ErrorCode.FILE_MISMATCH
    progress = run.worker.progress()
    assert isinstance(progress, DownloadProgress)
    assert progress.written_bytes <= 5000


@cache
def large() -> bytes:
    """More than a download ever has between the store and a target that takes nothing."""
    return Random(1).randbytes(26 * MIB)


@pytest.mark.parametrize("threads", [1, 2])
@pytest.mark.parametrize("concurrency", [1, 5])
def test_a_target_that_takes_nothing_makes_the_fetching_wait(
    tmp_path: Path, threads: int, concurrency: int
) -> None:
    stored = Stored(tmp_path, large())
    os.mkfifo(stored.path)
    reader = os.open(stored.path, os.O_RDONLY | os.O_NONBLOCK)
    message = {
        "type": "DOWNLOAD_START",
        "path": str(stored.path),
        "hashes": stored.hashes,
        "settings": {"concurrency": concurrency},
    }
    run = InProcess(message, stored.store, threads=threads)
    seen = settled(lambda: len(stored.store.fetched))
    # Chunks of 512 KiB, frames of no more than 4 MiB; one frame at the door.
    assert seen <= concurrency + 8 * (2 * threads + 1) + 1
    assert seen < len(stored.hashes)
    os.set_blocking(reader, True)
    found = hashlib.sha256()
    count = 0
    while count < len(stored.content):
        data = os.read(reader, MIB)
        found.update(data)
        count += len(data)
    run.finish()
    os.close(reader)
    assert found.digest() == hashlib.sha256(stored.content).digest()


def test_a_fifo_is_written_straight_through(stored: Stored) -> None:
    os.mkfifo(stored.path)
    found: list[bytes] = []
    thread = beside(lambda: found.append(stored.path.read_bytes()))
    stored.download(sha256=hashlib.sha256(stored.content).hexdigest())
    thread.join(TIMEOUT)
    assert found == [stored.content]


def test_a_target_that_cannot_be_written_fetches_nothing(stored: Stored) -> None:
    for path, code in (
        (stored.folder, ErrorCode.FILE_WRITE_FAILED),
        (stored.folder / "missing" / "file", ErrorCode.FILE_NOT_FOUND),
    ):
        with pytest.raises(WorkerError) as raised:
            download(path, stored.store, stored.hashes)
        assert raised.value.code is code
    assert stored.store.fetched == []


def test_a_full_disk(stored: Stored) -> None:
    with pytest.raises(WorkerError) as raised:
        download("/dev/full", stored.store, stored.hashes)
    assert raised.value.code is ErrorCode.FILE_WRITE_FAILED


def test_the_same_chunk_many_times(tmp_path: Path) -> None:
    stored = Stored(tmp_path, b"")
    stored.hashes = stored.hashes * 500
    assert stored.refused().code is ErrorCode.STREAM_CORRUPT


def test_permissions_of_the_old_file_are_kept(stored: Stored) -> None:
    stored.path.write_bytes(b"old")
    stored.path.chmod(0o640)
    stored.download()
    assert stored.path.stat().st_mode & 0o777 == 0o640
    assert stored.path.read_bytes() == stored.content


def test_one_thread_does_a_small_file_of_a_quick_store(tmp_path: Path) -> None:
    threads = set()

    class Watched(MemoryStore):
        def get(self, hash: str) -> bytes:
            threads.add(threading.current_thread().name)
            return super().get(hash)

    store = Watched(asking_is_free=True)
    content = Random(4).randbytes(10_000)
    (tmp_path / "source").write_bytes(content)
    hashes = upload(tmp_path / "source", store).hashes
    download(tmp_path / "file", store, hashes)
    assert (tmp_path / "file").read_bytes() == content
    assert len(hashes) > 1
    assert threads == {"work"}
