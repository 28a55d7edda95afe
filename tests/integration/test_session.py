"""Sessions of the artifact: many files, real stores, faults, an owner that exits, signals."""

from __future__ import annotations

import os
import signal
import time
from typing import TYPE_CHECKING

import pytest

from store_workers.transfer.probing import LEADERS
from tests.support.data import MIB, noise
from tests.support.faulty_server import FIRST, FaultyServer, Rule, stalled, status
from tests.support.waiting import wait_until
from tests.support.worker import STALL, Worker, download, run_worker, session, upload

if TYPE_CHECKING:
    from pathlib import Path

    from tests.support.stores import Store

QUICK = {"retry_delay_ms": 10, "retry_max_delay_ms": 50, "progress_interval_ms": 0}


@pytest.fixture
def files(tmp_path: Path) -> list[Path]:
    """Small files, two of them with one content, and one of several chunks."""
    found = []
    for number in range(40):
        path = tmp_path / f"file-{number}"
        path.write_bytes(noise(10_240, seed=number // 2))
        found.append(path)
    found[20].write_bytes(noise(5 * MIB))
    return found


def uploads(files: list[Path]) -> list[dict[str, str]]:
    return [upload(path, None, id=path.name) for path in files]


def test_files_go_to_a_store_and_come_back(store: Store, files: list[Path], tmp_path: Path) -> None:
    run = run_worker(session(store.url, *uploads(files), settings={"progress_interval_ms": 0}))
    assert (run.terminal["files"], run.terminal["failed"]) == (len(files), 0)
    hashes = {e["id"]: e["hashes"] for e in run.of("FILE_UPLOADED")}
    sent = [e["hash"] for e in run.of("CHUNK") if e["new"]]
    assert len(sent) == len(set(sent)), "a chunk was sent twice"
    back = run_worker(
        session(
            store.url,
            *(download(tmp_path / f"{id}.back", None, hashes[id], id=id) for id in hashes),
            max_files=8,
        )
    )
    assert back.terminal["failed"] == 0
    for path in files:
        assert path.with_name(f"{path.name}.back").read_bytes() == path.read_bytes()


def test_refusals_and_resets_fail_nobody(files: list[Path]) -> None:
    """Every chunk's first try fails: each message has its own tries, and all succeed."""
    with FaultyServer(Rule(status(503), "PUT", tries=FIRST)) as server:
        run = run_worker(session(server.url, *uploads(files), settings=QUICK))
        assert run.terminal["failed"] == 0
        # Of two files with one chunk, the second may have it sent while the first one pauses.
        assert {e["attempts"] for e in run.of("CHUNK") if e["new"]} <= {1, 2}
        assert len(run.of("CHUNK_RETRY")) >= len(files) // 2
        assert {e["id"] for e in run.of("CHUNK_RETRY")} <= {path.name for path in files}


def test_a_store_that_refuses_some_fails_those(files: list[Path], tmp_path: Path) -> None:
    """One message has its own store, which answers 403; the others are not affected."""
    with FaultyServer(Rule(status(403))) as closed:
        other = upload(files[0], closed.url, id="other")
        messages = [*uploads(files), other]
        run = run_worker(session(tmp_path / "store", *messages, settings=QUICK))
    failed = {e["id"]: e["code"] for e in run.of("ERROR")}
    assert failed == {"other": "STORE_ACCESS_DENIED"}


def test_a_store_that_says_when_to_come_back_holds_only_itself(
    files: list[Path], tmp_path: Path
) -> None:
    """The end of the wait is not part of the test: the other store's file ends before it."""
    lines = session(tmp_path / "store", settings={"retry_max_delay_ms": 600_000})
    with (
        FaultyServer(Rule(status(503, retry_after="600"))) as busy,
        Worker([*lines, upload(files[0], busy.url, id="held")], close_stdin=False) as worker,
    ):
        worker.wait_for("CHUNK_RETRY")
        worker.send(upload(files[1], None, id="other"))
        assert worker.wait_for("FILE_UPLOADED")["id"] == "other"
        worker.send({"type": "CANCEL", "id": "held"}, close=True)
        worker.finish()


def test_a_silent_store_keeps_no_other_one_back(files: list[Path], tmp_path: Path) -> None:
    """Though its large file has taken all places that there are."""
    large = tmp_path / "large"
    large.write_bytes(noise(20 * MIB))
    lines = session(tmp_path / "store", settings={"timeout_ms": 600_000})
    with (
        FaultyServer(Rule(stalled(where="answer"))) as silent,
        Worker([*lines, upload(large, silent.url, id="silent")], close_stdin=False) as worker,
    ):
        wait_until(lambda: len(silent.requests()) >= LEADERS)
        worker.send(uploads(files[:5]))
        worker.wait_for("FILE_UPLOADED", count=5)
        worker.send({"type": "CANCEL", "id": "silent"}, close=True)
        worker.finish()


def test_connections_are_shared(files: list[Path]) -> None:
    """No more connections than requests may be in flight, for all files together."""
    with FaultyServer(most=3) as server:  # a fourth one would be reset
        settings = {**QUICK, "concurrency": 3}
        run = run_worker(session(server.url, *uploads(files), settings=settings, max_files=16))
    assert run.terminal["failed"] == 0
    assert run.of("CHUNK_RETRY") == []


def test_cancel_of_a_message_that_waits_for_a_silent_store(tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.write_bytes(noise(MIB))
    with FaultyServer(Rule(stalled(where="answer"))) as server:
        settings = {"concurrency": 1}  # the request that hangs has the only place
        lines = session(
            tmp_path / "store", upload(path, server.url, id="silent"), settings=settings
        )
        with Worker(lines, close_stdin=False) as worker:
            while not server.requests("HEAD") + server.requests("PUT"):
                time.sleep(0.01)
            worker.send({"type": "CANCEL", "id": "silent"})
            server.rules.clear()
            worker.send(upload(path, server.url, id="after"), close=True)
            stopped = worker.wait_for("ERROR", timeout=STALL)
            assert (stopped["id"], stopped["code"]) == ("silent", "CANCELLED")
            worker.wait_for("FILE_UPLOADED", timeout=STALL)
            run = worker.finish()
    assert [e["id"] for e in run.of("FILE_UPLOADED")] == ["after"]


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_ends_all(number: signal.Signals, files: list[Path], tmp_path: Path) -> None:
    fifo = tmp_path / "fifo"
    os.mkfifo(fifo)
    stuck = upload(fifo, None, id="stuck")
    lines = session(tmp_path / "store", stuck, *uploads(files), max_files=1)
    with Worker(lines) as worker, fifo.open("wb"):
        worker.wait_for("PROGRESS")
        worker.signal(number)
        run = worker.finish()
    assert run.status == 128 + number
    ended = {e.get("id") for e in run.of("ERROR")}
    assert ended == {None, "stuck", *(path.name for path in files)}


def test_an_owner_that_goes_ends_it_with_nothing_half_done(
    files: list[Path], tmp_path: Path
) -> None:
    fifo = tmp_path / "fifo"
    os.mkfifo(fifo)
    stuck = upload(fifo, None, id="stuck")
    with (
        Worker(session(tmp_path / "store", stuck, *uploads(files)), read=False) as worker,
        fifo.open("wb"),
    ):
        assert worker.stdout.read(1)
        worker.stdout.close()
        started = time.monotonic()
        run = worker.finish(whole=False, check=False)
        assert (run.status, run.stderr) == (1, b"")
        assert time.monotonic() - started < 3 + STALL
    assert not list(tmp_path.rglob(".store-workers-*"))
