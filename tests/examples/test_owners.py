"""The owners of `examples/`, each against good, faulty, silent and refusing stores."""

from __future__ import annotations

import os
import re
import shutil
import signal
import subprocess
import time
from contextlib import contextmanager
from hashlib import sha256
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from tests.support.data import MIB, mixed, noise
from tests.support.faulty_server import FaultyServer, Rule, honest_after, stalled, status
from tests.support.manifests import read_manifest
from tests.support.reference import in_folder
from tests.support.worker import ARTIFACT, ROOT, STALL, bare_python, clean_environ

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

EXAMPLES = ROOT / "examples"
OWNERS = ["owner_subprocess.py", "owner_asyncio.py", "owner.mjs", "owner.go", "owner.sh"]
NEEDED = {".mjs": "node", ".go": "go", ".sh": "jq"}


def command(name: str) -> list[str]:
    """Return how an owner is started; skip the test where its language is missing."""
    path = EXAMPLES / name
    needed = NEEDED.get(path.suffix)
    if needed and not shutil.which(needed):
        pytest.skip(f"{needed} is not installed")
    if path.suffix == ".py":
        return [bare_python(), str(path)]
    if path.suffix == ".go":
        return [str(go_program(path))]
    return [str(path)]


def go_program(source: Path) -> Path:
    """Compile a Go program, once for each state of its source."""
    folder = ROOT / "build" / "examples"
    folder.mkdir(parents=True, exist_ok=True)
    program = folder / f"owner-{sha256(source.read_bytes()).hexdigest()[:16]}"
    if not program.exists():
        aside = folder / f"owner.{os.getpid()}"
        environ = {**os.environ, "GOCACHE": str(folder / "go-cache"), "GOFLAGS": "-mod=mod"}
        subprocess.run(
            ["go", "build", "-o", str(aside), str(source)], cwd=folder, env=environ, check=True
        )
        aside.replace(program)
    return program


class Owner:
    """Runs one of the examples."""

    def __init__(self, name: str, folder: Path) -> None:
        self.printed = ""
        self.command = command(name)
        self.folder = folder
        # A name of its own, by which a worker that was left behind would be found.
        self.worker = folder / "worker.pyz"
        self.worker.symlink_to(ARTIFACT)

    def start(self, *arguments: object) -> subprocess.Popen[str]:
        return subprocess.Popen(
            [*self.command, *map(str, arguments)],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            cwd=self.folder,
            env=clean_environ({"STORE_WORKERS": str(self.worker), "PYTHON": bare_python()}),
        )

    def run(self, *arguments: object, status: int = 0) -> str:
        """Run to the end; return what it told on stderr. `printed` is the manifest."""
        with self.start(*arguments) as process:
            stdout, stderr = process.communicate(timeout=60)
        assert process.returncode == status, stderr
        self.printed = stdout.removesuffix("\n")
        uploaded = arguments[0] == "upload" and status == 0
        assert bool(re.fullmatch("[0-9a-f]{64}\n", stdout)) == uploaded, stdout
        assert uploaded or stdout == ""
        assert "Traceback" not in stderr
        return stderr

    def workers_left(self) -> Sequence[str]:
        """Return the command lines of workers that still run."""
        if not Path("/proc/self/cmdline").exists():
            return []
        found = []
        for process in Path("/proc").glob("[0-9]*/cmdline"):
            try:
                line = process.read_bytes()
            except OSError:
                continue
            if str(self.worker).encode() in line:
                found.append(line.decode(errors="replace"))
        return found


@pytest.fixture(params=OWNERS)
def name(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture
def owner(name: str, tmp_path: Path) -> Owner:
    return Owner(name, tmp_path)


@contextmanager
def promptly(seconds: float) -> Iterator[None]:
    started = time.monotonic()
    yield
    assert time.monotonic() - started < seconds + STALL


def test_round_trip_with_progress_and_a_manifest_that_another_owner_reads(
    name: str, owner: Owner, tmp_path: Path
) -> None:
    content = mixed(8 * MIB)
    path = tmp_path / 'a "file" of $HOME'
    path.write_bytes(content)
    with FaultyServer(Rule(honest_after(0.5), "PUT GET")) as server:
        told = owner.run("upload", path, server.url)
        assert "read " in told, told
        assert f"uploaded {len(content)} bytes" in told
        found = read_manifest(server.chunks.__getitem__, owner.printed)
        assert found.header["size"] == len(content)
        assert {*found.hashes, owner.printed} == set(server.chunks)
        (tmp_path / "other").mkdir()
        other = Owner(OWNERS[OWNERS.index(name) - 1], tmp_path / "other")
        told = other.run("download", tmp_path / "copy", server.url, owner.printed)
        assert "fetched " in told, told
    assert (tmp_path / "copy").read_bytes() == content


def test_faulty_store_is_survived(owner: Owner, tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.write_bytes(noise(3 * MIB))
    rules = [
        # More failures than one worker tries again: the message has to be sent a second time.
        Rule(status(502), "PUT GET", tries={1, 2, 3}, nth=range(3, 30)),
        Rule(status(500), "PUT GET", tries={1}),
    ]
    with FaultyServer(*rules) as server:
        told = owner.run("upload", path, server.url)
        assert told.count("STORE_UNAVAILABLE") >= 6
        owner.run("download", tmp_path / "copy", server.url, owner.printed)
    assert (tmp_path / "copy").read_bytes() == path.read_bytes()


def test_refusal_is_final(owner: Owner, tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.write_bytes(noise(3 * MIB))
    with FaultyServer(Rule(status(403), "PUT")) as server:
        told = owner.run("upload", path, server.url, status=1)
        sent = [request.key for request in server.requests("PUT")]
    assert len(sent) == len(set(sent)), "a chunk was sent again"
    assert "STORE_ACCESS_DENIED: " in told


@pytest.mark.parametrize(("number", "status"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_cancelled(owner: Owner, tmp_path: Path, number: int, status: int) -> None:
    path = tmp_path / "file"
    path.write_bytes(noise(3 * MIB))
    with (
        FaultyServer(Rule(stalled(where="answer"), "PUT")) as server,
        owner.start("upload", path, server.url) as process,
    ):
        while not server.requests("PUT"):
            time.sleep(0.01)
        with promptly(4):
            process.send_signal(number)
            process.communicate(timeout=60)
        assert process.returncode == status
        assert owner.workers_left() == []


def test_out_of_time(owner: Owner, tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.write_bytes(noise(3 * MIB))
    with FaultyServer(Rule(stalled(where="answer"), "PUT")) as server, promptly(6):
        owner.run("upload", path, server.url, "1.5", status=124)
    assert owner.workers_left() == []


def test_worker_that_is_killed_is_run_again(owner: Owner, tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.write_bytes(noise(3 * MIB))
    owner.worker.unlink()
    owner.worker.write_text(
        "import os, sys\n"
        f"first = {str(tmp_path / 'was-killed')!r}\n"
        "if not os.path.exists(first):\n"
        "    open(first, 'w').close()\n"
        "    os.kill(os.getpid(), 9)\n"
        f"os.execv(sys.executable, [sys.executable, {str(ARTIFACT)!r}])\n"
    )
    owner.run("upload", path, tmp_path / "store")
    assert (tmp_path / "was-killed").exists()
    found = read_manifest(in_folder(tmp_path / "store"), owner.printed)
    assert len(found.hashes) >= 6
