"""Limited hosts and unusual owners: one event reports it, or the worker manages."""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import pty
import resource
import signal
import subprocess
import time
from typing import TYPE_CHECKING, Any

import pytest

from tests.support.contract import check_fields
from tests.support.data import MIB, noise
from tests.support.nginx import Nginx
from tests.support.worker import (
    ARTIFACT,
    bare_python,
    clean_environ,
    download,
    upload,
    verify,
)

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

TIMEOUT = 30


def run(
    stdin: int | None = None,
    *,
    message: Any = None,
    before: Callable[[], None] | None = None,
    stderr: int = subprocess.PIPE,
    shell: str = "",
    arguments: tuple[str, ...] = (),
) -> tuple[int, list[dict[str, Any]], bytes]:
    """Run the artifact as an unusual owner does. Return (exit status, events, stderr)."""
    command = [bare_python(), str(ARTIFACT), *arguments]
    if shell:
        command = ["sh", "-c", f'exec "$@" {shell}', "sh", *command]
    with subprocess.Popen(
        command,
        stdin=subprocess.PIPE if stdin is None else stdin,
        stdout=subprocess.PIPE,
        stderr=stderr,
        env=clean_environ(),
        preexec_fn=before,  # noqa: PLW1509
    ) as process:
        line = None if message is None else json.dumps(message).encode() + b"\n"
        try:
            stdout, told = process.communicate(line, timeout=TIMEOUT)
        except subprocess.TimeoutExpired:
            process.kill()
            raise
    events = [json.loads(each) for each in stdout.splitlines()]
    for event in events:
        check_fields(event)
    assert b"Traceback" not in (told or b""), told
    return process.returncode, events, told or b""


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "file"
    path.write_bytes(noise(MIB))
    return path


def test_stdin_that_an_owner_made_non_blocking(file: Path, tmp_path: Path) -> None:
    """As Node and asyncio do, and which all who share the descriptor get to feel."""
    reading, writing = os.pipe()
    flags = fcntl.fcntl(reading, fcntl.F_GETFL)
    fcntl.fcntl(reading, fcntl.F_SETFL, flags | os.O_NONBLOCK)
    line = json.dumps(upload(file, tmp_path / "store")).encode() + b"\n"
    with subprocess.Popen(
        [bare_python(), str(ARTIFACT)], stdin=reading, stdout=subprocess.PIPE, env=clean_environ()
    ) as process:
        os.close(reading)
        time.sleep(0.3)  # it has to wait for the message
        os.write(writing, line[:20])
        time.sleep(0.1)
        os.write(writing, line[20:])
        os.close(writing)
        stdout, _ = process.communicate(timeout=TIMEOUT)
    assert process.returncode == 0
    assert json.loads(stdout.splitlines()[-1])["type"] == "FILE_UPLOADED"


def test_stdin_that_is_closed_is_told_as_such() -> None:
    status, events, _ = run(shell="<&-")
    assert status == 2
    (event,) = events
    assert event["code"] == "BAD_MESSAGE"
    assert "closed" in event["message"]


def test_what_is_for_people_goes_to_no_owner() -> None:
    """With stdin and stderr closed, no file gets the number of stderr: not the events' either."""
    status, events, _ = run(shell="<&- 2>&-", arguments=("upload", "--none"))
    assert (status, events) == (2, [])


def test_a_terminal_on_stdin_whose_stderr_takes_nothing() -> None:
    """The event comes first; the help is for whoever reads it."""
    ours, terminal = pty.openpty()
    reading, full = os.pipe()
    os.set_blocking(full, False)
    with contextlib.suppress(BlockingIOError):
        while True:
            os.write(full, b" " * 4096)
    os.set_blocking(full, True)
    try:
        status, events, _ = run(terminal, stderr=full)
    finally:
        for descriptor in (ours, terminal, reading, full):
            os.close(descriptor)
    assert status == 2
    assert [event["code"] for event in events] == ["BAD_MESSAGE"]
    assert "terminal" in events[0]["message"]


@pytest.mark.parametrize("line", [b"hello", b"[1", b'"', b"\xff", b"GET / HTTP/1.1"])
def test_a_line_that_cannot_be_a_message_is_refused_before_it_ends(line: bytes) -> None:
    reading, writing = os.pipe()
    os.write(writing, line)
    try:
        status, events, _ = run(reading)
    finally:
        os.close(reading)
        os.close(writing)
    assert status == 2
    assert events[0]["code"] == "BAD_MESSAGE"


def blocked() -> None:
    signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGTERM, signal.SIGINT, signal.SIGHUP])


def ignored() -> None:
    signal.signal(signal.SIGHUP, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, signal.SIG_IGN)


@pytest.mark.parametrize(
    ("before", "number", "ends"),
    [
        (blocked, signal.SIGTERM, True),
        (blocked, signal.SIGINT, True),
        (ignored, signal.SIGTERM, False),
        (ignored, signal.SIGHUP, False),
        (ignored, signal.SIGINT, True),
    ],
)
def test_signals_as_an_owner_left_them(
    before: Callable[[], None], number: signal.Signals, ends: bool, file: Path, tmp_path: Path
) -> None:
    fifo = tmp_path / "fifo"
    os.mkfifo(fifo)
    settings = {"progress_interval_ms": 20}
    with subprocess.Popen(
        [bare_python(), str(ARTIFACT)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        env=clean_environ(),
        preexec_fn=before,  # noqa: PLW1509
    ) as process:
        assert process.stdin
        assert process.stdout
        message = upload(fifo, tmp_path / "store", settings=settings)
        process.stdin.write(json.dumps(message).encode() + b"\n")
        process.stdin.flush()
        process.stdout.readline()
        process.send_signal(number)
        if not ends:
            time.sleep(0.3)
            assert process.poll() is None
            fifo.write_bytes(b"goes on")
        stdout, _ = process.communicate(timeout=TIMEOUT)
    last = json.loads(stdout.splitlines()[-1])
    assert process.returncode == (128 + number if ends else 0)
    assert last["type"] == ("ERROR" if ends else "FILE_UPLOADED")


NO_THREADS = """
import sys, threading, runpy
real = threading.Thread.start
left = [int(sys.argv.pop(1))]
def start(thread):
    if not left[0]:
        raise RuntimeError("can't start new thread")
    left[0] -= 1
    real(thread)
threading.Thread.start = start
sys.argv.pop(0)
runpy.run_path(sys.argv[0], run_name="__main__")
"""


def last_with_threads(message: Any, threads: int) -> dict[str, Any]:
    """Return the last event on a host that gives only so many threads beside the first."""
    done = subprocess.run(
        [bare_python(), "-c", NO_THREADS, str(threads), str(ARTIFACT)],
        check=False,
        input=json.dumps(message).encode() + b"\n",
        capture_output=True,
        env=clean_environ(),
        timeout=TIMEOUT,
    )
    assert b"Traceback" not in done.stderr
    last: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    assert bool(done.returncode) == (last["type"] == "ERROR")
    return last


@pytest.mark.parametrize("threads", [1, 2, 4])
def test_a_host_that_gives_few_threads(threads: int, file: Path, tmp_path: Path) -> None:
    """One is enough for all work: what others would do is done there, only slower.

    To a server, for a quick directory needs no second thread, and whether it is quick varies.
    """
    file.write_bytes(noise(6 * MIB))
    with Nginx(tmp_path / "nginx") as server:
        settings = {"compression_threads": 3}
        stored = last_with_threads(upload(file, server.url, settings=settings), threads)
        assert stored["type"] == "FILE_UPLOADED", stored
        back = tmp_path / "back"
        for message in (
            {**download(back, server.url, stored["hashes"]), "settings": settings},
            verify(server.url, stored["hashes"], settings=settings),
            verify(server.url, stored["hashes"], content=False),
        ):
            last = last_with_threads(message, threads)
            assert last["type"] in {"FILE_DOWNLOADED", "FILE_VERIFIED"}, last
        assert back.read_bytes() == file.read_bytes()


def test_a_host_that_gives_no_thread(file: Path, tmp_path: Path) -> None:
    last = last_with_threads(upload(file, tmp_path / "store"), 0)
    assert last["code"] == "HOST_UNSUPPORTED"
    assert "thread" in last["message"]


@pytest.mark.parametrize(
    ("limit", "value"),
    [(resource.RLIMIT_FSIZE, 4096), (resource.RLIMIT_AS, 36 * MIB), (resource.RLIMIT_AS, 30 * MIB)],
)
def test_a_host_that_gives_too_little_room(
    limit: int, value: int, file: Path, tmp_path: Path
) -> None:
    """Not enough memory for the library or the work: one event names what is missing."""
    status, events, _ = run(
        message=upload(file, tmp_path / "store"),
        before=lambda: resource.setrlimit(limit, (value, value)),
    )
    assert status == 1
    assert [event["type"] for event in events if event["type"] != "PROGRESS"] == ["ERROR"]
    assert events[-1]["code"] in {"HOST_UNSUPPORTED", "STORE_REJECTED"}


def limited(limit: int, value: int) -> Callable[[], None]:
    return lambda: resource.setrlimit(limit, (value, value))


def limited_run(message: Any, limit: int, value: int) -> dict[str, Any] | None:
    """Return the last event under a limit, or None if Python itself could not start."""
    done = subprocess.run(
        [bare_python(), str(ARTIFACT)],
        check=False,
        input=json.dumps(message).encode() + b"\n",
        capture_output=True,
        env=clean_environ(),
        preexec_fn=lambda: resource.setrlimit(limit, (value, value)),
        timeout=TIMEOUT,
    )
    assert b"store_workers" not in done.stderr, done.stderr
    if not done.stdout:
        assert done.returncode, done
        assert done.stderr, done
        return None
    last: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    assert done.stderr == b""
    assert bool(done.returncode) == (last["type"] == "ERROR")
    return last


@pytest.mark.parametrize("boundaries", ["fixed", "content"])
def test_a_host_that_gives_too_few_open_files(boundaries: str, file: Path, tmp_path: Path) -> None:
    """Five are enough for Python alone. The limit is named, or the file is stored."""
    settings = {"boundaries": boundaries, "max_attempts": 1}
    message = upload(file, tmp_path / "store", settings=settings)
    ends = [limited_run(message, resource.RLIMIT_NOFILE, files) for files in range(5, 14)]
    said = [last.get("message", "stored") for last in ends if last is not None]
    assert all("open files" in each or each == "stored" for each in said), said
    assert (said[0] == "stored", said[-1] == "stored") == (False, True)


def test_a_host_that_gives_too_little_memory_to_start() -> None:
    """No copy is called damaged because there is no memory to read it."""
    ends = [limited_run({}, resource.RLIMIT_DATA, mib * MIB) for mib in (*range(4, 17, 2), 64)]
    codes = [last["code"] for last in ends if last is not None]
    assert set(codes) == {"HOST_UNSUPPORTED", "BAD_MESSAGE"}


def test_a_host_without_the_null_device(file: Path, tmp_path: Path) -> None:
    """A verb needs it. What does not need it works."""
    if subprocess.run(["unshare", "-m", "true"], check=False, capture_output=True).returncode:
        pytest.skip("no namespace of mounts can be made")
    command = ["unshare", "-m", "sh", "-c", 'mount -t tmpfs none /dev && exec "$@"', "sh"]
    command += [bare_python(), str(ARTIFACT)]
    message = json.dumps(upload(file, tmp_path / "store")).encode()
    stored = subprocess.run(
        command, check=False, input=message, capture_output=True, env=clean_environ()
    )
    assert (stored.returncode, stored.stderr) == (0, b"")
    verb = [*command, "upload", str(file), "--store", str(tmp_path / "store")]
    refused = subprocess.run(verb, check=False, capture_output=True, env=clean_environ())
    assert (refused.returncode, refused.stdout) == (1, b"")
    assert refused.stderr.count(b"\n") == 1
    assert b"/dev/null" in refused.stderr
    assert b"HOST_UNSUPPORTED" in refused.stderr
    message = json.dumps(
        {"type": "UPLOAD_START", "command": ["true"], "store": str(tmp_path)}
    ).encode()
    refused = subprocess.run(
        command, check=False, input=message, capture_output=True, env=clean_environ()
    )
    last = json.loads(refused.stdout.splitlines()[-1])
    assert (refused.returncode, last["code"]) == (1, "HOST_UNSUPPORTED")
    assert "/dev/null" in last["message"]


NOISE = """
import logging, sys, threading, warnings, runpy
real = threading.Thread.start
class Ignored:
    def __del__(self):
        raise ValueError("noise")
def start(thread):
    logging.error("noise")
    warnings.warn("noise")
    Ignored()
    real(thread)
threading.Thread.start = start
sys.argv.pop(0)
runpy.run_path(sys.argv[0], run_name="__main__")
"""


@pytest.mark.parametrize("debug", [False, True])
def test_what_libraries_say_on_stderr(debug: bool, file: Path, tmp_path: Path) -> None:
    """As `hashlib` does, with a traceback, if a library of Python cannot be loaded."""
    done = subprocess.run(
        [bare_python(), "-c", NOISE, str(ARTIFACT)],
        check=False,
        input=json.dumps(upload(file, tmp_path / "store")).encode() + b"\n",
        capture_output=True,
        env=clean_environ({"STORE_WORKERS_DEBUG": "1"} if debug else {}),
        timeout=TIMEOUT,
    )
    assert done.returncode == 0
    assert (b"noise" in done.stderr) == debug
