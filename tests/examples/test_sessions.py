"""The session owners of `examples/`: many files, one that fails, one that hangs, and a signal."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import time
from hashlib import sha256
from typing import TYPE_CHECKING

import pytest

from tests.examples.test_owners import EXAMPLES, command
from tests.support.data import noise
from tests.support.faulty_server import FaultyServer, Rule, stalled
from tests.support.worker import ARTIFACT, bare_python, clean_environ

if TYPE_CHECKING:
    from pathlib import Path

OWNERS = ["session_asyncio.py", "session.mjs", "session.go"]
TIMEOUT = 60


@pytest.fixture
def files(tmp_path: Path) -> list[str]:
    found = []
    for number in range(150):  # more than an owner sends at once
        path = tmp_path / f"file-{number}"
        path.write_bytes(noise(3000, seed=number))
        found.append(str(path))
    return found


def start(name: str, *arguments: str, worker: Path = ARTIFACT) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [*command(name), *arguments],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env=clean_environ({"STORE_WORKERS": str(worker)}),
    )


@pytest.mark.parametrize("name", OWNERS)
def test_files_are_uploaded_and_one_that_fails_is_told(
    name: str, files: list[str], tmp_path: Path
) -> None:
    store = tmp_path / "store"
    absent = str(tmp_path / "absent")
    with start(name, str(store), "60", *files, absent) as owner:
        told, problems = owner.communicate(timeout=TIMEOUT)
    assert owner.returncode == 1
    assert f"{absent}: FILE_NOT_FOUND" in problems
    lines = [line.split("  ") for line in told.splitlines()]
    manifests = {path: manifest for manifest, path in lines}
    assert sorted(manifests) == sorted(files)
    for manifest in manifests.values():
        assert (store / manifest[:2] / manifest).is_file()


@pytest.mark.parametrize("name", OWNERS)
def test_a_limit_of_time_stops_one_file(name: str, files: list[str]) -> None:
    with (
        FaultyServer(Rule(stalled(where="answer"))) as server,
        start(name, server.url, "0.5", files[0]) as owner,
    ):
        _, problems = owner.communicate(timeout=TIMEOUT)
    assert owner.returncode == 1
    assert "out of time" in problems


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
@pytest.mark.parametrize("name", OWNERS)
def test_a_signal_ends_owner_and_worker(
    name: str, number: signal.Signals, files: list[str]
) -> None:
    with FaultyServer(Rule(stalled(where="answer"))) as server:
        with start(name, server.url, "0", *files) as owner:
            while not server.requests("HEAD") + server.requests("PUT"):
                time.sleep(0.02)
            owner.send_signal(number)
            owner.communicate(timeout=TIMEOUT)
        assert owner.returncode == 128 + number


@pytest.mark.parametrize("name", OWNERS)
def test_a_worker_that_is_killed_fails_all_that_follows(
    name: str, files: list[str], tmp_path: Path
) -> None:
    """Also the files that the owner had not sent."""
    worker, process_id = tmp_path / "worker.py", tmp_path / "pid"
    worker.write_text(
        f"import os, sys; open({str(process_id)!r}, 'w').write(str(os.getpid()))\n"
        f"os.execv(sys.executable, [sys.executable, {str(ARTIFACT)!r}])\n"
    )
    with FaultyServer(Rule(stalled(where="answer"))) as server:
        with start(name, server.url, "0", *files, worker=worker) as owner:
            while not server.requests("HEAD") + server.requests("PUT"):
                time.sleep(0.02)
            os.kill(int(process_id.read_text()), signal.SIGKILL)
            _, problems = owner.communicate(timeout=TIMEOUT)
        assert owner.returncode == 1
        assert problems.count("the worker was lost") == len(files)


@pytest.mark.parametrize("name", OWNERS)
def test_a_session_that_is_refused_tells_why(name: str, files: list[str]) -> None:
    with start(name, "gopher://store", "0", *files) as owner:
        _, problems = owner.communicate(timeout=TIMEOUT)
    assert owner.returncode == 1
    assert problems.count("BAD_MESSAGE: store: unknown scheme") == len(files)


def ask(agent: subprocess.Popen[str], **request: object) -> dict[str, object]:
    assert agent.stdin
    assert agent.stdout
    agent.stdin.write(json.dumps(request) + "\n")
    agent.stdin.flush()
    found: dict[str, object] = json.loads(agent.stdout.readline())
    return found


def test_agent_of_git_lfs(tmp_path: Path) -> None:
    """As its docs/custom-transfers.md says: init, then files, then terminate."""
    content = noise(50_000)
    oid = sha256(content).hexdigest()
    path = tmp_path / "large"
    path.write_bytes(content)
    arguments = [str(EXAMPLES / "lfs_agent.py"), str(tmp_path / "store"), str(tmp_path / "index")]

    def agent() -> subprocess.Popen[str]:
        return subprocess.Popen(
            [bare_python(), *arguments],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            env=clean_environ({"STORE_WORKERS": str(ARTIFACT)}),
        )

    with agent() as pushing:
        assert ask(pushing, event="init", operation="upload", remote="origin") == {}
        told = ask(pushing, event="upload", oid=oid, size=len(content), path=str(path))
        assert told == {"event": "complete", "oid": oid}
        pushing.communicate('{"event":"terminate"}\n', timeout=TIMEOUT)
    assert pushing.returncode == 0
    with agent() as fetching:
        assert ask(fetching, event="init", operation="download", remote="origin") == {}
        told = ask(fetching, event="download", oid=oid, size=len(content))
        with open(str(told["path"]), "rb") as file:
            assert file.read() == content
        absent = ask(fetching, event="download", oid="0" * 64, size=1)
        assert absent["error"]
        fetching.communicate('{"event":"terminate"}\n', timeout=TIMEOUT)
    assert fetching.returncode == 0
    os.unlink(str(told["path"]))


def test_units_of_systemd_are_well_formed(tmp_path: Path) -> None:
    for name in ("store-workers@.service", "store-workers.socket"):
        text = (EXAMPLES / name).read_text().replace("/usr/local/lib/store-workers.pyz", "-")
        (tmp_path / name).write_text(text)
    unit = tmp_path / "store-workers.socket"
    done = subprocess.run(
        ["systemd-analyze", "verify", str(unit)], capture_output=True, text=True, check=False
    )
    assert "Unknown" not in done.stderr


def test_a_socket_is_all_that_a_service_needs(tmp_path: Path) -> None:
    """What the unit does with Accept=yes: stdin and stdout are one connection."""
    ours, theirs = socket.socketpair()
    path = tmp_path / "file"
    path.write_bytes(b"content")
    with subprocess.Popen(
        [sys.executable, str(ARTIFACT)],
        stdin=theirs.fileno(),
        stdout=theirs.fileno(),
        env=clean_environ(),
    ) as worker:
        theirs.close()
        lines = [
            {"type": "SESSION_START", "store": str(tmp_path / "store")},
            {"type": "UPLOAD_START", "id": "1", "path": str(path)},
        ]
        ours.sendall(b"".join(json.dumps(line).encode() + b"\n" for line in lines))
        ours.shutdown(socket.SHUT_WR)
        told = b""
        while block := ours.recv(65536):
            told += block
        assert worker.wait(TIMEOUT) == 0
    ours.close()
    assert json.loads(told.splitlines()[-1])["type"] == "SESSION_ENDED"
