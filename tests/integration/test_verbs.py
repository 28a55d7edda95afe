"""Verbs: output, files and exit status."""

from __future__ import annotations

import hashlib
import signal
import subprocess
import time
from typing import TYPE_CHECKING

import pytest

from tests.support.contract import parse_events
from tests.support.data import KIB, MIB, noise
from tests.support.faulty_server import FaultyServer, Rule, stalled, status
from tests.support.terminal import Terminal
from tests.support.worker import ARTIFACT, bare_python, clean_environ

if TYPE_CHECKING:
    from pathlib import Path

    from tests.support.stores import Store

HASH = "0" * 64
LONGEST_LINE = 4 * KIB


def type_in(
    folder: Path, *words: str, stdin: bytes = b"", env: dict[str, str | None] | None = None
) -> subprocess.CompletedProcess[bytes]:
    """Run a command in a folder."""
    return subprocess.run(
        [bare_python(), str(ARTIFACT), *words],
        input=stdin,
        capture_output=True,
        cwd=folder,
        env=clean_environ(env),
        check=False,
        timeout=60,
    )


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A folder with a file in it."""
    (tmp_path / "file").write_bytes(noise(3 * MIB))
    return tmp_path


def test_up_and_down_and_looked_at(store: Store, folder: Path) -> None:
    up = type_in(folder, "upload", "file", "--store", store.url)
    assert (up.returncode, up.stderr) == (0, b"")
    manifest, _, rest = up.stdout.decode().partition(" ")
    assert rest == " file\n"
    assert manifest in store.files()

    down = type_in(folder, "download", manifest, "copy", "--store", store.url)
    assert (down.returncode, down.stdout, down.stderr) == (0, b"", b"")
    assert (folder / "copy").read_bytes() == (folder / "file").read_bytes()

    looked = type_in(folder, "verify", manifest, "--store", store.url)
    assert (looked.returncode, looked.stderr) == (0, b"")
    assert looked.stdout.decode() == f"{manifest}: OK\n"

    store.path(manifest).unlink()
    gone = type_in(folder, "verify", manifest, "--store", store.url)
    assert (gone.returncode, gone.stdout) == (1, b"")
    (line,) = gone.stderr.decode().splitlines()
    assert manifest in line
    assert "(CHUNK_NOT_FOUND; " in line


def test_standard_streams_are_files_too(folder: Path) -> None:
    content = (folder / "file").read_bytes()
    up = type_in(folder, "upload", "-", "--store", "st", stdin=content)
    manifest, _, rest = up.stdout.decode().partition(" ")
    assert (up.returncode, rest, up.stderr) == (0, " -\n", b"")
    down = type_in(folder, "download", manifest, "-", "--store", "st")
    assert (down.returncode, down.stdout, down.stderr) == (0, content, b"")
    part = type_in(folder, "download", manifest, "-", "--store", "st", "--range", "1M:1K")
    assert part.stdout == content[MIB : MIB + KIB]


def test_what_a_command_writes(folder: Path) -> None:
    script = "cat file; echo behind >&2; exit ${1:-0}"
    words = ["upload", "--store", "st", "--command", "--", "sh", "-c", script, "sh"]
    up = type_in(folder, *words, "0")
    manifest, _, rest = up.stdout.decode().partition(" ")
    assert (up.returncode, rest, up.stderr) == (0, " -\n", b"behind\n")
    down = type_in(folder, "download", manifest, "copy", "--store", "st")
    assert down.returncode == 0
    assert (folder / "copy").read_bytes() == (folder / "file").read_bytes()
    died = type_in(folder, *words, "3")
    assert (died.returncode, died.stdout) == (1, b"")
    assert "ended with status 3 (FILE_READ_FAILED)" in died.stderr.decode().splitlines()[-1]


def test_the_store_of_the_environment(folder: Path) -> None:
    env: dict[str, str | None] = {"STORE_WORKERS_STORE": str(folder / "st")}
    assert type_in(folder, "upload", "file", env=env).returncode == 0
    assert (folder / "st").is_dir()


def test_many_files_one_of_which_is_not_there(folder: Path) -> None:
    names = [f"file {number}" for number in range(6)]
    for number, name in enumerate(names):
        (folder / name).write_bytes(noise(200 * KIB, seed=number))
    done = type_in(folder, "upload", *names[:3], "missing", *names[3:], "--store", "st")
    assert done.returncode == 1
    lines = done.stdout.decode().splitlines()
    assert [line[66:] for line in lines] == names
    (failed,) = done.stderr.decode().splitlines()
    assert failed.endswith(": missing: No such file or directory (FILE_NOT_FOUND)")
    for name, line in zip(names, lines, strict=True):
        type_in(folder, "download", line[:64], "copy", "--store", "st")
        assert (folder / "copy").read_bytes() == (folder / name).read_bytes()


def test_events_where_they_are_asked_for(folder: Path) -> None:
    done = type_in(folder, "upload", "file", "--store", "st", "--json")
    events = parse_events(done.stdout)
    assert (done.returncode, events[-1]["type"]) == (0, "FILE_UPLOADED")
    # On a slow machine there are PROGRESS events, too.
    assert {event["type"] for event in events} - {"PROGRESS"} == {"CHUNK", "FILE_UPLOADED"}
    assert max(map(len, done.stdout.splitlines())) < LONGEST_LINE
    refused = type_in(folder, "upload", "file", "--json", "--concurrency", "9999")
    assert (refused.returncode, refused.stderr) == (2, b"")
    assert parse_events(refused.stdout)[-1]["code"] == "BAD_MESSAGE"


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["upload"], "expected a FILE"),
        (["upload", "file", "--no-such"], "unrecognized arguments: --no-such"),
        (["upload", "file", "--concurrency", "9999"], "--concurrency: expected an integer"),
        (["upload", "file", "--store", "ftp://x"], "store: "),
        (["download", "xyz", "copy"], "manifest: expected 64 lower-case hex digits"),
        (["download", HASH], "required: FILE"),
    ],
)
def test_a_wrong_command_line_is_2(folder: Path, words: list[str], said: str) -> None:
    done = type_in(folder, *words)
    assert (done.returncode, done.stdout) == (2, b"")
    lines = done.stderr.decode().splitlines()
    assert len(lines) <= 2
    assert said in lines[-1]
    assert not (folder / "copy").exists()


def test_what_fails_is_1_and_what_to_do_is_said(folder: Path) -> None:
    with FaultyServer(Rule(status(403), "PUT")) as server:
        done = type_in(folder, "upload", "file", "--store", server.url)
    assert (done.returncode, done.stdout) == (1, b"")
    (line,) = done.stderr.decode().splitlines()
    assert "(STORE_ACCESS_DENIED; check the credentials)" in line


def test_control_c_is_130(folder: Path) -> None:
    with (
        FaultyServer(Rule(stalled(where="answer"), "PUT")) as server,
        subprocess.Popen(
            [bare_python(), str(ARTIFACT), "upload", "file", "file", "--store", server.url],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            cwd=folder,
            env=clean_environ(),
        ) as process,
    ):
        while not server.requests("PUT"):
            assert process.poll() is None
            time.sleep(0.01)
        process.send_signal(signal.SIGINT)
        stdout, stderr = process.communicate(timeout=30)
    assert (process.returncode, stdout) == (130, b"")
    (line,) = stderr.decode().splitlines()
    assert "stopped by SIGINT (CANCELLED; " in line


def test_lines_can_be_checked_as_those_of_sha256sum(folder: Path) -> None:
    """The manifest is the SHA-256 of the stored object of that name."""
    up = type_in(folder, "upload", "file", "--store", "st").stdout.decode()
    stored = folder / "st" / up[:2] / up[:64]
    assert hashlib.sha256(stored.read_bytes()).hexdigest() == up[:64]


@pytest.mark.parametrize(
    ("line", "told"),
    [
        ("upload file --store st >&-", b"standard output: Bad file descriptor"),
        ("upload file --store st >/dev/full", b"standard output: No space left on device"),
        ("upload - --store st <&-", b"-: there is no such descriptor (FILE_NOT_FOUND)"),
    ],
)
def test_streams_that_are_closed_or_full_are_told(folder: Path, line: str, told: bytes) -> None:
    done = subprocess.run(
        ["sh", "-c", f"{bare_python()} {ARTIFACT} {line}"],
        cwd=folder,
        capture_output=True,
        env=clean_environ(),
        check=False,
    )
    assert done.returncode == 1
    (said,) = done.stderr.splitlines()
    assert told in said


def test_nobody_need_hear_of_a_download(folder: Path) -> None:
    manifest = type_in(folder, "upload", "file", "--store", "st").stdout.decode()[:64]
    line = f"{bare_python()} {ARTIFACT} download {manifest} copy --store st <&- >&- 2>&-"
    subprocess.run(["sh", "-c", line], cwd=folder, env=clean_environ(), check=True)
    assert (folder / "copy").read_bytes() == (folder / "file").read_bytes()


def test_a_terminal(folder: Path) -> None:
    program = f"{bare_python()} {ARTIFACT}"
    with Terminal(folder, columns=120, rows=50) as terminal:
        terminal.enter(f"clear; {program} upload; echo status $?")
        shown = terminal.wait_for("status 2")
        assert "usage: " in shown
        assert "{" not in shown
        terminal.enter(f"clear; {program} upload file --store st; echo status $?")
        shown = terminal.wait_for("status 0")
    assert "uploaded file: 3.0 MiB in " in shown
    (line,) = [line for line in shown.splitlines() if line.endswith("  file")]
    assert len(line) == 64 + 6
