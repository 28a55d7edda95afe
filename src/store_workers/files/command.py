"""The output of a command, read as a file is; and the command's end with the worker's.

Whatever ends the run ends the command, also SIGKILL to the worker. Linux's parent-death signal
would not do: it comes when the *thread* ends that started the command, and only to the command
itself. So a second process watches a pipe of which the worker has the other end. Once that is
closed without a word, it ends the command's process group: SIGTERM, two seconds, SIGKILL.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from contextlib import suppress

from store_workers.errors import ErrorCode, WorkerError, reason, shown
from store_workers.files.paths import system_path
from store_workers.files.source import Source

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from typing import Any

GRACE = 2.0
"""Seconds between SIGTERM and SIGKILL."""

LONGEST_CLOSE = 0.25
"""Seconds that closing waits for a command to end; most do at once, and the watcher sees to it."""

LONGEST_NAP = 0.05
"""Seconds between two looks at a command that has closed its output but not ended."""

_WATCHER = f"""\
import os, signal, time
heard = b""
while some := os.read(0, 100):
    heard += some
try:
    if heard and not heard.endswith(b"."):
        group = int(heard)
        os.killpg(group, signal.SIGTERM)
        for _ in range({round(GRACE * 20)}):
            time.sleep(0.05)
            os.killpg(group, 0)
        os.killpg(group, signal.SIGKILL)
except OSError:
    pass
"""


class CommandSource(Source):
    """What a command writes to its standard output; good only where it ends with status 0.

    Started without a shell, in a session of its own, with an empty standard input and this
    process's standard error. It can be run again, so nothing is ever lost by reading it.
    """

    def __init__(
        self,
        command: Sequence[str],
        size: int | None = None,
        digest: Any = None,
        check: Callable[[], None] = lambda: None,
    ) -> None:
        super().__init__(command[0], None, size, digest, check)
        _need_exit_status()
        self._guard = _Guard()
        try:
            self._process = subprocess.Popen(
                [system_path(argument) for argument in command],
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                bufsize=0,
                start_new_session=True,
            )
        except OSError as error:
            self._guard.release()
            raise self._error(error) from None
        self._guard.watch(self._process.pid)
        assert self._process.stdout is not None  # noqa: S101 - it is a pipe
        with self._process.stdout as pipe:
            self._descriptor = os.dup(pipe.fileno())

    def close(self) -> None:
        """Let go of the command: one that still runs is ended."""
        super().close()
        if self._process.poll() is not None:
            self._guard.release()
            return
        if not self._guard.let_go():
            self._process.terminate()
        with suppress(subprocess.TimeoutExpired):
            self._process.wait(LONGEST_CLOSE)

    def _ended(self) -> None:
        """Wait for the end of a command that has closed its output; raises unless it is good."""
        nap = 0.001
        while (status := self._process.poll()) is None:
            self._check()
            time.sleep(nap)
            nap = min(2 * nap, LONGEST_NAP)
        self._guard.release()
        if status > 0:
            raise self._failed(f"ended with status {status}", status)
        if status < 0:
            raise self._failed(f"was ended by {_signal_name(-status)}", 128 - status)

    def _failed(self, how: str, status: int) -> WorkerError:
        return WorkerError(
            ErrorCode.FILE_READ_FAILED, f"{shown(self.name)}: {how}", exit_status=status
        )


class _Guard:
    """The process that watches over a command, and the pipe to it.

    It is started before the command, and told of it at once.
    """

    def __init__(self) -> None:
        self._process: subprocess.Popen[bytes] | None = None
        if os.name == "nt" or not sys.executable:  # no process groups; then `close` alone does it
            return
        try:
            self._process = subprocess.Popen(
                [sys.executable, "-I", "-S", "-c", _WATCHER],
                stdin=subprocess.PIPE,
                stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL,
                bufsize=0,
                start_new_session=True,
            )
        except OSError as error:
            raise WorkerError(
                ErrorCode.HOST_UNSUPPORTED, f"no process can be started: {reason(error)}"
            ) from None

    def watch(self, group: int) -> None:
        """Say which process group is to end with this process."""
        self._write(str(group).encode())

    def release(self) -> None:
        """Say that nothing is to be ended any more."""
        self._write(b".")
        self.let_go()

    def let_go(self) -> bool:
        """Let the watcher do its work, if it has any; False where there is none."""
        if self._process is None:
            return False
        if self._process.stdin is not None:
            self._process.stdin.close()
        with suppress(subprocess.TimeoutExpired):
            self._process.wait(LONGEST_CLOSE)
        return True

    def _write(self, word: bytes) -> None:
        if self._process is not None and self._process.stdin is not None:
            with suppress(OSError, ValueError):  # it was killed, or has been informed
                self._process.stdin.write(word)


def _need_exit_status() -> None:
    """Without SIGCHLD the system forgets how a command ended: it could fail unnoticed."""
    number = getattr(signal, "SIGCHLD", None)
    if number is not None and signal.getsignal(number) == signal.SIG_IGN:
        raise WorkerError(
            ErrorCode.HOST_UNSUPPORTED,
            "SIGCHLD is ignored (by the owner): the exit status of a command would be unknown",
        )


def _signal_name(number: int) -> str:
    try:
        return signal.Signals(number).name
    except ValueError:
        return f"signal {number}"
