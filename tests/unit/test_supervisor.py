"""The main thread's watch: signals, the work's end, the owner, the heartbeat."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path
from queue import Empty
from typing import TYPE_CHECKING

import pytest

from store_workers.errors import ErrorCode
from store_workers.run.supervisor import Heartbeat, Mailbox, Supervisor
from store_workers.wire.events import ErrorEvent, UploadProgress
from store_workers.wire.writer import EventWriter, OwnerGone
from tests.unit.in_process import TIMEOUT, beside

if TYPE_CHECKING:
    from typing_extensions import Self

ROOT = Path(__file__).parents[2]
PROGRESS = UploadProgress(read_bytes=0, total_bytes=None, stored_bytes=0, stored_chunks=0)
ERROR = ErrorEvent(code=ErrorCode.CANCELLED, message="m", retryable=True)


class Watched:
    """A supervisor over a pipe."""

    def __init__(self) -> None:
        self.descriptor, self.end = os.pipe()
        self.owner = EventWriter(self.end)
        self.mailbox = Mailbox()
        self.supervisor = Supervisor(self.owner, self.mailbox)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_error: object) -> None:
        for descriptor in (self.descriptor, self.end):
            if descriptor >= 0:
                os.close(descriptor)

    def drop_reader(self) -> None:
        os.close(self.descriptor)
        self.descriptor = -1


def test_the_end_of_the_work_ends_the_wait() -> None:
    with Watched() as watched:
        beside(watched.mailbox.done)
        assert watched.supervisor.wait() is None


def test_a_failure_ends_the_wait() -> None:
    failure = ValueError()
    with Watched() as watched:
        beside(lambda: watched.mailbox.failed(failure))
        assert watched.supervisor.wait() is failure


def test_notes_come_in_their_order() -> None:
    mailbox = Mailbox()
    first = ValueError()
    mailbox.failed(first)
    mailbox.done()
    assert mailbox.next(0) is first
    assert mailbox.next(0) is None
    with pytest.raises(Empty):
        mailbox.next(0)


def test_an_owner_that_goes_ends_the_wait() -> None:
    with Watched() as watched:
        timer = threading.Timer(0.05, watched.drop_reader)
        timer.start()
        with pytest.raises(OwnerGone):
            watched.supervisor.wait()


def test_the_heart_beats_while_nothing_moves() -> None:
    with Watched() as watched:
        watched.supervisor.heartbeat = Heartbeat(0.02, lambda: PROGRESS)
        timer = threading.Timer(0.5, watched.mailbox.done)
        timer.start()
        watched.supervisor.wait()
        lines = os.read(watched.descriptor, 100_000).splitlines()
    assert 3 <= len(lines) <= 26
    assert {json.loads(line)["type"] for line in lines} == {"PROGRESS"}


def test_the_heart_does_not_beat_before_it_is_due() -> None:
    with Watched() as watched:
        Heartbeat(TIMEOUT, lambda: PROGRESS).beat(watched.owner)
        os.set_blocking(watched.descriptor, False)
        with pytest.raises(BlockingIOError):
            os.read(watched.descriptor, 1)


def test_a_beat_that_was_missed_is_not_made_up_for() -> None:
    with Watched() as watched:
        heartbeat = Heartbeat(0.01, lambda: PROGRESS)
        heartbeat.due -= 100
        heartbeat.beat(watched.owner)
        assert heartbeat.due >= time.monotonic() - 1
        heartbeat.due = time.monotonic() + TIMEOUT
        heartbeat.beat(watched.owner)
        assert os.read(watched.descriptor, 100_000).count(b"\n") == 1


def fill(descriptor: int) -> None:
    os.set_blocking(descriptor, False)
    try:
        while True:
            os.write(descriptor, b" " * 4096)
    except BlockingIOError:
        os.set_blocking(descriptor, True)


def test_the_last_line_waits_for_an_owner_that_reads_late() -> None:
    with Watched() as watched:
        fill(watched.end)
        thread = beside(lambda: watched.supervisor.emit_last(ERROR))
        thread.join(0.4)
        assert thread.is_alive()
        found = b""
        while b"\n" not in found:
            found = os.read(watched.descriptor, 100_000)
        thread.join(TIMEOUT)
        assert json.loads(found)["type"] == "ERROR"


def test_the_last_line_does_not_wait_for_an_owner_that_is_gone() -> None:
    with Watched() as watched:
        fill(watched.end)
        watched.drop_reader()
        with pytest.raises(OwnerGone):
            watched.supervisor.emit_last(ERROR)


def test_a_signal_ends_the_patience_for_the_last_line() -> None:
    with Watched() as watched:
        fill(watched.end)
        watched.owner.hurry()
        with pytest.raises(OwnerGone):
            watched.supervisor.emit_last(ERROR)
        assert watched.owner.ended_with is None


LISTENER = """
import sys, threading, time
from store_workers.wire.writer import EventWriter
from store_workers.run.supervisor import Mailbox, Supervisor
mailbox = Mailbox()
mailbox.listen_to_signals()
supervisor = Supervisor(EventWriter(1), mailbox)
def busy():
    while True: sum(range(1000))
threading.Thread(target=busy, daemon=True).start()
print("ready", file=sys.stderr, flush=True)
failure = supervisor.wait()
print(type(failure).__name__, failure, failure.signal_number, file=sys.stderr, flush=True)
while True: time.sleep(0.05)
"""


@pytest.mark.parametrize("name", ["SIGINT", "SIGTERM", "SIGHUP"])
def test_signals_are_noted_and_the_second_one_ends_it_at_once(name: str) -> None:
    number = signal.Signals[name]
    with subprocess.Popen(
        [sys.executable, "-c", LISTENER],
        env={"PYTHONPATH": f"{ROOT}/src"},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        preexec_fn=lambda: signal.signal(signal.SIGHUP, signal.SIG_DFL),  # noqa: PLW1509
    ) as process:
        try:
            assert process.stderr is not None
            assert process.stderr.readline() == "ready\n"
            process.send_signal(number)
            expected = f"Cancelled stopped by {name} {int(number)}\n"
            assert process.stderr.readline() == expected
            process.send_signal(number)
            assert process.wait(TIMEOUT) == 128 + number
        finally:
            process.kill()


def test_a_hang_up_that_nohup_ignores_stays_ignored() -> None:
    script = """
import signal
from store_workers.run.supervisor import Mailbox
signal.signal(signal.SIGHUP, signal.SIG_IGN)
Mailbox().listen_to_signals()
print(signal.getsignal(signal.SIGHUP) is signal.SIG_IGN, signal.getsignal(signal.SIGTERM))
"""
    done = subprocess.run(
        [sys.executable, "-c", script],
        env={"PYTHONPATH": f"{ROOT}/src"},
        capture_output=True,
        text=True,
        check=True,
        timeout=TIMEOUT,
    )
    assert done.stdout.startswith("True <bound method Mailbox.on_signal")
