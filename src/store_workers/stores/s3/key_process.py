"""Programs that hand out keys (`credential_process`): none outlasts its time or the run's.

botocore waits for such a program as long as it takes. Here it is started for botocore, in a
process group of its own, and ended together with whatever it started.
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
    """The programs under way, each of which has `seconds` to print keys. Safe from many threads."""

    def __init__(self, seconds: float) -> None:
        self._seconds = seconds
        self._lock = threading.Lock()  # for what follows
        self._under_way: set[_KeyProcess] = set()
        self._closed = False

    def start(self, command: list[str], **_pipes: Any) -> _KeyProcess:
        """Start a program as botocore wants it. Raises `OSError`, and `StoreFailure` once closed.

        Its standard output and error are always pipes.
        """
        with self._lock:
            if self._closed:
                raise StoreFailure(ErrorCode.STORE_UNAVAILABLE, "no credentials: the run is over")
            process = _KeyProcess(command, self)
            self._under_way.add(process)
        return process

    def wait(self, process: _KeyProcess) -> tuple[bytes, bytes]:
        """What a program printed, until it ended. Raises `StoreFailure` where that takes long."""
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
        """End every program that is under way, and let none start any more."""
        with self._lock:
            self._closed = True
            under_way = list(self._under_way)
        for process in under_way:
            process.end()


class _KeyProcess:
    """One program, as far as botocore looks at it: `communicate`, then `returncode`."""

    def __init__(self, command: list[str], processes: KeyProcesses) -> None:
        self._processes = processes
        # A program that asks a person needs the terminal, which no other session has.
        self._has_group = os.name == "posix" and not _has_terminal()
        self._process = subprocess.Popen(
            command,
            stdin=None if os.isatty(0) else subprocess.DEVNULL,  # it may carry messages
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
            # Also where the program itself has ended: others of its group may be left.
            with suppress(OSError):
                os.killpg(self._process.pid, number)
        else:
            self._process.send_signal(number)


def _has_terminal() -> bool:
    """Can a program that this process starts ask a person?"""
    try:
        os.close(os.open("/dev/tty", os.O_RDWR | os.O_NOCTTY))
    except OSError:
        return False
    return True
