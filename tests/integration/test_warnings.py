"""Warnings: a WARNING with a code, and exit status 0."""

from __future__ import annotations

import os
import re
import time
from typing import TYPE_CHECKING

from tests.support.data import MIB, noise
from tests.support.faulty_server import FaultyServer, Rule, honest_after
from tests.support.worker import Worker, run_worker, upload

if TYPE_CHECKING:
    from pathlib import Path


def test_file_that_changes_while_it_is_read(tmp_path: Path) -> None:
    path = tmp_path / "growing.bin"
    path.write_bytes(noise(12 * MIB))
    with FaultyServer(Rule(honest_after(0.3), "PUT")) as server:
        settings = {"concurrency": 2, "compression_threads": 1}
        with Worker(upload(path, server.url, settings=settings)) as worker:
            worker.wait_for("CHUNK")
            with path.open("ab") as file:
                file.write(b"more")
            run = worker.finish()
    (warning,) = run.of("WARNING")
    assert run.events[-2] == warning
    assert warning["code"] == "FILE_CHANGED"
    assert warning["path"] == str(path)
    assert "changed while it was read" in warning["message"]
    assert run.terminal["changed"] is True
    assert run.status == 0


def test_file_that_stays_is_not_warned_of(tmp_path: Path) -> None:
    path = tmp_path / "still.bin"
    path.write_bytes(noise(MIB))
    run = run_worker(upload(path, tmp_path / "store"))
    assert run.of("WARNING") == []
    assert run.terminal["changed"] is False


def test_slow_store_is_told_once(tmp_path: Path) -> None:
    path = tmp_path / "slow.bin"
    path.write_bytes(noise(3 * MIB))
    with FaultyServer(Rule(honest_after(0.8), "PUT")) as server:
        run = run_worker(upload(path, server.url, settings={"timeout_ms": 1500}))
    (warning,) = run.of("WARNING")
    assert warning["code"] == "STORE_SLOW"
    took = re.match(r"the store is slow: one chunk took (\d+\.\d) s,", warning["message"])
    assert took
    assert float(took[1]) >= 0.8
    assert warning["hash"] in run.terminal["hashes"]
    assert run.status == 0


def test_quick_store_is_not_told(tmp_path: Path) -> None:
    path = tmp_path / "quick.bin"
    path.write_bytes(noise(3 * MIB))
    with FaultyServer(Rule(honest_after(0.2), "PUT")) as server:
        assert run_worker(upload(path, server.url)).of("WARNING") == []


def test_leftovers_of_killed_runs_are_removed_and_told(tmp_path: Path) -> None:
    path, store = tmp_path / "file.bin", tmp_path / "store"
    path.write_bytes(noise(MIB))
    store.mkdir()
    old, young = store / ".store-workers-0a.part", store / ".store-workers-0b.part"
    for leftover in (old, young):
        leftover.write_bytes(b"half a chunk")
    two_days_ago = time.time() - 2 * 24 * 60 * 60
    os.utime(old, (two_days_ago, two_days_ago))
    run = run_worker(upload(path, store))
    (warning,) = run.of("WARNING")
    assert warning["code"] == "LEFTOVERS_REMOVED"
    assert "removed 1 temporary file" in warning["message"]
    assert not old.exists()
    assert young.exists()
    assert run.status == 0
