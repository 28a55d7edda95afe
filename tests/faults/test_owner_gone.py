"""The owner closes stdout or is killed: the worker stops, whatever it waits for."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from typing import TYPE_CHECKING

import pytest

from tests.faults.states import SMALL, STATES, fill_up, wait_until_at_work
from tests.support import faulty_server as faults
from tests.support.data import MIB, noise
from tests.support.faulty_server import FaultyServer, Rule
from tests.support.reference import check_stored, in_folder
from tests.support.waiting import wait_until
from tests.support.worker import ARTIFACT, STALL, Worker, bare_python, clean_environ, upload

if TYPE_CHECKING:
    from pathlib import Path

    from tests.faults.conftest import Stored

LONGEST = 3.0 + STALL

# Starts a worker, and then is only there: its end of the pipes goes with it.
OWNER = """
import subprocess, sys, time
worker = subprocess.Popen(sys.argv[1:], stdin=subprocess.PIPE, stdout=subprocess.PIPE)
worker.stdin.write(sys.stdin.buffer.readline())
worker.stdin.flush()
print(worker.pid, flush=True)
time.sleep(60)
"""


@pytest.mark.parametrize("state", list(STATES))
def test_closing_stdout_ends_any_state(state: str, small: Stored, tmp_path: Path) -> None:
    with STATES[state](tmp_path, small, read=False) as waiting:
        wait_until_at_work(waiting.worker.pid)
        waiting.worker.stdout.close()
        started = time.monotonic()
        run = waiting.worker.finish(whole=False, check=False)
        assert time.monotonic() - started < LONGEST
        assert run.status == 1
        assert run.stderr == b""
        assert waiting.left_over() == []


@pytest.mark.parametrize("waits_for", ["store", "fifo", "stdin"])
def test_an_owner_that_is_killed_takes_its_worker_along(
    waits_for: str, small: Stored, tmp_path: Path
) -> None:
    fifo = tmp_path / "fifo"
    os.mkfifo(fifo)
    with FaultyServer(Rule(faults.stalled(where="answer"))) as server:
        message = {
            "store": json.dumps(upload(small.path, server.url)),
            "fifo": json.dumps(upload(fifo, tmp_path / "store")),
            "stdin": '{"type":',
        }[waits_for]
        owner = subprocess.Popen(
            [sys.executable, "-c", OWNER, bare_python(), str(ARTIFACT)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            env=clean_environ(),
        )
        try:
            assert owner.stdin
            assert owner.stdout
            owner.stdin.write(message.encode() + b"\n")
            owner.stdin.flush()
            worker = int(owner.stdout.readline())
            wait_until_at_work(worker)
            time.sleep(0.3)
            assert alive(worker)
        finally:
            owner.send_signal(signal.SIGKILL)
            owner.communicate()
        started = time.monotonic()
        wait_until(lambda: not alive(worker))
        assert time.monotonic() - started < LONGEST
    assert not [path for path in tmp_path.rglob("*") if path.name.startswith(".store-workers-")]


def alive(pid: int) -> bool:
    """Tell whether a process runs: whoever adopted it may not have asked for its status yet."""
    try:
        with open(f"/proc/{pid}/stat") as file:
            return file.read().rpartition(")")[2].split()[0] not in "ZX"
    except OSError:
        return False


def test_events_that_nobody_reads_are_neither_lost_nor_kept(tmp_path: Path) -> None:
    """A full pipe stops the upload: no event is dropped or queued in memory."""
    path = tmp_path / "file"
    content = noise(64 * MIB)
    path.write_bytes(content)
    store = tmp_path / "store"
    settings = {"progress_interval_ms": 10, "concurrency": 4}
    with Worker(
        upload(path, store, settings=settings), read=False, pipe_size=SMALL, measure=True
    ) as worker:
        fill_up(worker)
        stopped = len(list(store.rglob("*")))
        time.sleep(1)
        assert len(list(store.rglob("*"))) <= stopped + 8, "goes on though nobody listens"
        assert stopped < 100, "went on though nobody listened"
        said = b""
        while block := worker.stdout.read(65536):
            said += block
        run = worker.finish(check=False)
    events = [json.loads(line) for line in said.splitlines()]
    done = events[-1]
    assert done["type"] == "FILE_UPLOADED"
    assert sorted(e["index"] for e in events if e["type"] == "CHUNK") == list(
        range(len(done["hashes"]))
    )
    check_stored(in_folder(store), done["hashes"], content)
    assert run.peak_rss < 150 * MIB


@pytest.mark.parametrize("closed", ["0", "1", "2", "0 1", "1 2", "0 1 2"])
def test_streams_that_are_closed_from_the_beginning(
    closed: str, small: Stored, tmp_path: Path
) -> None:
    """Descriptors that are free are given to the next file that is opened: not to be mixed up."""
    store = tmp_path / "store"
    redirections = " ".join(f"{number}<&-" for number in closed.split())
    done = subprocess.run(
        ["sh", "-c", f'exec "$@" {redirections}', "sh", bare_python(), str(ARTIFACT)],
        check=False,
        input=json.dumps(upload(small.path, store)).encode() + b"\n",
        capture_output=True,
        env=clean_environ(),
        timeout=30,
    )
    assert b"Traceback" not in done.stderr
    if "0" in closed:
        assert not store.exists()
        assert done.returncode == (1 if "1" in closed else 2)
    elif "1" in closed:
        assert done.returncode == 1
    else:
        assert done.returncode == 0
        assert json.loads(done.stdout.splitlines()[-1])["hashes"] == small.hashes
