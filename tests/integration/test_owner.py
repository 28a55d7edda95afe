"""The view of an owner: start, progress and end of a run."""

from __future__ import annotations

import os
import signal
import time
from typing import TYPE_CHECKING

import pytest

from tests.support.data import MIB, noise
from tests.support.faulty_server import FaultyServer, Rule, honest_after, stalled, status
from tests.support.worker import STALL, Worker, download, run_worker, upload

if TYPE_CHECKING:
    from pathlib import Path

    from tests.support.data import Inputs
    from tests.support.stores import Store

FIFO_WAIT = 0.3


def test_work_starts_on_the_newline(directory: Store, inputs: Inputs) -> None:
    """Stdin stays open, as with an owner that keeps its pipe."""
    message = upload(inputs.path("600 KiB"), directory.url)
    with Worker(message, close_stdin=False) as worker:
        run = worker.finish()
    assert run.terminal["type"] == "FILE_UPLOADED"


def test_message_without_a_newline_ends_with_stdin(directory: Store, inputs: Inputs) -> None:
    path = str(inputs.path("600 KiB"))
    line = f'{{"type":"UPLOAD_START","path":"{path}","store":"{directory.url}"}}'.encode()
    assert run_worker(line).terminal["type"] == "FILE_UPLOADED"


def test_message_in_pieces(directory: Store, inputs: Inputs) -> None:
    path = str(inputs.path("600 KiB"))
    line = f'{{"type":"UPLOAD_START","path":"{path}","store":"{directory.url}"}}\n'.encode()
    with Worker() as worker:
        for start in range(0, len(line), 40):
            worker.send(line[start : start + 40])
            time.sleep(0.01)
        assert worker.finish().terminal["type"] == "FILE_UPLOADED"


def test_closing_stdin_later_means_nothing(directory: Store, tmp_path: Path) -> None:
    fifo = tmp_path / "fifo"
    os.mkfifo(fifo)
    with Worker(upload(fifo, directory.url), close_stdin=False) as worker:
        with fifo.open("wb") as stream:
            stream.write(b"first")
            worker.stdin.close()
            time.sleep(FIFO_WAIT)
            stream.write(b"second")
        assert worker.finish().terminal["size"] == len(b"firstsecond")


def test_progress_is_a_heartbeat(directory: Store, tmp_path: Path) -> None:
    """It continues while nothing moves; the length of a stream is not known."""
    fifo = tmp_path / "fifo"
    os.mkfifo(fifo)
    message = upload(fifo, directory.url, settings={"progress_interval_ms": 50})
    with Worker(message) as worker, fifo.open("wb", buffering=0) as stream:
        stream.write(b"x" * 1000)
        worker.wait_for(lambda e: e["type"] == "PROGRESS" and e["read_bytes"] == 1000)
        heard = len(worker.events())
        last = worker.wait_for("PROGRESS", count=heard + 3)
        assert (last["total_bytes"], last["stored_chunks"]) == (None, 0)
        stream.close()
        assert worker.finish().terminal["size"] == 1000


@pytest.mark.parametrize(("interval", "expected"), [(0, False), (1, True)])
def test_progress_interval(
    interval: int, expected: bool, nginx: Store, inputs: Inputs, tmp_path: Path
) -> None:
    source = inputs.path("9 MiB of text")
    settings = {"progress_interval_ms": interval}
    run = run_worker(upload(source, nginx.url, settings=settings))
    assert bool(run.of("PROGRESS")) is expected
    # Before the file is open, its size is not known.
    told = {e["total_bytes"] for e in run.of("PROGRESS")} - {None}
    assert told == ({source.stat().st_size} if expected else set())
    hashes = run.terminal["hashes"]
    back = run_worker(download(tmp_path / "target", nginx.url, hashes, settings=settings))
    assert bool(back.of("PROGRESS")) is expected
    assert all(e["total_chunks"] == len(hashes) for e in back.of("PROGRESS"))


def test_chunks_are_told_as_they_are_stored(tmp_path: Path) -> None:
    """Not all at the end: the first one comes before the last chunk is sent."""
    source = tmp_path / "source"
    source.write_bytes(noise(4 * MIB))
    slow = Rule(honest_after(1.5), "PUT", nth={3})
    with FaultyServer(slow) as server, Worker(upload(source, server.url)) as worker:
        worker.wait_for("CHUNK", count=2)
        told = time.monotonic()
        run = worker.finish()
        assert time.monotonic() - told > 1
        assert run.terminal["type"] == "FILE_UPLOADED"


def test_each_failed_try_is_told(inputs: Inputs, tmp_path: Path) -> None:
    """Two 503s for every chunk: no failure in either direction, and each is reported."""
    source = inputs.path("15 MiB mixed")
    settings = {"retry_delay_ms": 10, "retry_max_delay_ms": 100}
    twice = Rule(status(503), "PUT GET", tries={1, 2})
    with FaultyServer(twice) as server:
        run = run_worker(upload(source, server.url, settings=settings))
        hashes = run.terminal["hashes"]
        assert set(server.chunks) == set(hashes)
        assert {server.tries("PUT", each) for each in hashes} == {3}
        retries = run.of("CHUNK_RETRY")
        assert sorted((e["hash"], e["attempt"]) for e in retries) == sorted(
            (each, attempt) for each in set(hashes) for attempt in (1, 2)
        )
        assert {e["code"] for e in retries} == {"STORE_UNAVAILABLE"}
        assert all("503" in e["message"] for e in retries)

        back = run_worker(download(tmp_path / "target", server.url, hashes, settings=settings))
        assert (tmp_path / "target").read_bytes() == source.read_bytes()
        assert {e["attempt"] for e in back.of("CHUNK_RETRY")} == {1, 2}
        assert {server.tries("GET", each) for each in hashes} == {3}


def test_tries_end(inputs: Inputs) -> None:
    settings = {"retry_delay_ms": 1, "max_attempts": 3}
    with FaultyServer(Rule(status(500), "PUT")) as server:
        run = run_worker(upload(inputs.path("4096 bytes"), server.url, settings=settings))
        told = run.terminal
        assert (told["code"], told["http_status"]) == ("STORE_UNAVAILABLE", 500)
        assert (told["attempts"], told["retryable"]) == (3, True)
        assert server.tries("PUT", told["hash"]) == 3


def test_silent_owner_gone_stops_the_worker(tmp_path: Path) -> None:
    """It waits for a store that never answers, and notices only the closed pipe."""
    source = tmp_path / "source"
    source.write_bytes(noise(MIB))
    silent = Rule(stalled(where="answer"))
    with FaultyServer(silent) as server, Worker(upload(source, server.url), read=False) as worker:
        assert worker.stdout.read(1)  # a PROGRESS: it is at work
        worker.stdout.close()
        started = time.monotonic()
        run = worker.finish(whole=False, check=False)
        assert run.status == 1
        assert time.monotonic() - started < 3 + STALL


@pytest.mark.parametrize(("number", "code"), [(signal.SIGTERM, 143), (signal.SIGINT, 130)])
def test_signal_cancels(
    number: signal.Signals, code: int, directory: Store, tmp_path: Path
) -> None:
    fifo = tmp_path / "fifo"
    os.mkfifo(fifo)
    message = upload(fifo, directory.url, settings={"progress_interval_ms": 20})
    with Worker(message) as worker, fifo.open("wb") as stream:
        worker.wait_for("PROGRESS")
        worker.signal(number)
        run = worker.finish()
        stream.close()
    assert (run.status, run.terminal["code"]) == (code, "CANCELLED")
    assert directory.files() == set()


def test_flags() -> None:
    for flag in ("--help", "--version", "--schema"):
        run = run_worker(None, args=[flag], check=False)
        assert (run.status, run.stderr) == (0, b""), run
        assert run.stdout.endswith(b"\n")


def test_unknown_flag_is_refused() -> None:
    run = run_worker(None, args=["--fast"], check=False)
    assert run.status == 2
    assert b"Traceback" not in run.stderr
