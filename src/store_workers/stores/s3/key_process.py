"""Programs that print keys (`credential_process`), bounded by a time limit and by the run.

botocore waits for such a program without limit. Here it is started for botocore in a process group
of its own, and ended together with its children.
"""

from __future__ import annotations

import os
import signal
import subprocess
import threading
from contextlib import suppress

from store_workers.errors import ErrorCode, StoreFailure

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

GRACE = 0.5
"""Seconds between SIGTERM and SIGKILL."""


class KeyProcesses:
    """The running programs, each with a limit of `seconds`. Safe from many threads."""

    def __init__(self, seconds: float) -> None:
        self._seconds = seconds
        self._lock = threading.Lock()  # guards the attributes below
        self._under_way: set[_KeyProcess] = set()
        self._closed = False

    def start(self, command: list[str], **_pipes: Any) -> _KeyProcess:
        """Start a program for botocore. Raises `OSError`, and `StoreFailure` after closing.

        Its standard output and error are always pipes.
        """
        with self._lock:
            if self._closed:
                raise StoreFailure(ErrorCode.STORE_UNAVAILABLE, "no credentials: the run is over")
            process = _KeyProcess(command, self)
            self._under_way.add(process)
        return process

    def wait(self, process: _KeyProcess) -> tuple[bytes, bytes]:
        """Return the output of a program. Raises `StoreFailure` after the time limit."""
        try:
            return process.output(self._seconds)
        except subprocess.TimeoutExpired:
            process.end()
            raise StoreFailure(
                ErrorCode.STORE_UNAVAILABLE,
                "no credentials: the profile's credential_process did not end within"
                f" {self._seconds:g} s",
                transient=True,
            ) from None
        finally:
            process.close()
            with self._lock:
                self._under_way.discard(process)

    def close(self) -> None:
        """End all running programs, and prevent further ones."""
        with self._lock:
            self._closed = True
            under_way = list(self._under_way)
        for process in under_way:
            process.end()


class _KeyProcess:
    """One program, with the interface that botocore uses: `communicate`, then `returncode`."""

    def __init__(self, command: list[str], processes: KeyProcesses) -> None:
        self._processes = processes
        # A program that asks a person needs the terminal, which another session does not have.
        self._has_group = os.name == "posix" and not _has_terminal()
        self._process = subprocess.Popen(
            command,
            stdin=None if os.isatty(0) else subprocess.DEVNULL,  # standard input can carry messages
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            start_new_session=self._has_group,
        )

    @property
    def returncode(self) -> int | None:
        return self._process.returncode

    def communicate(self) -> tuple[bytes, bytes]:
        return self._processes.wait(self)

    def output(self, seconds: float) -> tuple[bytes, bytes]:
        return self._process.communicate(timeout=seconds)

    def end(self) -> None:
        """End it and its group: SIGTERM, then SIGKILL."""
        self._send(signal.SIGTERM)
        with suppress(subprocess.TimeoutExpired):
            self._process.wait(GRACE)
        self._send(getattr(signal, "SIGKILL", signal.SIGTERM))
        with suppress(subprocess.TimeoutExpired):
            self._process.wait(GRACE)

    def close(self) -> None:
        for pipe in (self._process.stdout, self._process.stderr):
            if pipe is not None:
                pipe.close()

    def _send(self, number: int) -> None:
        if self._has_group:
            # Also after the program itself has ended, since its children can still run.
            with suppress(OSError):
                os.killpg(self._process.pid, number)
        else:
            self._process.send_signal(number)


def _has_terminal() -> bool:
    """Return whether a program started by this process can ask a person."""
    try:
        os.close(os.open("/dev/tty", os.O_RDWR | os.O_NOCTTY))
    except OSError:
        return False
    return True
