"""Uploads of the output of a command: its exit status decides, and it ends with the worker."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from tests.support.data import MIB, noise
from tests.support.reference import check_stored, digest
from tests.support.waiting import wait_until
from tests.support.worker import ARTIFACT, Worker, bare_python, run_worker, session

if TYPE_CHECKING:
    from tests.support.stores import Store

SETTINGS = {"progress_interval_ms": 20, "max_attempts": 1}


def upload_of(command: list[str], store: str, **more: Any) -> dict[str, Any]:
    return {"type": "UPLOAD_START", "command": command, "store": store, **more}


def test_what_a_command_writes_is_stored(directory: Store, tmp_path: Path) -> None:
    content = noise(3 * MIB)
    (tmp_path / "content").write_bytes(content)
    command = ["cat", str(tmp_path / "content")]
    run = run_worker(upload_of(command, directory.url, sha256=True, size=len(content)))
    end = run.terminal
    assert end["type"] == "FILE_UPLOADED", run
    assert end["command"] == command
    assert (end["size"], end["sha256"], end["changed"]) == (len(content), digest(content), False)
    check_stored(directory.read, end["hashes"], content)


@pytest.mark.parametrize(
    ("script", "status", "told"),
    [
        ("cat content; exit 3", 3, "ended with status 3"),
        ("cat content; kill -9 $$", 137, "was ended by SIGKILL"),
        ("exit 1", 1, "ended with status 1"),
        ("cat content; exec >&-; sleep 0.2; exit 7", 7, "ended with status 7"),
    ],
)
def test_a_command_that_fails_is_no_success(
    script: str, status: int, told: str, directory: Store, tmp_path: Path
) -> None:
    (tmp_path / "content").write_bytes(noise(600_000))
    message = upload_of(["sh", "-c", script], directory.url, size=600_000)
    run = run_worker(message, cwd=tmp_path)
    assert run.terminal["code"] == "FILE_READ_FAILED", run
    assert run.terminal["exit_status"] == status
    assert run.terminal["message"] == f"sh: {told}"
    assert "path" not in run.terminal


def test_commands_that_cannot_be_run(directory: Store, tmp_path: Path) -> None:
    (tmp_path / "plain").write_text("no program")
    for command, code in {
        "no-such-program": "FILE_NOT_FOUND",
        "/etc": "FILE_ACCESS_DENIED",
        str(tmp_path / "plain"): "FILE_ACCESS_DENIED",
    }.items():
        run = run_worker(upload_of([command, "argument"], directory.url))
        assert run.terminal["code"] == code, run
        assert run.terminal["retryable"] is False
    assert not Path(directory.url).exists() or not os.listdir(directory.url)


@pytest.mark.parametrize(
    ("more", "field"),
    [
        ({"path": "file", "command": ["true"]}, "command"),
        ({}, "path"),
        ({"command": []}, "command"),
        ({"command": [""]}, "command[0]"),
        ({"command": "true"}, "command"),
        ({"command": ["true", 1]}, "command[1]"),
        ({"command": ["true", "a\0b"]}, "command[1]"),
    ],
)
def test_messages_that_name_no_command(more: dict[str, Any], field: str, directory: Store) -> None:
    run = run_worker({"type": "UPLOAD_START", "store": directory.url, **more})
    assert run.terminal["code"] == "BAD_MESSAGE", run
    assert run.terminal["message"].startswith(f"{field}: "), run


def test_a_command_gets_no_input_no_shell_and_our_standard_error(
    directory: Store, tmp_path: Path
) -> None:
    script = 'import sys; sys.stderr.write("a word"); print(sys.stdin.read(), sys.argv[1:])'
    command = [bare_python(), "-c", script, "$HOME", "*", "", "ü"]
    run = run_worker(upload_of(command, directory.url), stderr_wanted=True)
    assert run.terminal["type"] == "FILE_UPLOADED", run
    assert run.stderr == b"a word"
    check_stored(directory.read, run.terminal["hashes"], b" ['$HOME', '*', '', '\xc3\xbc']\n")


def test_a_store_that_fails_is_worth_another_run_of_the_command() -> None:
    message = upload_of(
        ["cat", "/dev/urandom"], "http://127.0.0.1:1/", settings={"max_attempts": 1}
    )
    run = run_worker(message)
    assert run.terminal["code"] == "STORE_UNAVAILABLE", run
    assert run.terminal["retryable"] is True


LONG = 'echo $$ > pid; trap "" $0; sleep 600 & echo $! > child; cat /dev/urandom & wait; sleep 600'


def gone(pid: int) -> bool:
    """Return whether a process has ended; zombies have."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] == "Z"
    except OSError:
        return True


@pytest.mark.parametrize(
    ("end", "ignores"),
    [
        ("kill", "HUP"),
        ("kill", "TERM"),
        ("cancel", "TERM"),
        ("owner gone", "HUP"),
        ("store fails", "HUP"),
    ],
)
def test_a_command_ends_with_its_run(
    end: str, ignores: str, directory: Store, tmp_path: Path
) -> None:
    """Also its children, and also if it ignores SIGTERM."""
    message = upload_of(["sh", "-c", LONG, ignores], directory.url, settings=SETTINGS)
    with Worker(message, cwd=tmp_path, read=end != "owner gone") as worker:
        if end == "owner gone":
            while b'"CHUNK"' not in worker.stdout.readline():
                pass
        else:
            worker.wait_for("CHUNK")
        pids = [int((tmp_path / name).read_text()) for name in ("pid", "child")]
        assert not any(map(gone, pids))
        if end == "kill":
            worker.signal(signal.SIGKILL)
        elif end == "cancel":
            worker.signal(signal.SIGTERM)
        elif end == "owner gone":
            worker.stdout.close()
        else:
            Path(directory.url).rename(tmp_path / "away")
            Path(directory.url).write_bytes(b"")
        worker.finish(whole=False, check=False)
    deadline = time.monotonic() + 20
    while not all(map(gone, pids)):
        assert time.monotonic() < deadline, "it outlived its run"
        time.sleep(0.02)


def children(pid: int) -> str:
    """Return the process ids of the children of a process, zombies included."""
    return "".join(
        path.read_text() for path in Path(f"/proc/{pid}/task").glob("*/children")
    ).strip()


@pytest.mark.skipif(not Path("/proc/self/task").exists(), reason="needs procfs")
@pytest.mark.parametrize("ignores", ["HUP", "TERM"])
def test_nothing_stays_of_a_cancelled_command(
    ignores: str, directory: Store, tmp_path: Path
) -> None:
    """The session goes on, and its system keeps an entry of each child that nobody waited for."""
    message = {**upload_of(["sh", "-c", LONG, ignores], directory.url), "id": "a"}
    with Worker(session(None, message), cwd=tmp_path, close_stdin=False) as worker:
        worker.wait_for("CHUNK")
        assert children(worker.pid)
        worker.send({"type": "CANCEL", "id": "a"})
        worker.wait_for("ERROR")
        wait_until(lambda: not children(worker.pid))
        worker.stdin.close()
        worker.finish()


def test_a_failure_is_seen_though_the_owner_ignores_its_children(directory: Store) -> None:
    """Ignored signals are inherited; the system then discards the exit status of a child."""
    code = "import os, signal, sys; signal.signal(signal.SIGCHLD, signal.SIG_IGN);"
    code += "os.execv(sys.argv[1], sys.argv[1:])"
    done = subprocess.run(
        [bare_python(), "-c", code, bare_python(), str(ARTIFACT)],
        input=json.dumps(upload_of(["sh", "-c", "exit 3"], directory.url)).encode() + b"\n",
        capture_output=True,
        check=False,
    )
    assert json.loads(done.stdout.splitlines()[-1])["exit_status"] == 3, done
