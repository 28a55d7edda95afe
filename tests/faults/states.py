"""The states in which a worker can wait, each as a context.

Signals, and owners that exit, must end each of them.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import termios
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING

from tests.faults.shims import SLOW_FSYNC, shim
from tests.support import faulty_server as faults
from tests.support.data import MIB, text
from tests.support.faulty_server import FaultyServer, Rule, deaf_port
from tests.support.processes import HOST
from tests.support.reference import digest
from tests.support.waiting import wait_until
from tests.support.worker import Worker, download, upload

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path
    from typing import Any

    from tests.faults.conftest import Stored

TEMPORARY = ".store-workers-"
PATIENT = {"timeout_ms": 60_000, "retry_max_delay_ms": 10_000, "retry_delay_ms": 10_000}


@dataclass
class Waiting:
    """A worker in one of the states.

    Args:
        worker: the process.
        folders: where nothing temporary may be left.
    """

    worker: Worker
    folders: list[Path]

    def left_over(self) -> list[str]:
        """Return the remaining temporary files."""
        return [
            name
            for folder in self.folders
            for _, _, names in os.walk(folder)
            for name in names
            if name.startswith(TEMPORARY)
        ]


def wait_until_at_work(pid: int, timeout: float = 60) -> None:
    """Wait until a worker has started its second thread: from then on it cancels in order."""
    wait_until(lambda: len(os.listdir(f"/proc/{pid}/task")) > 1, timeout)


SMALL = 8192
"""Bytes of a pipe that is soon full."""


def fill_up(worker: Worker) -> None:
    """Wait until a worker's stdout, a `SMALL` pipe, is full: nothing more comes in."""

    def length() -> int:
        return int.from_bytes(fcntl.ioctl(worker.stdout, termios.FIONREAD, bytes(4)), "little")

    before = 0

    def is_still() -> bool:
        nonlocal before
        time.sleep(0.3)
        now, before = before, length()
        return now == before > 0

    wait_until(is_still)


@contextlib.contextmanager
def reading_stdin(folder: Path, stored: Stored, **how: Any) -> Iterator[Waiting]:
    with Worker(b'{"type":"UPLOAD_START",', close_stdin=False, **how) as worker:
        wait_until_at_work(worker.pid)
        yield Waiting(worker, [folder])


@contextlib.contextmanager
def opening_a_fifo(folder: Path, stored: Stored, **how: Any) -> Iterator[Waiting]:
    fifo = folder / "fifo"
    os.mkfifo(fifo)
    with Worker(upload(fifo, folder / "store"), **how) as worker:
        wait_until_at_work(worker.pid)
        time.sleep(0.1)
        yield Waiting(worker, [folder])


@contextlib.contextmanager
def reading_a_silent_fifo(folder: Path, stored: Stored, **how: Any) -> Iterator[Waiting]:
    fifo = folder / "fifo"
    os.mkfifo(fifo)
    with (
        Worker(upload(fifo, folder / "store"), **how) as worker,
        fifo.open("wb", buffering=0) as end,
    ):
        end.write(b"the beginning")
        wait_until_at_work(worker.pid)
        yield Waiting(worker, [folder])


@contextlib.contextmanager
def writing_to_a_fifo_nobody_reads(folder: Path, stored: Stored, **how: Any) -> Iterator[Waiting]:
    fifo = folder / "fifo"
    os.mkfifo(fifo)
    message = download(fifo, stored.path.parent / "store", stored.hashes)
    with Worker(message, **how) as worker, fifo.open("rb", buffering=0) as end:
        end.read(1)
        wait_until_at_work(worker.pid)
        yield Waiting(worker, [folder])


@contextlib.contextmanager
def compressing(folder: Path, stored: Stored, **how: Any) -> Iterator[Waiting]:
    path = folder / "file"
    path.write_bytes(text(24 * MIB))
    message = upload(path, folder / "store", settings={"compression_level": 19})
    with Worker(message, **how) as worker:
        wait_until_at_work(worker.pid)
        time.sleep(0.4)
        yield Waiting(worker, [folder])


@contextlib.contextmanager
def against(
    folder: Path, stored: Stored, rule: Rule | None, method: str, how: dict[str, Any]
) -> Iterator[Waiting]:
    with FaultyServer(*([rule] if rule else [])) as server:
        server.chunks.update(stored.chunks if method == "GET" else {})
        target = folder / "target"
        message = (
            upload(stored.path, server.url, settings=PATIENT)
            if method == "PUT"
            else download(target, server.url, stored.hashes, settings=PATIENT)
        )
        with Worker(message, **how) as worker:
            wait_until(lambda: bool(server.requests(method)))
            yield Waiting(worker, [folder])


def sending(folder: Path, stored: Stored, **how: Any) -> Any:
    return against(folder, stored, Rule(faults.stalled(where="head"), "PUT"), "PUT", how)


def waiting_for_an_answer(folder: Path, stored: Stored, **how: Any) -> Any:
    return against(folder, stored, Rule(faults.stalled(where="answer"), "PUT"), "PUT", how)


def receiving(folder: Path, stored: Stored, **how: Any) -> Any:
    return against(folder, stored, Rule(faults.stalled(where="body"), "GET"), "GET", how)


@contextlib.contextmanager
def waiting_to_try_again(folder: Path, stored: Stored, **how: Any) -> Iterator[Waiting]:
    rule = Rule(faults.status(503, retry_after="10"), "PUT")
    with against(folder, stored, rule, "PUT", how) as waiting:
        if how.get("read", True):
            waiting.worker.wait_for("CHUNK_RETRY")
        yield waiting


@contextlib.contextmanager
def connecting(folder: Path, stored: Stored, **how: Any) -> Iterator[Waiting]:
    with deaf_port() as port:
        message = upload(stored.path, f"http://{HOST}:{port}/", settings=PATIENT)
        with Worker(message, **how) as worker:
            wait_until_at_work(worker.pid)
            time.sleep(0.1)
            yield Waiting(worker, [folder])


@contextlib.contextmanager
def decoding(folder: Path, stored: Stored, **how: Any) -> Iterator[Waiting]:
    """A decompression bomb of terabytes: one chunk, listed ten thousand times."""
    chunk = bomb_chunk()
    name = digest(chunk)
    with FaultyServer() as server:
        server.chunks[name] = chunk
        message = download("/dev/null", server.url, [name] * 10_000, settings=PATIENT)
        with Worker(message, **how) as worker:
            wait_until(lambda: bool(server.requests("GET")))
            time.sleep(0.2)
            yield Waiting(worker, [folder])


def bomb_chunk() -> bytes:
    """Return a frame of half a MiB that declares no size and decodes to 16 GiB of one letter."""
    head = b"\x28\xb5\x2f\xfd" + b"\x00" + b"\x58"  # no size, no checksum, a window of 2 MiB
    block = (1 << 1 | (128 * 1024) << 3).to_bytes(3, "little") + b"x"  # 128 KiB by run length
    count = (512 * 1024 - len(head)) // len(block) - 1
    last = (1 | 1 << 1 | (128 * 1024) << 3).to_bytes(3, "little") + b"x"
    return head + block * count + last


@contextlib.contextmanager
def syncing(folder: Path, stored: Stored, **how: Any) -> Iterator[Waiting]:
    """Every fsync takes half a minute."""
    store = folder / "store"
    with Worker(upload(stored.path, store), env=shim(folder, SLOW_FSYNC), **how) as worker:
        wait_until(store.exists)
        time.sleep(0.2)
        yield Waiting(worker, [folder])


@contextlib.contextmanager
def syncing_a_file(folder: Path, stored: Stored, **how: Any) -> Iterator[Waiting]:
    """The same at the end of a download."""
    message = download(folder / "target", stored.path.parent / "store", stored.hashes)
    with Worker(message, env=shim(folder, SLOW_FSYNC), **how) as worker:
        wait_until_at_work(worker.pid)
        time.sleep(0.4)
        yield Waiting(worker, [folder])


@contextlib.contextmanager
def reading_a_silent_command(folder: Path, stored: Stored, **how: Any) -> Iterator[Waiting]:
    message = {"type": "UPLOAD_START", "command": ["sleep", "600"], "store": str(folder / "store")}
    with Worker(message, **how) as worker:
        wait_until_at_work(worker.pid)
        time.sleep(0.2)
        yield Waiting(worker, [folder])


STATES: dict[str, Callable[..., Any]] = {
    state.__name__.replace("_", " "): state
    for state in (
        reading_stdin,
        opening_a_fifo,
        reading_a_silent_fifo,
        writing_to_a_fifo_nobody_reads,
        reading_a_silent_command,
        compressing,
        sending,
        waiting_for_an_answer,
        receiving,
        waiting_to_try_again,
        connecting,
        decoding,
        syncing,
        syncing_a_file,
    )
}
