"""SIGTERM and SIGINT end every state within two seconds; further early signals have no effect."""

from __future__ import annotations

import os
import signal
import time
from typing import TYPE_CHECKING

import pytest

from tests.faults.states import SMALL, STATES, fill_up, reading_stdin, syncing_a_file
from tests.support.contract import check_run, parse_events
from tests.support.data import MIB, noise
from tests.support.worker import STALL, Worker, upload

if TYPE_CHECKING:
    from pathlib import Path

    from tests.faults.conftest import Stored
    from tests.support.worker import Run

LONGEST = 2.0 + STALL
SIGNALS = [signal.SIGTERM, signal.SIGINT]
EARLY_SIGNALS = [*SIGNALS, signal.SIGHUP]


@pytest.mark.parametrize("number", SIGNALS, ids=lambda number: number.name)
@pytest.mark.parametrize("state", list(STATES))
def test_a_signal_ends_any_state(
    state: str, number: signal.Signals, small: Stored, tmp_path: Path
) -> None:
    with STATES[state](tmp_path, small) as waiting:
        assert waiting.worker.running()
        waiting.worker.signal(number)
        started = time.monotonic()
        run = waiting.worker.finish()
        assert time.monotonic() - started < LONGEST, run
        assert run.status == 128 + number, run
        assert run.terminal["code"] == "CANCELLED", run
        if "fifo" not in state and state != "decoding":  # a pipe gives and takes bytes but once
            assert run.terminal["retryable"] is True
        assert waiting.left_over() == []


@pytest.mark.parametrize("number", EARLY_SIGNALS, ids=lambda number: number.name)
def test_a_signal_at_any_moment_of_the_start(
    number: signal.Signals, small: Stored, tmp_path: Path
) -> None:
    """Before the worker's first lines run, the system's own way of ending is all there is."""
    seen = set()
    for step in range(16):
        with Worker(upload(small.path, tmp_path / f"store-{step}")) as worker:
            time.sleep(step * 0.008)
            worker.signal(number)
            run = worker.finish(whole=False, check=False)
        if run.stdout:
            check_ended(run)
        # An interpreter that is still loading its own library ends with 1 on SIGINT.
        early = {-number} | ({1} if number == signal.SIGINT else set())
        assert run.status in ({0, 128 + number} if run.stdout else early), run
        seen.add(run.status)
    assert seen - {0}, "no signal came in time"


def test_a_signal_while_nobody_reads_the_events(tmp_path: Path) -> None:
    """The pipe has no room for the last line: the exit status reports it."""
    path = tmp_path / "file"
    path.write_bytes(noise(20 * MIB))
    with Worker(upload(path, tmp_path / "store"), read=False, pipe_size=SMALL) as worker:
        fill_up(worker)
        worker.signal(signal.SIGTERM)
        started = time.monotonic()
        run = worker.finish(whole=False, check=False)
        assert time.monotonic() - started < LONGEST
        assert run.status == 143


def test_a_signal_in_the_middle_of_a_line_that_nobody_reads(tmp_path: Path) -> None:
    """A line that is longer than the pipe must not block the handling of signals."""
    message = {"id": "x" * 300_000, "settings": {"progress_interval_ms": 20}}
    fifo = tmp_path / "fifo"
    os.mkfifo(fifo)
    with (
        Worker(upload(fifo, tmp_path / "store", **message), read=False, pipe_size=SMALL) as worker,
        fifo.open("wb", buffering=0),
    ):
        fill_up(worker)
        worker.signal(signal.SIGTERM)
        started = time.monotonic()
        run = worker.finish(whole=False, check=False)
        assert time.monotonic() - started < LONGEST
        assert run.status == 143


def test_a_signal_while_the_events_are_read_late(tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.write_bytes(noise(20 * MIB))
    with Worker(upload(path, tmp_path / "store"), read=False, pipe_size=SMALL) as worker:
        fill_up(worker)
        worker.signal(signal.SIGTERM)
        time.sleep(0.5)
        said = b""
        while block := worker.stdout.read(65536):
            said += block
        worker.finish(whole=False, check=False)
    assert b'"code":"CANCELLED"' in said.splitlines()[-1]


@pytest.mark.parametrize("second", [signal.SIGHUP, signal.SIGINT, signal.SIGTERM])
def test_signals_that_come_together_are_one_wish(
    second: signal.Signals, small: Stored, tmp_path: Path
) -> None:
    """A supervisor's TERM and HUP, Ctrl-C and the owner's terminate: there is a last line."""
    with syncing_a_file(tmp_path, small) as waiting:
        waiting.worker.signal(signal.SIGTERM)
        waiting.worker.signal(second)
        run = waiting.worker.finish()
        assert run.status in {128 + signal.SIGTERM, 128 + second}
        assert run.terminal["code"] == "CANCELLED"
        assert waiting.left_over() == []


def test_nothing_is_touched_by_a_message_that_never_ended(small: Stored, tmp_path: Path) -> None:
    with reading_stdin(tmp_path, small) as waiting:
        waiting.worker.signal(signal.SIGTERM)
        waiting.worker.finish()
    assert list(tmp_path.iterdir()) == []


def check_ended(run: Run) -> None:
    """Hold a run that came to its own end to the contract."""
    run.events = parse_events(run.stdout)
    check_run(run)
    assert run.status == 0 or run.terminal["code"] == "CANCELLED", run
