"""The main thread: signals, the end of the work, the owner, the heartbeat."""

from __future__ import annotations

import contextlib
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

from store_workers.errors import Cancelled, ErrorCode
from store_workers.run.supervisor import (
    ONE_WISH,
    Heartbeat,
    Heartbeats,
    Mailbox,
    Signals,
    Supervisor,
    hold_signals,
)
from store_workers.wire.events import ErrorEvent, UploadProgress
from store_workers.wire.writer import EventWriter, OwnerGone, OwnerPipe
from tests.unit.in_process import TIMEOUT, beside

if TYPE_CHECKING:
    from typing_extensions import Self

ROOT = Path(__file__).parents[2]
PROGRESS = UploadProgress(
    concurrency=8, read_bytes=0, total_bytes=None, stored_bytes=0, stored_chunks=0
)
ERROR = ErrorEvent(code=ErrorCode.CANCELLED, message="m", retryable=True)


class Watched:
    """A supervisor over a pipe."""

    def __init__(self) -> None:
        self.descriptor, self.end = os.pipe()
        self.owner = EventWriter(OwnerPipe(self.end))
        self.mailbox = Mailbox()
        self.heartbeats = Heartbeats(self.mailbox.wake)
        self.supervisor = Supervisor(self.owner.pipe, self.mailbox, self.heartbeats)

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
        watched.heartbeats.add(Heartbeat(0.02, lambda: PROGRESS, watched.owner))
        waiting = beside(watched.supervisor.wait)
        found = b""
        while found.count(b"\n") < 3:
            found += os.read(watched.descriptor, 100_000)
        watched.mailbox.done()
        waiting.join(TIMEOUT)
        assert not waiting.is_alive()
    assert {json.loads(line)["type"] for line in found.splitlines()} == {"PROGRESS"}


def test_the_heart_does_not_beat_before_it_is_due() -> None:
    with Watched() as watched:
        Heartbeat(TIMEOUT, lambda: PROGRESS, watched.owner).beat(time.monotonic())
        os.set_blocking(watched.descriptor, False)
        with pytest.raises(BlockingIOError):
            os.read(watched.descriptor, 1)


def test_a_beat_that_was_missed_is_not_made_up_for() -> None:
    with Watched() as watched:
        heartbeat = Heartbeat(0.01, lambda: PROGRESS, watched.owner)
        heartbeat.due -= 100
        heartbeat.beat(time.monotonic())
        assert heartbeat.due >= time.monotonic() - 1
        heartbeat.due = time.monotonic() + TIMEOUT
        heartbeat.beat(time.monotonic())
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
        thread = beside(lambda: watched.owner.emit_last(ERROR))
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
            watched.owner.emit_last(ERROR)


def test_a_signal_ends_the_patience_for_the_last_line() -> None:
    with Watched() as watched:
        fill(watched.end)
        watched.owner.pipe.hurry()
        with pytest.raises(OwnerGone):
            watched.owner.emit_last(ERROR)
        assert watched.owner.ended_with is None


LISTENER = """
import sys, threading, time
from store_workers.wire.writer import OwnerPipe
from store_workers.run.supervisor import Heartbeats, Mailbox, Signals, Supervisor
mailbox = Mailbox()
signals = Signals(mailbox).__enter__()
supervisor = Supervisor(OwnerPipe(1), mailbox, Heartbeats())
waiting = True
def busy():
    while waiting: sum(range(1000))
threading.Thread(target=busy, daemon=True).start()
print("ready", file=sys.stderr, flush=True)
failure = supervisor.wait()
waiting = False
print(type(failure).__name__, failure, failure.signal_number, file=sys.stderr, flush=True)
while True: time.sleep(0.05)
"""


@pytest.mark.parametrize(
    ("name", "blocked"), [("SIGINT", False), ("SIGINT", True), ("SIGTERM", True), ("SIGHUP", True)]
)
def test_signals_are_noted_and_a_later_one_ends_it_at_once(name: str, blocked: bool) -> None:
    number = signal.Signals[name]
    with subprocess.Popen(
        [sys.executable, "-c", LISTENER],
        env={"PYTHONPATH": f"{ROOT}/src"},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        preexec_fn=lambda: as_an_owner_has_it(blocked),  # noqa: PLW1509
    ) as process:
        try:
            assert process.stderr is not None
            assert process.stderr.readline() == "ready\n"
            process.send_signal(number)
            expected = f"Cancelled stopped by {name} {int(number)}\n"
            assert process.stderr.readline() == expected
            assert status_once_stopped(process, number) == 128 + number
        finally:
            process.kill()


def status_once_stopped(process: subprocess.Popen[str], number: int) -> int:
    """Send a signal until it ends the process, since early repetitions have no effect."""
    while True:
        process.send_signal(number)
        with contextlib.suppress(subprocess.TimeoutExpired):
            return process.wait(ONE_WISH / 4)


def as_an_owner_has_it(blocked: bool) -> None:
    """Begin as a child of an owner that may have blocked the signals."""
    signal.signal(signal.SIGHUP, signal.SIG_DFL)
    if blocked:
        signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])


def test_signals_that_come_together_are_one_wish(monkeypatch: pytest.MonkeyPatch) -> None:
    now = [100.0]
    ended: list[int] = []
    stopped: list[bool] = []
    monkeypatch.setattr(os, "_exit", ended.append)
    mailbox = Mailbox(lambda: stopped.append(True), clock=lambda: now[0])
    mailbox.on_signal(signal.SIGTERM, None)
    now[0] += ONE_WISH
    mailbox.on_signal(signal.SIGHUP, None)
    assert (mailbox.signalled, stopped, ended) == (signal.SIGTERM, [True], [])
    now[0] += 0.1
    mailbox.on_signal(signal.SIGHUP, None)
    assert ended == [128 + signal.SIGHUP]


def test_held_signals_wait_for_a_handler() -> None:
    """Before and after the context nobody could report them."""
    mask = signal.pthread_sigmask(signal.SIG_BLOCK, [])
    early: list[int] = []
    before = signal.signal(signal.SIGTERM, lambda number, _frame: early.append(number))
    mailbox = Mailbox()
    try:
        hold_signals()
        signal.raise_signal(signal.SIGTERM)
        with pytest.raises(Empty):
            mailbox.next(0)
        with Signals(mailbox):
            assert isinstance(mailbox.next(0), Cancelled)
        signal.raise_signal(signal.SIGTERM)
        assert early == []
        signal.sigwait([signal.SIGTERM])
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, mask)
        signal.signal(signal.SIGTERM, before)


def test_signals_are_left_as_they_were() -> None:
    names = [signal.SIGINT, signal.SIGTERM, signal.SIGHUP]
    signal.signal(signal.SIGHUP, signal.SIG_IGN)
    try:
        before = [signal.getsignal(name) for name in names]
        mask = signal.pthread_sigmask(signal.SIG_BLOCK, [])
        mailbox = Mailbox()
        with Signals(mailbox):
            assert signal.getsignal(signal.SIGTERM) == mailbox.on_signal
            assert signal.getsignal(signal.SIGHUP) is signal.SIG_IGN
        assert [signal.getsignal(name) for name in names] == before
        assert signal.pthread_sigmask(signal.SIG_BLOCK, []) == mask
    finally:
        signal.signal(signal.SIGHUP, signal.SIG_DFL)
