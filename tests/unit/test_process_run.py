"""Runs of a complete process in this process: however they end, nothing is left."""

from __future__ import annotations

import os
import signal
import threading
from typing import TYPE_CHECKING, Any

import pytest

from tests.unit.in_process import TIMEOUT
from tests.unit.owners import Owner

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path


def descriptors() -> int:
    return len(os.listdir("/proc/self/fd"))


def left_over(folder: Path) -> list[str]:
    return [path.name for path in folder.rglob(".*") if path.is_file()]


@pytest.fixture
def content(tmp_path: Path) -> Path:
    path = tmp_path / "content"
    path.write_bytes(os.urandom((2 << 20) + 7))
    return path


def upload(path: Path, **more: Any) -> dict[str, Any]:
    store = str(path.parent / "store")
    return {"type": "UPLOAD_START", "path": str(path), "store": store, **more}


def ended(*messages: dict[str, Any]) -> tuple[int | None, dict[str, Any]]:
    with Owner(*messages) as owner:
        return owner.finish()


def success(content: Path) -> None:
    status, end = ended(upload(content))
    assert (status, end["type"]) == (0, "FILE_UPLOADED")
    target = content.parent / f"target-{threading.get_ident()}"
    download = {
        "type": "DOWNLOAD_START",
        "path": str(target),
        "store": end["store"],
        "hashes": end["hashes"],
    }
    status, end = ended(download)
    assert (status, end["type"]) == (0, "FILE_DOWNLOADED")
    assert target.read_bytes() == content.read_bytes()


def failure(content: Path) -> None:
    status, end = ended(upload(content, size=1))
    assert (status, end["code"]) == (1, "FILE_MISMATCH")
    status, end = ended({**upload(content), "path": str(content.parent / "absent")})
    assert (status, end["code"]) == (1, "FILE_NOT_FOUND")


def refusal(content: Path) -> None:
    status, end = ended(upload(content, colour="red"))
    assert (status, end["code"]) == (2, "BAD_MESSAGE")


def missing_chunk(content: Path) -> None:
    """A download that fails after its target was opened."""
    download = {
        "type": "DOWNLOAD_START",
        "path": str(content.parent / "target"),
        "store": str(content.parent),
        "hashes": ["0" * 64],
    }
    status, end = ended(download)
    assert (status, end["code"]) == (1, "CHUNK_NOT_FOUND")


def retried_in_vain(content: Path) -> None:
    """The store is missing, and the retry layer waits for it."""
    settings = {"retry_delay_ms": 60_000, "retry_max_delay_ms": 60_000}
    message = {**upload(content, settings=settings), "store": "http://127.0.0.1:1/"}
    with Owner(message) as owner:
        owner.wait_for(lambda event: event["type"] == "CHUNK_RETRY")
        owner.run.mailbox.on_signal(signal.SIGTERM, None)
        status, end = owner.finish()
    assert (status, end["code"]) == (143, "CANCELLED")


def cancelled_while_reading(_content: Path) -> None:
    """No message comes."""
    with Owner() as owner:
        owner.run.mailbox.on_signal(signal.SIGINT, None)
        status, end = owner.finish()
    assert (status, end["code"]) == (130, "CANCELLED")


def session(content: Path) -> None:
    """Files that succeed, fail, are refused and are cancelled, in one session."""
    fifo = content.parent / f"fifo-{threading.get_ident()}"
    os.mkfifo(fifo)
    start = {"type": "SESSION_START", "store": str(content.parent / "store"), "max_files": 3}
    with Owner(start) as owner:
        owner.send({"type": "UPLOAD_START", "id": "stuck", "path": str(fifo)})
        for number in range(20):
            owner.send({"type": "UPLOAD_START", "id": f"{number}", "path": str(content)})
        owner.send({"type": "UPLOAD_START", "id": "absent", "path": str(content.parent / "absent")})
        owner.send(b"nonsense")
        owner.wait_for(lambda event: event.get("id") == "absent")
        owner.send({"type": "CANCEL", "id": "stuck"})
        status, end = owner.finish()
    fifo.unlink()
    assert (status, end["files"], end["failed"]) == (1, 22, 3)


KINDS = [
    success,
    failure,
    refusal,
    missing_chunk,
    retried_in_vain,
    cancelled_while_reading,
    session,
]


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
