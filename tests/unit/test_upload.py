"""Uploads in this process: events, requests, failures and memory."""

from __future__ import annotations

import hashlib
import os
import sys
import threading
from functools import cache
from random import Random
from typing import TYPE_CHECKING

import pytest
import zstandard

from store_workers.errors import ChunkFailure, ErrorCode, StoreFailure, WorkerError
from store_workers.files.source import FileSource
from store_workers.stores.base import Chunk
from store_workers.stream import compression, spans
from store_workers.stream.codec import frame_compressor
from store_workers.stream.codec_threads import CodecThreads
from store_workers.stream.compression import frame_maker, frames_in_turn
from store_workers.stream.spans import FRAME_SPAN, FixedSpans
from store_workers.transfer.limiter import NEAR
from store_workers.wire.events import FileUploaded, UploadProgress
from store_workers.wire.messages import CHUNK_SIZES
from tests.stores.flaky_store import FlakyStore, unavailable
from tests.stores.memory_store import MemoryStore
from tests.support.reference import check_stream, cut_sizes
from tests.support.waiting import wait_until
from tests.unit.in_process import InProcess, beside, download, settled, upload

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

FULL = 512 * 1024
MIB = 1024 * 1024
QUICK = {"retry_delay_ms": 1}
ALIGNED_SPAN = 65_522
"""Random bytes whose frame has 64 KiB: 2 for the size, 12 for the rest."""


@pytest.fixture
def noise(tmp_path: Path) -> Path:
    """A file that is cut into several full chunks."""
    path = tmp_path / "noise"
    path.write_bytes(Random(7).randbytes(3 * MIB + 12_345))
    return path


def start(path: Path, store: object, **more: object) -> InProcess:
    threads = more.pop("threads", 2)
    message = {"type": "UPLOAD_START", "path": str(path), **more}
    return InProcess(message, store, threads=threads)  # type: ignore[arg-type]


def read_bytes(run: InProcess) -> int:
    progress = run.worker.progress()
    assert isinstance(progress, UploadProgress)
    return progress.read_bytes


@pytest.mark.parametrize(
    "size", [0, 1, 4095, 4096, 600 * 1024, FRAME_SPAN, FRAME_SPAN + 1, 3 * MIB]
)
@pytest.mark.parametrize("asking_is_free", [True, False])
def test_what_is_stored_and_told(tmp_path: Path, size: int, asking_is_free: bool) -> None:
    content = Random(size).randbytes(size // 2) + bytes(size - size // 2)
    path = tmp_path / "file"
    path.write_bytes(content)
    store = MemoryStore(asking_is_free=asking_is_free)
    run = start(path, store, sha256=True, size=size)
    end = run.finish()
    assert isinstance(end, FileUploaded)
    stream = store.stream(end.hashes)
    check_stream(stream, content)
    told = run.told()
    assert [chunk.index for chunk in told] == list(range(len(end.hashes)))
    assert tuple(chunk.hash for chunk in told) == end.hashes
    assert [chunk.size for chunk in told] == cut_sizes(len(stream))
    assert all(chunk.new and chunk.attempts == 1 for chunk in told)
    assert (end.path, end.size, end.compressed_size) == (str(path), size, len(stream))
    assert (end.new_chunks, end.new_bytes) == (len(told), len(stream))
    assert end.sha256 == hashlib.sha256(content).hexdigest()
    assert end.changed is False
    assert end.duration_ms >= 0
    assert {
        hashlib.sha256(data).hexdigest(): data for data in store.chunks.values()
    } == store.chunks
    last = run.worker.progress()
    assert isinstance(last, UploadProgress)
    assert (last.read_bytes, last.total_bytes) == (size, size)
    assert (last.stored_bytes, last.stored_chunks) == (len(stream), len(told))


@pytest.mark.parametrize("threads", [1, 2, 5])
@pytest.mark.parametrize("concurrency", [1, 3, 8, 256])
def test_hashes_do_not_depend_on_threads_or_concurrency(
    noise: Path, threads: int, concurrency: int
) -> None:
    store = MemoryStore()
    end = upload(noise, store, threads=threads, settings={"concurrency": concurrency})
    assert end.hashes == upload(noise, MemoryStore()).hashes
    assert store.peak <= concurrency


@pytest.mark.parametrize("chunk_size", CHUNK_SIZES)
def test_chunks_are_of_the_size_that_the_message_asks_for(tmp_path: Path, chunk_size: int) -> None:
    content = Random(1).randbytes(2 * chunk_size + 5000)
    path, back = tmp_path / "file", tmp_path / "back"
    path.write_bytes(content)
    store = MemoryStore()
    run = start(path, store, settings={"chunk_size": chunk_size})
    end = run.finish()
    assert isinstance(end, FileUploaded)
    assert end.hashes is not None
    stream = store.stream(end.hashes)
    check_stream(stream, content)
    assert [chunk.size for chunk in run.told()] == cut_sizes(len(stream), chunk_size)
    download(back, store, end.hashes)  # whose own setting is another one
    assert back.read_bytes() == content


def test_a_chunk_that_waits_keeps_no_frame_alive(noise: Path) -> None:
    """Each copies its bytes when it is handed over; one that has them to itself does not."""
    kept: list[tuple[int, int]] = []

    class Looking(MemoryStore):
        def put(self, chunk: Chunk, *, overwrite: bool = False) -> bool:
            kept.append((chunk.size, sum(memoryview(piece.obj).nbytes for piece in chunk.pieces)))
            return super().put(chunk, overwrite=overwrite)

    upload(noise, Looking())
    assert all(size == held for size, held in kept)
    data = b"x" * 5000
    alone, part = Chunk("", [memoryview(data)]), Chunk("", [memoryview(data)[1:]])
    alone.detach()
    part.detach()
    assert alone.pieces[0].obj is data
    assert part.pieces[0].obj == data[1:]


def test_the_levels_are_what_the_message_says(tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.write_bytes(b"".join(b"line %d of a text that compresses\n" % n for n in range(40_000)))
    hashes = {
        upload(path, MemoryStore(), settings={"compression_level": level}).hashes
        for level in (1, 3, 12)
    }
    assert len(hashes) == 3


@pytest.mark.parametrize("asking_is_free", [True, False])
def test_a_second_upload_sends_nothing(noise: Path, asking_is_free: bool) -> None:
    store = MemoryStore(asking_is_free=asking_is_free)
    first = upload(noise, store)
    store.sent.clear()
    run = start(noise, store)
    second = run.finish()
    assert isinstance(second, FileUploaded)
    assert store.sent == []
    assert (second.hashes, second.new_chunks, second.new_bytes) == (first.hashes, 0, 0)
    assert not any(chunk.new for chunk in run.told())


@pytest.mark.parametrize("asking_is_free", [True, False])
def test_an_upload_that_overwrites_sends_every_chunk_and_asks_for_none(
    noise: Path, asking_is_free: bool
) -> None:
    """A damaged chunk of the right length is repaired."""
    store = MemoryStore(asking_is_free=asking_is_free)
    first = upload(noise, store)
    whole = dict(store.chunks)
    store.chunks = {hash: bytes(len(data)) for hash, data in whole.items()}
    store.asked.clear()
    flaky = FlakyStore(store, 1, verbs=["put"])
    again = upload(noise, flaky, settings={"overwrite": True})
    assert store.asked == []
    assert store.chunks == whole
    assert again.hashes == first.hashes
    assert again.new_chunks == len(set(first.hashes))


def test_a_first_upload_asks_seldom(noise: Path) -> None:
    store = MemoryStore()
    end = upload(noise, store)
    assert len(store.sent) == len(end.hashes)
    assert len(store.asked) <= 8


def test_a_chunk_that_was_cut_short_is_sent_again(noise: Path) -> None:
    store = MemoryStore()
    end = upload(noise, store)
    whole = dict(store.chunks)
    cut = end.hashes[2]
    store.chunks[cut] = whole[cut][:1000]
    store.sent.clear()
    assert upload(noise, store).new_chunks == 1
    assert store.sent == [cut]
    assert store.chunks == whole


def test_eight_chunks_go_first_where_asking_costs_a_round_trip(tmp_path: Path) -> None:
    path = tmp_path / "noise"
    path.write_bytes(Random(7).randbytes(8 * MIB))
    store = MemoryStore()
    store.gate.clear()
    run = start(path, store, settings={"concurrency": 32})
    wait_until(lambda: store.under_way == 8)
    settled(lambda: read_bytes(run))
    assert (store.peak, len(store.asked)) == (8, 8)
    store.gate.set()
    run.finish()
    assert len(store.sent) > 16


@pytest.mark.parametrize("threads", [1, 3])
@pytest.mark.parametrize("concurrency", [1, 4])
def test_a_store_that_takes_nothing_makes_the_reader_wait(
    tmp_path: Path, threads: int, concurrency: int
) -> None:
    path = tmp_path / "large"
    held = concurrency * FULL + (2 * threads + 2) * FRAME_SPAN
    path.write_bytes(Random(1).randbytes(MIB) * (2 * held // MIB))
    store = MemoryStore(asking_is_free=True)
    store.gate.clear()
    run = start(path, store, threads=threads, settings={"concurrency": concurrency})
    wait_until(lambda: store.under_way > 0)
    seen = settled(lambda: read_bytes(run))
    assert store.under_way <= concurrency
    assert 0 < seen <= held
    store.gate.set()
    run.finish()
    assert store.peak <= concurrency


def test_a_far_store_that_takes_nothing_more_makes_the_reader_wait(tmp_path: Path) -> None:
    class Stalling(MemoryStore):
        """Takes the first chunk, and no other until its gate is opened."""

        def put(self, chunk: Chunk, *, overwrite: bool = False) -> bool:
            new = super().put(chunk)
            if len(self.sent) == 1:
                self.gate.clear()
            return new

    path = tmp_path / "large"
    path.write_bytes(Random(1).randbytes(MIB) * 16)
    store = Stalling()
    run = start(path, store, settings={"concurrency": 3})
    wait_until(lambda: store.under_way == 3)
    seen = settled(lambda: read_bytes(run))
    assert store.under_way == 3
    assert seen <= (1 + 3) * FULL + 6 * FRAME_SPAN
    store.gate.set()
    run.finish()
    assert store.peak == 3


# Content boundaries.

CONTENT = {"boundaries": "content"}


@cache
def lines() -> bytes:
    return b"".join(b"line %d of a file that has versions\n" % (n * n) for n in range(300_000))


@pytest.fixture
def version(tmp_path: Path) -> Callable[[bytes], Path]:
    """Writes a version of a file: always to the same path."""

    def write(content: bytes) -> Path:
        path = tmp_path / "version"
        path.write_bytes(content)
        return path

    return write


@pytest.mark.parametrize("chunk_size", [512 * 1024, 4 * MIB])
def test_each_frame_is_cut_anew(version: Callable[[bytes], Path], chunk_size: int) -> None:
    content = Random(8).randbytes(9 * MIB) + lines()
    store = MemoryStore()
    run = start(version(content), store, settings={**CONTENT, "chunk_size": chunk_size})
    end = run.finish()
    assert isinstance(end, FileUploaded)
    assert end.hashes is not None
    stream = store.stream(end.hashes)
    table = check_stream(stream, content)
    expected = []
    for entry in table:
        expected += [chunk_size] * (entry.stored // chunk_size)
        expected += [rest] if (rest := entry.stored % chunk_size) else []
    expected += cut_sizes(len(stream) - sum(entry.stored for entry in table), chunk_size)
    assert [chunk.size for chunk in run.told()] == expected


@pytest.mark.parametrize("size", [0, 1, 5000, 300 * 1024])
def test_short_files_with_content_boundaries(version: Callable[[bytes], Path], size: int) -> None:
    content = Random(size).randbytes(size)
    store = MemoryStore()
    end = upload(version(content), store, settings=CONTENT)
    assert end.hashes is not None
    assert len(check_stream(store.stream(end.hashes), content)) == 1


def test_hashes_of_both_boundaries_stay_what_they_are(version: Callable[[bytes], Path]) -> None:
    """They are part of the stored form: with other values, no stored chunk would be found again."""
    path = version(lines() + Random(8).randbytes(3 * MIB) + bytes(5 * MIB) + lines()[:999_999])
    for boundaries, golden in (("content", GOLDEN_CONTENT), ("fixed", GOLDEN_FIXED)):
        for threads in (1, 2, 5):
            settings = {"boundaries": boundaries}
            end = upload(path, MemoryStore(), threads=threads, settings=settings)
            assert end.hashes is not None
            assert hashlib.sha256("".join(end.hashes).encode()).hexdigest()[:16] == golden


GOLDEN_CONTENT, GOLDEN_FIXED = "09c0b530a6d1c468", "8fcb4675cfae8fcc"


@pytest.mark.parametrize("asking_is_free", [True, False])
def test_versions_share_their_chunks(
    version: Callable[[bytes], Path], asking_is_free: bool
) -> None:
    content = Random(9).randbytes(16 * MIB)
    store = MemoryStore(asking_is_free=asking_is_free)
    upload(version(content), store, settings=CONTENT)
    first = dict(store.chunks)
    edited = [
        content[: 8 * MIB] + b"inserted" + content[8 * MIB :],
        b"in front" + content,
        content[:100] + b"four" + content[104:],
        content + b"behind",
    ]
    for again in edited:
        store.chunks = dict(first)
        store.asked.clear()
        store.sent.clear()
        end = upload(version(again), store, settings=CONTENT)
        assert end.hashes is not None
        assert end.new_bytes < 4 * MIB
        assert sorted(store.sent) == sorted(set(end.hashes) - set(first)), "sent though it is there"
        if not asking_is_free:
            assert len(store.asked) + len(store.sent) <= 1.2 * len(end.hashes)


def test_a_first_upload_by_content_makes_few_requests(version: Callable[[bytes], Path]) -> None:
    path = version(lines() + Random(9).randbytes(24 * MIB))
    requests = {}
    for boundaries in ("fixed", "content"):
        store = MemoryStore()
        upload(path, store, settings={"boundaries": boundaries})
        requests[boundaries] = len(store.asked) + len(store.sent)
    assert requests["content"] <= 1.7 * requests["fixed"]


@pytest.mark.parametrize("content", [bytes(24 * MIB), b"0123456789abcdef" * (1536 * 1024)])
def test_data_without_boundaries_costs_no_more(
    version: Callable[[bytes], Path], content: bytes
) -> None:
    path = version(content)
    stored = {}
    for boundaries in ("fixed", "content"):
        store = MemoryStore()
        upload(path, store, settings={"boundaries": boundaries})
        stored[boundaries] = sum(map(len, store.chunks.values()))
        assert len(store.sent) <= 4, "equal chunks are sent once"
    assert stored["content"] <= stored["fixed"]


def test_a_host_without_the_library_for_content(
    version: Callable[[bytes], Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "pyfastcdc.cy.fastcdc", None)
    store = MemoryStore()
    with pytest.raises(WorkerError, match=r"settings\.boundaries") as raised:
        upload(version(b"x"), store, settings=CONTENT)
    assert raised.value.code is ErrorCode.HOST_UNSUPPORTED
    upload(version(b"x"), store, settings={"boundaries": "fixed"})


# Equal chunks.


def repeated(path: Path, chunks: int, seed: int = 3) -> None:
    """Write a file whose stream is `chunks` times the same chunk, and the seek table."""
    path.write_bytes(Random(seed).randbytes(ALIGNED_SPAN) * 8 * chunks)


@pytest.mark.parametrize("threads", [1, 3])
@pytest.mark.parametrize("asking_is_free", [True, False])
def test_equal_chunks_are_sent_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, threads: int, asking_is_free: bool
) -> None:
    monkeypatch.setattr(spans, "FRAME_SPAN", ALIGNED_SPAN)
    path = tmp_path / "file"
    repeated(path, 20)
    store = MemoryStore(asking_is_free=asking_is_free, delay=0.01)
    run = start(path, store, threads=threads)
    end = run.finish()
    assert isinstance(end, FileUploaded)
    assert len(set(end.hashes[:20])) == 1, "the test's own premise"
    assert len(set(store.sent)) == len(store.sent) == len(set(end.hashes))
    new = [chunk.new for chunk in run.told()]
    assert sum(new[:20]) == 1
    assert all(chunk.attempts == 1 for chunk in run.told())
    assert end.new_bytes == end.compressed_size - 19 * FULL
    assert sorted(chunk.index for chunk in run.told()) == list(range(len(end.hashes)))


def test_a_failure_of_a_chunk_fails_its_equals_too(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(spans, "FRAME_SPAN", ALIGNED_SPAN)
    path = tmp_path / "file"
    repeated(path, 20)
    store = FlakyStore(MemoryStore(asking_is_free=True), 100, rejected, verbs=["put"])
    run = start(path, store)
    with pytest.raises(ChunkFailure):
        run.finish()
    assert run.told() == []


# Failures.


def rejected() -> StoreFailure:
    return StoreFailure(ErrorCode.STORE_REJECTED, "no", http_status=400)


@pytest.mark.parametrize("verbs", [["put"], ["has", "put"]])
def test_failures_that_pass_are_survived_and_told(noise: Path, verbs: list[str]) -> None:
    memory = MemoryStore()
    run = start(noise, FlakyStore(memory, 2, verbs=verbs), settings=QUICK)
    end = run.finish()
    assert isinstance(end, FileUploaded)
    check_stream(memory.stream(end.hashes), noise.read_bytes())
    for chunk in run.told():
        attempts = [f.attempt for f, _ in run.retries if f.index == chunk.index]
        assert attempts == list(range(1, chunk.attempts))
        assert chunk.attempts >= 3
        assert chunk.new
    assert all(failure.hash == end.hashes[failure.index or 0] for failure, _ in run.retries)


@pytest.mark.parametrize("strikes", [lambda one: [one], lambda _one: None], ids=["one", "all"])
def test_a_chunk_that_was_stored_by_a_try_that_failed_is_not_sent_again(
    noise: Path, strikes: Callable[[str], list[str] | None]
) -> None:
    seldom_asked = upload(noise, MemoryStore()).hashes[2]
    memory = MemoryStore()
    store = FlakyStore(memory, 1, verbs=["put"], after=True, only=strikes(seldom_asked))
    end = upload(noise, store, settings=QUICK)
    assert len(memory.sent) == len(end.hashes) == len(set(memory.sent))
    check_stream(memory.stream(end.hashes), noise.read_bytes())


def test_too_many_failures_end_the_run(noise: Path) -> None:
    run = start(noise, FlakyStore(MemoryStore(), 3), settings={**QUICK, "max_attempts": 3})
    with pytest.raises(ChunkFailure) as raised:
        run.finish()
    assert raised.value.code is ErrorCode.STORE_UNAVAILABLE
    assert raised.value.evidence()["attempts"] == 3
    assert raised.value.evidence()["http_status"] == 503


@pytest.mark.parametrize("strikes", [0, 3])
def test_the_first_permanent_failure_ends_the_run(tmp_path: Path, strikes: int) -> None:
    path = tmp_path / "large"
    path.write_bytes(Random(2).randbytes(12 * MIB))
    hashes = upload(path, MemoryStore()).hashes
    memory = MemoryStore()
    before: list[int] = []

    def last_words() -> StoreFailure:
        memory.gate.clear()
        before.append(len(memory.sent))
        return rejected()

    store = FlakyStore(memory, 1, last_words, verbs=["put"], only=[hashes[strikes]])
    run = start(path, store, settings={"concurrency": 4})
    with pytest.raises(ChunkFailure) as raised:
        run.finish()
    assert raised.value.evidence() == {
        "index": strikes,
        "hash": hashes[strikes],
        "attempts": 1,
        "http_status": 400,
    }
    memory.gate.set()
    assert settled(lambda: len(memory.sent)) <= before[0] + 3, "it went on"


def test_a_bug_in_a_store_ends_the_run(noise: Path) -> None:
    class Broken(MemoryStore):
        def has(self, hash: str, size: int) -> bool:
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        upload(noise, Broken())


def test_files_that_cannot_be_read_store_nothing(tmp_path: Path) -> None:
    store = MemoryStore()
    for path in (tmp_path / "missing", tmp_path):
        with pytest.raises(WorkerError):
            upload(path, store)
    assert store.chunks == {}


@pytest.mark.parametrize("difference", [-1, 1])
def test_a_stream_of_another_length_is_no_success(noise: Path, difference: int) -> None:
    run = start(noise, MemoryStore(), size=noise.stat().st_size + difference)
    with pytest.raises(WorkerError) as raised:
        run.finish()
    assert raised.value.code is ErrorCode.FILE_MISMATCH


def test_a_fifo_of_unknown_length(tmp_path: Path) -> None:
    content = Random(4).randbytes(2 * MIB)
    path = tmp_path / "fifo"
    os.mkfifo(path)
    store = MemoryStore()
    beside(lambda: path.write_bytes(content))
    run = start(path, store)
    end = run.finish()
    assert isinstance(end, FileUploaded)
    check_stream(store.stream(end.hashes), content)
    progress = run.worker.progress()
    assert isinstance(progress, UploadProgress)
    assert progress.total_bytes is None


def test_chunks_are_saved_while_the_stream_goes_on(tmp_path: Path) -> None:
    path = tmp_path / "fifo"
    os.mkfifo(path)
    store = MemoryStore()
    run = start(path, store)
    with path.open("wb", buffering=0) as fifo:
        fifo.write(Random(4).randbytes(4 * FRAME_SPAN))
        wait_until(lambda: bool(store.chunks))  # it does not wait for the end
    run.finish()


def test_a_file_that_changes_is_told(tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.write_bytes(bytes(3 * MIB))
    store = MemoryStore()
    store.gate.clear()
    run = start(path, store)
    wait_until(lambda: store.under_way > 0)
    os.utime(path, ns=(0, 0))
    store.gate.set()
    end = run.finish()
    assert isinstance(end, FileUploaded)
    assert end.changed


@pytest.mark.parametrize("verify", [False, True])
def test_a_compressor_that_lies_is_caught_before_its_chunks_are_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, verify: bool
) -> None:
    path = tmp_path / "file"
    path.write_bytes(bytes(100_000))

    def lying(level: int) -> Callable[[memoryview], bytes]:
        compress = frame_compressor(level)
        return lambda data: compress(memoryview(b"x" * len(data)))

    monkeypatch.setattr(compression, "frame_compressor", lying)
    store = MemoryStore()
    run = start(path, store, verify=verify)
    if not verify:
        run.finish()
        return
    with pytest.raises(WorkerError) as raised:
        run.finish()
    assert raised.value.code is ErrorCode.INTERNAL
    assert (store.chunks, run.told()) == ({}, [])


# Interruptions.


def test_an_upload_repeated_after_an_interruption_sends_only_what_is_missing(
    tmp_path: Path,
) -> None:
    path = tmp_path / "large"
    path.write_bytes(Random(9).randbytes(16 * MIB))
    store = MemoryStore()
    hashes = upload(path, store).hashes
    whole = dict(store.chunks)
    for reached in (0, 1, 25, len(hashes)):
        chance = Random(reached)
        in_flight = chance.sample(range(1, max(2, reached)), min(7, max(0, reached - 1)))
        there = {hashes[n] for n in range(reached) if n not in in_flight}
        store.chunks = {hash: data for hash, data in whole.items() if hash in there}
        store.sent.clear()
        end = upload(path, store)
        assert sorted(store.sent) == sorted(set(hashes) - there)
        assert end.new_chunks == len(store.sent)
        assert store.chunks == whole


def test_the_fault_of_the_flaky_store_slows_the_run_down() -> None:
    assert unavailable().slow_down


def test_a_file_of_one_span_starts_no_thread_for_a_quick_store(tmp_path: Path) -> None:
    threads = set()

    class Watched(MemoryStore):
        def put(self, chunk: Chunk, *, overwrite: bool = False) -> bool:
            threads.add(threading.current_thread().name)
            return super().put(chunk, overwrite=overwrite)

    path = tmp_path / "file"
    path.write_bytes(Random(8).randbytes(10_000))
    assert upload(path, Watched(asking_is_free=True), threads=4).new_chunks > 1
    assert threads == {"work"}


@pytest.mark.parametrize(
    ("round_trip", "size", "alone"),
    [
        (NEAR / 2, 10_000, True),
        (NEAR / 2, 250_000, False),
        (NEAR * 2, 10_000, False),
        (None, 10_000, False),
    ],
    ids=["near", "near, more chunks", "far", "not known yet"],
)
def test_the_few_chunks_of_a_small_file_are_saved_in_turn_where_the_store_is_near(
    tmp_path: Path, round_trip: float | None, size: int, alone: bool
) -> None:
    threads = set()

    class Watched(MemoryStore):
        def put(self, chunk: Chunk, *, overwrite: bool = False) -> bool:
            threads.add(threading.current_thread().name)
            return super().put(chunk, overwrite=overwrite)

        def get(self, hash: str) -> bytes:
            threads.add(threading.current_thread().name)
            return super().get(hash)

    path, store = tmp_path / "file", Watched()
    path.write_bytes(Random(8).randbytes(size))
    end = upload(path, store, round_trip=round_trip)
    assert (threads == {"work"}) is alone
    threads.clear()
    download(path, store, end.hashes, round_trip=round_trip)
    assert (threads == {"work"}) is alone


@pytest.mark.parametrize("more", [1, 3 * MIB])
def test_a_file_that_grows_beyond_its_one_span(tmp_path: Path, more: int) -> None:
    content = Random(9).randbytes(MIB + more)
    path = tmp_path / "file"
    path.write_bytes(content)
    spans, whole = FixedSpans(FileSource(str(path), None), MIB), bytearray()
    for number, frame in frames_in_turn(
        spans, frame_maker(3, verify=True, threads=CodecThreads(1))()
    ):
        assert number == len(whole) // FRAME_SPAN
        whole += zstandard.decompress(frame.data)
    assert whole == content
