"""Runs of a whole process in this one: whatever they end with, nothing of them is left."""

from __future__ import annotations

import json
import os
import signal
import threading
from typing import TYPE_CHECKING, Any

import pytest

from store_workers.run.process_run import ProcessRun
from store_workers.wire.writer import OwnerPipe
from tests.unit.in_process import TIMEOUT, beside

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path


class Owner:
    """Two pipes and the run behind them, which is let go of at the end."""

    def __init__(self, *messages: dict[str, Any]) -> None:
        self._stdin, self._to_worker = os.pipe()
        self._from_worker, self._stdout = os.pipe()
        self.run = ProcessRun(self._stdin, OwnerPipe(self._stdout), {})
        for message in messages:
            os.write(self._to_worker, json.dumps(message).encode() + b"\n")

    def finish(self, before_the_end: Callable[[Owner], None] = lambda _owner: None) -> Any:
        """Run to the end: (exit status, last event)."""
        lines: list[bytes] = []
        reader = beside(lambda: lines.extend(self._read_to_end()))
        statuses: list[int] = []
        runner = beside(lambda: statuses.append(self.run.status()))
        before_the_end(self)
        runner.join(TIMEOUT)
        assert self.run.close(TIMEOUT)
        os.close(self._stdout)
        reader.join(TIMEOUT)
        for descriptor in (self._stdin, self._to_worker, self._from_worker):
            os.close(descriptor)
        return statuses[0], json.loads(lines[-1])

    def _read_to_end(self) -> list[bytes]:
        with os.fdopen(os.dup(self._from_worker), "rb") as file:
            return file.readlines()


def descriptors() -> int:
    return len(os.listdir("/proc/self/fd"))


def left_over(folder: Path) -> list[str]:
    return [path.name for path in folder.rglob(".*") if path.is_file()]


@pytest.fixture
def content(tmp_path: Path) -> Path:
    path = tmp_path / "content"
    path.write_bytes(os.urandom(5 << 20))
    return path


def upload(path: Path, **more: Any) -> dict[str, Any]:
    store = str(path.parent / "store")
    return {"type": "UPLOAD_START", "path": str(path), "store": store, **more}


def success(content: Path) -> None:
    status, end = Owner(upload(content)).finish()
    assert (status, end["type"]) == (0, "FILE_UPLOADED")
    target = content.parent / f"target-{threading.get_ident()}"
    download = {
        "type": "DOWNLOAD_START",
        "path": str(target),
        "store": end["store"],
        "hashes": end["hashes"],
    }
    status, end = Owner(download).finish()
    assert (status, end["type"]) == (0, "FILE_DOWNLOADED")
    assert target.read_bytes() == content.read_bytes()


def failure(content: Path) -> None:
    status, end = Owner(upload(content, size=1)).finish()
    assert (status, end["code"]) == (1, "FILE_MISMATCH")
    status, end = Owner({**upload(content), "path": "/nonexistent"}).finish()
    assert (status, end["code"]) == (1, "FILE_NOT_FOUND")


def refusal(content: Path) -> None:
    status, end = Owner(upload(content, colour="red")).finish()
    assert (status, end["code"]) == (2, "BAD_MESSAGE")


def retried_in_vain(content: Path) -> None:
    """The store is not there, and the retry layer waits for it."""

    def stop(owner: Owner) -> None:
        os.read(owner._from_worker, 1)
        owner.run.mailbox.on_signal(signal.SIGTERM, None)

    settings = {"retry_delay_ms": 60_000, "retry_max_delay_ms": 60_000}
    message = {**upload(content, settings=settings), "store": "http://127.0.0.1:1/"}
    status, end = Owner(message).finish(stop)
    assert (status, end["code"]) == (143, "CANCELLED")


def cancelled_while_reading(_content: Path) -> None:
    """No message comes."""
    status, end = Owner().finish(lambda owner: owner.run.mailbox.on_signal(signal.SIGINT, None))
    assert (status, end["code"]) == (130, "CANCELLED")


KINDS = [success, failure, refusal, retried_in_vain, cancelled_while_reading]


@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.__name__)
def test_runs_leave_nothing_behind(kind: Callable[[Path], None], content: Path) -> None:
    kind(content)  # what is loaded or looked up once is the process's
    threads, before = set(threading.enumerate()), descriptors()
    stack = threading.stack_size()
    kind(content)
    assert set(threading.enumerate()) <= threads
    beside_each_other = [threading.Thread(target=kind, args=(content,)) for _ in range(3)]
    for each in beside_each_other:
        each.start()
    for each in beside_each_other:
        each.join(TIMEOUT)
    assert set(threading.enumerate()) <= threads
    assert descriptors() == before
    assert left_over(content.parent) == []
    assert threading.stack_size() == stack
