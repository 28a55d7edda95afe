"""Servers as child processes on loopback: a free port, a sign of life, an end by process id."""

from __future__ import annotations

import contextlib
import socket
import subprocess
import time
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence
    from pathlib import Path

    from typing_extensions import Self

HOST = "127.0.0.1"


class ServerDidNotStart(Exception):
    """A server ended, or did not answer in time; the text is what it wrote."""


class Server:
    """What runs for the length of a ``with`` block, and is ended where it does not come up."""

    def start(self) -> None:
        """Bring it up."""
        raise NotImplementedError

    def stop(self) -> None:
        """End it; nothing where it does not run."""
        raise NotImplementedError

    def __enter__(self) -> Self:
        try:
            self.start()
        except BaseException:
            self.stop()
            raise
        return self

    def __exit__(self, *_error: object) -> None:
        self.stop()


def free_port() -> int:
    """Return a port that nobody listens on: somebody may take it before it is used."""
    with socket.socket() as probe:
        probe.bind((HOST, 0))
        return int(probe.getsockname()[1])


def answers(port: int) -> bool:
    """Tell whether something accepts connections on a port."""
    with contextlib.suppress(OSError), socket.create_connection((HOST, port), timeout=1):
        return True
    return False


def stop(process: subprocess.Popen[bytes], timeout: float = 5) -> None:
    """End a process: asked first, then killed."""
    process.terminate()
    try:
        process.wait(timeout)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()


@contextlib.contextmanager
def serving(command: Sequence[str], port: int, log: Path, timeout: float = 20) -> Iterator[int]:
    """Run a server for the length of a ``with`` block, from its first answer on.

    Args:
        command: what stays in the foreground and listens.
        port: where it will listen.
        log: the file that takes its output.
        timeout: seconds until it must accept connections.

    Yields:
        The server's process id.

    Raises:
        ServerDidNotStart: it ended or stayed silent.
    """
    with log.open("ab") as output:
        process = subprocess.Popen(
            command, stdin=subprocess.DEVNULL, stdout=output, stderr=subprocess.STDOUT
        )
    try:
        deadline = time.monotonic() + timeout
        while not answers(port):
            if process.poll() is not None or time.monotonic() > deadline:
                raise ServerDidNotStart(log.read_text(errors="replace")[-2000:])
            time.sleep(0.02)
        yield process.pid
    finally:
        stop(process)


def start(
    run: Callable[[int], contextlib.AbstractContextManager[int]], port: int | None = None
) -> Started:
    """Start a server on a port, or on a free one: another one if that was taken in between."""
    tries = 5 if port is None else 1
    for left in reversed(range(tries)):
        chosen = port or free_port()
        context = run(chosen)
        try:
            return Started(chosen, context.__enter__(), context)
        except ServerDidNotStart:
            if not left:
                raise
    raise AssertionError("unreachable")


class Started:
    """A server that runs: its port, its process id, and how to end it."""

    def __init__(
        self, port: int, pid: int, context: contextlib.AbstractContextManager[int]
    ) -> None:
        self.port = port
        self.pid = pid
        self._context = context

    def stop(self) -> None:
        """End the server."""
        self._context.__exit__(None, None, None)
