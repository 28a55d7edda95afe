"""The writer of events: complete lines, nothing after the terminal event, bounded waits."""

from __future__ import annotations

import json
import os
import threading
from typing import TYPE_CHECKING, Any

import pytest

from store_workers.errors import ErrorCode, WarningCode
from store_workers.wire.events import ChunkStored, ErrorEvent, FileUploaded, UploadProgress, Warning
from store_workers.wire.writer import EventWriter, OwnerGone, OwnerPipe
from tests.unit.in_process import TIMEOUT, beside

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from store_workers.wire.events import Event

HASH = "ab" * 32
CHUNK = ChunkStored(index=0, hash=HASH, size=5, new=True, attempts=1)
PROGRESS = UploadProgress(
    concurrency=8, read_bytes=0, total_bytes=None, stored_bytes=0, stored_chunks=0
)
ERROR = ErrorEvent(code=ErrorCode.INTERNAL, message="m", retryable=False)


def uploaded(hashes: int = 1) -> FileUploaded:
    return FileUploaded(
        path="/f",
        store="/s",
        size=0,
        compressed_size=0,
        chunks=hashes,
        hashes=(HASH,) * hashes,
        new_chunks=0,
        new_bytes=0,
        changed=False,
        duration_ms=0,
    )


class Wire:
    """A pipe to an owner that reads on request."""

    def __init__(self) -> None:
        self.descriptor, self.end = os.pipe()
        self.owner = EventWriter(OwnerPipe(self.end))
        self._reading = True

    def read_to_end(self) -> list[dict[str, Any]]:
        """Close the worker's end, and read the events."""
        os.close(self.end)
        self.end = -1
        with os.fdopen(os.dup(self.descriptor), "rb") as file:
            return [json.loads(line) for line in file.read().splitlines(keepends=True)]

    def fill(self) -> int:
        """Fill the pipe. Return the number of bytes."""
        os.set_blocking(self.end, False)
        count = 0
        try:
            while True:
                count += os.write(self.end, b" " * 4096)
        except BlockingIOError:
            os.set_blocking(self.end, True)
            return count

    def drop_reader(self) -> None:
        if self._reading:
            os.close(self.descriptor)
            self._reading = False

    def close(self) -> None:
        self.drop_reader()
        if self.end >= 0:
            os.close(self.end)


@pytest.fixture
def wire() -> Iterator[Wire]:
    made = Wire()
    yield made
    made.close()


def test_events_are_lines_in_their_order(wire: Wire) -> None:
    wire.owner.emit(CHUNK)
    wire.owner.emit(PROGRESS)
    wire.owner.id = "ü\ud800\n"
    wire.owner.emit(uploaded())
    chunk, progress, end = wire.read_to_end()
    assert chunk == {
        "type": "CHUNK",
        "index": 0,
        "hash": HASH,
        "size": 5,
        "new": True,
        "attempts": 1,
    }
    assert progress["total_bytes"] is None
    assert end["id"] == "ü\ud800\n"
    assert list(end)[:2] == ["type", "id"]


def test_a_line_is_ascii_whatever_it_says(wire: Wire) -> None:
    wire.owner.emit(Warning(code=WarningCode.STORE_SLOW, message="ü 日本 \udcff \n \x7f"))
    line = os.read(wire.descriptor, 1000)
    assert line.isascii()
    assert line.count(b"\n") == 1


@pytest.mark.parametrize("end", [uploaded(), ERROR], ids=["success", "failure"])
def test_nothing_follows_the_end(wire: Wire, end: Event) -> None:
    wire.owner.emit(end)
    wire.owner.emit(CHUNK)
    wire.owner.emit(uploaded())
    assert wire.owner.emit_within(ERROR, 0)
    assert wire.owner.ended_with is end.type
    assert len(wire.read_to_end()) == 1


def test_of_many_ends_one_is_told(wire: Wire) -> None:
    barrier = threading.Barrier(10)

    def emit(event: Event) -> None:
        barrier.wait(TIMEOUT)
        wire.owner.emit(event)

    threads = [beside(lambda event=event: emit(event)) for event in [ERROR, uploaded()] * 5]  # type: ignore[misc]
    for thread in threads:
        thread.join(TIMEOUT)
    (only,) = wire.read_to_end()
    assert wire.owner.ended_with == only["type"]


@pytest.mark.parametrize("blocking", [True, False])
def test_lines_of_many_threads_stay_whole_through_a_full_pipe(wire: Wire, blocking: bool) -> None:
    os.set_blocking(wire.end, blocking)
    long = HASH * 1100  # longer than the pipe holds

    def emit(number: int) -> None:
        for index in range(5):
            wire.owner.emit(Warning(code=WarningCode.STORE_SLOW, message=long, index=index))
            wire.owner.emit(CHUNK)

    threads = [beside(lambda n=n: emit(n)) for n in range(3)]  # type: ignore[misc]
    found = bytearray()
    while found.count(b"\n") < 30:
        found += os.read(wire.descriptor, 5000)
    for thread in threads:
        thread.join(TIMEOUT)
    kinds = [json.loads(line)["type"] for line in found.splitlines()]
    assert kinds.count("CHUNK") == kinds.count("WARNING") == 15


def test_a_full_pipe_makes_the_worker_wait_and_loses_nothing(wire: Wire) -> None:
    room = wire.fill()
    thread = beside(lambda: wire.owner.emit(uploaded()))
    thread.join(0.1)
    assert thread.is_alive()
    got = b""
    while len(got) < room:
        got += os.read(wire.descriptor, room - len(got))
    thread.join(TIMEOUT)
    assert json.loads(os.read(wire.descriptor, 100_000))["type"] == "FILE_UPLOADED"


def test_a_heartbeat_is_left_out_where_the_owner_does_not_read(wire: Wire) -> None:
    assert wire.owner.emit_within(PROGRESS, 0)
    wire.fill()
    assert not wire.owner.emit_within(PROGRESS, 0)
    assert not wire.owner.emit_within(ERROR, 0.05)
    assert wire.owner.ended_with is None


def test_a_heartbeat_does_not_wait_behind_another_event(wire: Wire) -> None:
    room = wire.fill()
    thread = beside(lambda: wire.owner.emit(CHUNK))
    thread.join(0.05)
    assert not wire.owner.emit_within(PROGRESS, 0.01)
    assert not wire.owner.emit_within(PROGRESS, 0)
    while room:
        room -= len(os.read(wire.descriptor, room))
    thread.join(TIMEOUT)
    assert [event["type"] for event in wire.read_to_end()] == ["CHUNK"]


def test_an_owner_that_is_gone_is_noticed(wire: Wire) -> None:
    assert not wire.owner.pipe.is_gone()
    wire.drop_reader()
    assert wire.owner.pipe.is_gone()
    with pytest.raises(OwnerGone):
        wire.owner.emit(CHUNK)
    with pytest.raises(OwnerGone):
        wire.owner.emit_within(CHUNK, 0)


def test_an_owner_that_goes_while_the_pipe_is_full_ends_the_wait(wire: Wire) -> None:
    wire.fill()
    met: list[BaseException] = []

    def emit() -> None:
        try:
            wire.owner.emit(CHUNK)
        except OwnerGone as gone:
            met.append(gone)

    thread = beside(emit)
    thread.join(0.05)
    wire.drop_reader()
    thread.join(TIMEOUT)
    assert met


def test_a_file_as_standard_output(tmp_path: Path) -> None:
    path = tmp_path / "events"
    with path.open("wb") as file:
        owner = EventWriter(OwnerPipe(file.fileno()))
        owner.emit(CHUNK)
        assert not owner.pipe.is_gone()
        assert owner.emit_within(uploaded(), 0)
    assert len(path.read_text().splitlines()) == 2


def test_a_full_disk_as_standard_output() -> None:
    descriptor = os.open("/dev/full", os.O_WRONLY)
    try:
        with pytest.raises(OwnerGone):
            EventWriter(OwnerPipe(descriptor)).emit(CHUNK)
    finally:
        os.close(descriptor)
