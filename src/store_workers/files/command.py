"""Reads the output of a command like a file, and ends the command with the worker.

The end of the run ends the command, even if the worker is killed by SIGKILL. Linux's parent-death
signal is not suitable: it is sent when the *thread* that started the command ends, and only to the
command itself. So a second process reads a pipe whose other end the worker holds. If that is closed
without notice, it ends the command's process group: SIGTERM, two seconds, SIGKILL.
"""

from __future__ import annotations

import errno
import os
import signal
import subprocess
import sys
import threading
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
"""Seconds that closing waits for a command to end; after that, the watcher ends it."""

LONGEST_NAP = 0.05
"""Seconds between two checks of a command that has closed its output but not ended."""

_LIMITS = frozenset({errno.EAGAIN, errno.EMFILE, errno.ENFILE, errno.ENOMEM})
"""Errors of starting a program that do not concern that program."""

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
    """The standard output of a command, which is complete only if the command ends with status 0.

    It is started without a shell, in a session of its own, with an empty standard input and this
    process's standard error. It can be run again, so reading it loses nothing.
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
            self._process = self._start([system_path(argument) for argument in command])
        except OSError as error:
            self._guard.release()
            if error.errno in _LIMITS:
                raise _no_process(error) from None
            raise self._error(error) from None
        self._guard.watch(self._process.pid)

    def close(self) -> None:
        """Release the command; if it still runs, end it."""
        super().close()
        if self._process.poll() is not None:
            self._guard.release()
            return
        if not self._guard.let_go():
            self._process.terminate()
        _await_end(self._process)

    def _start(self, command: list[str]) -> subprocess.Popen[bytes]:
        """Start the command, whose output is then read from `_descriptor`. Raises `OSError`."""
        reading, writing = os.pipe()
        try:
            process = subprocess.Popen(
                command, stdin=subprocess.DEVNULL, stdout=writing, start_new_session=True
            )
        except BaseException:
            os.close(reading)
            raise
        finally:
            os.close(writing)
        self._descriptor = reading
        return process

    def _ended(self) -> None:
        """Wait for the end of a command that has closed its output. Raises unless it succeeded."""
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
    """The process that ends the command with this process, and the pipe to it.

    It is started before the command, and gets its process group immediately.
    """

    def __init__(self) -> None:
        self._process: subprocess.Popen[bytes] | None = None
        # Without process groups, only `close` ends the command.
        if os.name == "nt" or not sys.executable:
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
            raise _no_process(error) from None

    def watch(self, group: int) -> None:
        """Send the process group that has to end with this process."""
        self._write(str(group).encode())

    def release(self) -> None:
        """Send that nothing has to be ended any more."""
        self._write(b".")
        self.let_go()

    def let_go(self) -> bool:
        """Let the watcher end the command, if there is one. Return false without a watcher."""
        if self._process is None:
            return False
        if self._process.stdin is not None:
            self._process.stdin.close()
        _await_end(self._process)
        return True

    def _write(self, word: bytes) -> None:
        if self._process is not None and self._process.stdin is not None:
            with suppress(OSError, ValueError):  # it was killed, or has been released
                self._process.stdin.write(word)


def _await_end(process: subprocess.Popen[bytes]) -> None:
    """Wait briefly for the end of a process, and without limit on another thread.

    The system keeps an entry of every ended process until somebody has waited for it.
    """
    try:
        process.wait(LONGEST_CLOSE)
    except subprocess.TimeoutExpired:
        with suppress(RuntimeError):  # this process ends, or may have no more threads
            threading.Thread(target=process.wait, daemon=True).start()


def _no_process(error: OSError) -> WorkerError:
    """Return the error of a host that gives no process, or lacks the null device."""
    what = f"{error.filename}: " if error.filename == os.devnull else ""
    return WorkerError(
        ErrorCode.HOST_UNSUPPORTED, f"no process can be started: {what}{reason(error)}"
    )


def _need_exit_status() -> None:
    """If SIGCHLD is ignored, the system discards exit statuses: a failure would not be noticed."""
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
