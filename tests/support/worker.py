"""Runs the artifact as an owner does, over its pipes, and checks the contract."""

from __future__ import annotations

import functools
import json
import os
import subprocess
import sys
import tempfile
import threading
import time
import venv
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tests.support.contract import TERMINAL, Event, check_run, parse_events
from tests.support.schema import check_accepted

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from typing_extensions import Self

ROOT = Path(__file__).resolve().parent.parent.parent
ARTIFACT = Path(os.environ.get("STORE_WORKERS_ARTIFACT", ROOT / "dist" / "store-workers.pyz"))

NO_HOME = "/proc/no-home"
"""A home that not even root can make: what a program puts there would stay for all later tests."""

STALL = 20.0
"""Seconds that a busy machine may let a process stand.

What a test bounds by time may take what is promised and this. Together they stay below the 30 s for
which a worker waits for a silent store by default: one that forgot its own bound is found out.
"""

Message = Any  # a JSON object, a list of them for a session, or the very bytes to send


@functools.cache
def bare_python() -> str:
    """Return an interpreter without any library, so that none can stand in for a bundled one."""
    named = os.environ.get("STORE_WORKERS_PYTHON")
    if named:
        return named
    made = ROOT / "build" / f"bare-env-{sys.implementation.cache_tag}-{sys.platform}"
    if not (made / "bin" / "python").exists():
        made = Path(tempfile.mkdtemp(prefix="bare-env-"))
        venv.create(made, with_pip=False, symlinks=True)
    return str(made / "bin" / "python")


def clean_environ(changes: Mapping[str, str | None] | None = None) -> dict[str, str]:
    """Return an environment that names no proxy, no credentials and no home but an empty one.

    Args:
        changes: variables to add; None takes one away.
    """
    environ: dict[str, str | None] = {
        "PATH": os.environ["PATH"],
        "LANG": "C.UTF-8",
        "HOME": NO_HOME,
        **(changes or {}),
    }
    return {name: value for name, value in environ.items() if value is not None}


@dataclass
class Run:
    """A worker that has ended: message, output and exit status."""

    message: Message
    status: int
    stdout: bytes
    stderr: bytes
    duration: float
    peak_rss: int
    stderr_wanted: bool = False
    events: list[Event] = field(default_factory=list)

    @property
    def terminal(self) -> Event:
        """The event that ended the run."""
        return self.events[-1]

    def of(self, kind: str) -> list[Event]:
        """Return the events of one type, in the order they came."""
        return [event for event in self.events if event["type"] == kind]

    def part(self, id: str) -> Run:
        """Return what one message of a session emitted, as if it had run alone."""
        (message,) = (m for m in self.message if isinstance(m, dict) and m.get("id") == id)
        events = [event for event in self.events if event.get("id") == id]
        return part_of(message, events, self.duration)

    def __str__(self) -> str:
        lines = self.stdout.decode(errors="replace").splitlines()
        shown = lines if len(lines) < 12 else [*lines[:4], f"… {len(lines)} lines …", *lines[-6:]]
        stderr = self.stderr.decode(errors="replace")
        return "\n".join([f"status {self.status}, {self.duration:.2f} s", *shown, stderr])


class Worker:
    """One running artifact.

    Leaving the ``with`` block kills it, should it still run.

    Args:
        message: an object to send as one line, a list of lines, bytes to send as they are, None to
            send nothing yet.
        python: the interpreter; by default one without any library.
        args: arguments of the artifact.
        env: variables to add to, or with None to take from, a clean environment.
        close_stdin: close stdin once the message is sent.
        read: collect stdout. Without it the pipe is the test's own (``stdout``).
        measure: watch the peak memory.
        pass_fds: descriptors that the worker inherits under their numbers.
        cwd: its working directory.
        stderr_wanted: something is switched on that writes to stderr.
        pipe_size: bytes that each pipe holds; by default what the system gives.
    """

    def __init__(
        self,
        message: Message = None,
        *,
        python: str | None = None,
        artifact: Path = ARTIFACT,
        args: Sequence[str] = (),
        env: Mapping[str, str | None] | None = None,
        close_stdin: bool = True,
        read: bool = True,
        measure: bool = False,
        pass_fds: Sequence[int] = (),
        cwd: Path | None = None,
        stderr_wanted: bool = False,
        pipe_size: int = -1,
    ) -> None:
        self.message = message
        self.stderr_wanted = stderr_wanted
        self.started = time.monotonic()
        self._lines: list[bytes] = []
        self._stderr: list[bytes] = []
        self._said_all = False
        self._news = threading.Condition()
        self._process = subprocess.Popen(
            [python or bare_python(), str(artifact), *args],
            bufsize=0,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            env=clean_environ(env),
            pass_fds=tuple(pass_fds),
            cwd=cwd,
            pipesize=pipe_size,
        )
        assert self._process.stdin
        assert self._process.stdout
        assert self._process.stderr
        self.pid = self._process.pid
        self.stdin = self._process.stdin
        self.stdout = self._process.stdout
        self._peak_rss = 0
        readers: list[Callable[[], None]] = [self._collect_stderr]
        readers += [self._collect_stdout] if read else []
        readers += [self._watch_memory] if measure else []
        self._threads = [threading.Thread(target=reader, daemon=True) for reader in readers]
        for thread in self._threads:
            thread.start()
        if message is not None:
            self.send(message, close=close_stdin)

    def send(self, message: Message, *, close: bool = False) -> None:
        """Write a message; a worker that is gone already does not mind."""
        lines = message if isinstance(message, list) else [message]
        line = message if isinstance(message, bytes) else b"".join(map(as_line, lines))
        try:
            view = memoryview(line)
            while view:
                view = view[self.stdin.write(view) :]
        except BrokenPipeError:
            pass
        if close:
            self.stdin.close()

    def events(self) -> list[Event]:
        """Return what was said so far."""
        with self._news:
            return [json.loads(line) for line in self._lines if line.endswith(b"\n")]

    def wait_for(
        self,
        wanted: str | Callable[[Event], bool],
        *,
        count: int = 1,
        timeout: float = 30,
        after: int = 0,
    ) -> Event:
        """Return the first event (the ``count``-th) of a type, or that a function accepts.

        Args:
            wanted: the type, or the function.
            count: which of them.
            timeout: seconds to wait.
            after: how many lines to pass over.

        Raises:
            TimeoutError: it did not come in time, or the worker ended without it.
        """
        accepts = (lambda e: e["type"] == wanted) if isinstance(wanted, str) else wanted
        deadline = time.monotonic() + timeout
        with self._news:
            while True:
                for line in self._lines[after:]:
                    after += 1
                    event = json.loads(line)
                    count -= accepts(event)
                    if not count:
                        return dict(event)
                left = deadline - time.monotonic()
                if left <= 0 or self._said_all or not self._news.wait(left):
                    raise TimeoutError(f"no {wanted}; last: {self._lines[-3:]} {self._stderr}")

    def lines(self) -> int:
        """Return how many lines were said so far."""
        with self._news:
            return len(self._lines)

    def signal(self, number: int) -> None:
        """Send a signal to the worker alone."""
        self._process.send_signal(number)

    def running(self) -> bool:
        """Tell whether the process is alive."""
        return self._process.poll() is None

    def finish(self, timeout: float = 60, *, whole: bool = True, check: bool = True) -> Run:
        """Wait for the end and check the contract.

        Args:
            timeout: seconds to wait; then the worker is killed and the test fails.
            whole: False for a worker that was killed or left by its owner.
            check: hold the run to the contract.
        """
        try:
            status = self._process.wait(timeout)
        except subprocess.TimeoutExpired:
            self.close()
            said = b"".join(self._lines[-5:]).decode(errors="replace")
            raise AssertionError(f"still running after {timeout} s; last said: {said}") from None
        duration = time.monotonic() - self.started
        self.close()
        stdout = b"".join(self._lines)
        run = Run(
            self.message,
            status,
            stdout,
            b"".join(self._stderr),
            duration,
            self._peak_rss,
            self.stderr_wanted,
        )
        if check:
            run.events = parse_events(stdout, whole=whole)
            assert run.events or not whole, f"no event at all: {run}"
            check_run(run, whole=whole)
        return run

    def close(self) -> None:
        """Kill the worker if it runs, and let go of its pipes."""
        self._process.kill()
        self._process.wait()
        self.stdin.close()
        for thread in self._threads:
            thread.join(10)
        self.stdout.close()
        assert self._process.stderr
        self._process.stderr.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_error: object) -> None:
        self.close()

    def _collect_stdout(self) -> None:
        rest = b""
        while block := self.stdout.read(65536):
            *lines, rest = (rest + block).split(b"\n")
            with self._news:
                self._lines += [line + b"\n" for line in lines]
                self._news.notify_all()
        with self._news:
            self._lines += [rest] if rest else []
            self._said_all = True
            self._news.notify_all()

    def _collect_stderr(self) -> None:
        assert self._process.stderr
        while block := self._process.stderr.read(65536):
            self._stderr.append(block)

    def _watch_memory(self) -> None:
        """Poll the process's own high-water mark: a child's rusage begins with its parent's."""
        status = Path(f"/proc/{self.pid}/status")
        while True:
            try:
                lines = status.read_text().splitlines()
            except OSError:
                return
            marks = [line for line in lines if line.startswith("VmHWM:")]
            if not marks:
                return
            self._peak_rss = max(self._peak_rss, int(marks[0].split()[1]) * 1024)
            time.sleep(0.01)


class Session:
    """A session under way, for messages one after the other: each costs no start of a process.

    Leaving the ``with`` block ends it, and holds all of it to the contract.

    Args:
        store: that of all messages which name none of their own.
        how: arguments of `Worker`.
        fields: further fields of SESSION_START.
    """

    def __init__(
        self,
        store: Path | str | None = None,
        /,
        *,
        how: Mapping[str, Any] | None = None,
        **fields: Any,
    ) -> None:
        self._worker = Worker(session(store, **fields), close_stdin=False, **(how or {}))
        self._count = 0

    def run(self, message: Message, timeout: float = 60) -> Run:
        """Send a message and wait for its end; return what it emitted, as if it had run alone."""
        self._count += 1
        id = f"message {self._count}"
        began, lines = time.monotonic(), self._worker.lines()
        self._worker.send({**message, "id": id})
        self._worker.wait_for(
            lambda e: e.get("id") == id and e["type"] in TERMINAL, timeout=timeout, after=lines
        )
        events = [event for event in self._worker.events()[lines:] if event.get("id") == id]
        return part_of(message, events, time.monotonic() - began)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: object, error: object, trace: object) -> None:
        if error is None:
            self._worker.stdin.close()
            self._worker.finish()
        self._worker.close()


def part_of(message: Message, events: Sequence[Event], duration: float) -> Run:
    """Return the events of one message of a session as a run of its own."""
    code = events[-1].get("code")
    if code != "BAD_MESSAGE":
        check_accepted(message)
    status = 0 if code is None else 2 if code == "BAD_MESSAGE" else 1
    plain = [{name: value for name, value in e.items() if name != "id"} for e in events]
    stdout = b"".join(map(as_line, plain))
    return Run(message, status, stdout, b"", duration, 0, events=plain)


def run_worker(
    message: Message,
    *,
    timeout: float = 60,
    whole: bool = True,
    check: bool = True,
    **how: Any,
) -> Run:
    """Run one message to its end; the arguments are those of `Worker` and `Worker.finish`."""
    with Worker(message, **how) as worker:
        return worker.finish(timeout, whole=whole, check=check)


def as_line(message: Message) -> bytes:
    """Return a message, or the bytes of a line that is none, with a newline."""
    return (message if isinstance(message, bytes) else json.dumps(message).encode()) + b"\n"


def session(store: Path | str | None, *messages: Message, **more: Any) -> list[Message]:
    """Return the lines of a session; further fields of its first as keyword arguments."""
    start = {"type": "SESSION_START", **more}
    return [start if store is None else {**start, "store": str(store)}, *messages]


def upload(path: Path | str, store: Path | str | None, /, **more: Any) -> Message:
    """Return the message that uploads a file; further fields as keyword arguments."""
    message = {"type": "UPLOAD_START", "path": str(path), **more}
    return message if store is None else {**message, "store": str(store)}


def verify(store: Path | str | None, listed: Sequence[str], /, **more: Any) -> Message:
    """Return the message that verifies a file by its hashes, or by one string: its manifest."""
    named = {"manifest": listed} if isinstance(listed, str) else {"hashes": list(listed)}
    message = {"type": "VERIFY_START", **named, **more}
    return message if store is None else {**message, "store": str(store)}


def download(
    path: Path | str, store: Path | str | None, listed: Sequence[str], /, **more: Any
) -> Message:
    """Return the message that downloads a file; further fields as keyword arguments.

    Args:
        path: where to.
        store: from where.
        listed: the file's hashes, or one string: its manifest.
        more: further fields.
    """
    named = {"manifest": listed} if isinstance(listed, str) else {"hashes": list(listed)}
    message = {"type": "DOWNLOAD_START", "path": str(path), **named, **more}
    return message if store is None else {**message, "store": str(store)}
