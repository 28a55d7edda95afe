"""The terminal of a person: a progress bar during the run, and one line at its end."""

from __future__ import annotations

import json
import os
import pty
import re
import subprocess
from typing import TYPE_CHECKING

import pytest

from store_workers.people.progress_bar import REFRESH
from tests.support.data import KIB, MIB, noise
from tests.support.faulty_server import FIRST, FaultyServer, Rule, honest_after, status
from tests.support.terminal import Terminal
from tests.support.worker import ARTIFACT, bare_python, clean_environ, run_worker, upload

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

SLOWLY = Rule(honest_after(0.25), "PUT GET")
SUMMARY = "uploaded big.bin: 6.0 MiB in "


@pytest.fixture
def big(tmp_path: Path) -> Path:
    path = tmp_path / "big.bin"
    path.write_bytes(noise(6 * MIB))
    return path


@pytest.fixture
def slow_store() -> Iterator[FaultyServer]:
    with FaultyServer(SLOWLY) as server:
        yield server


def command(message: object, redirection: str = "> events.jsonl") -> str:
    """Return what a person types."""
    return f"echo '{json.dumps(message)}' | {bare_python()} {ARTIFACT} {redirection}"


def shows(pattern: str) -> Callable[[str], bool]:
    """Return a function that tells whether a screen holds a pattern."""
    return lambda screen: re.search(pattern, screen) is not None


def test_bar_in_a_real_terminal(tmp_path: Path, big: Path) -> None:
    rules = [Rule(status(500), "PUT", tries=FIRST, nth={3}), SLOWLY]
    message = upload(
        "big.bin", "URL", settings={"concurrency": 2, "retry_delay_ms": 1, "compression_threads": 1}
    )
    with FaultyServer(*rules) as server, Terminal(tmp_path, columns=110) as terminal:
        terminal.enter("clear; " + command({**message, "store": server.url}))
        shown = terminal.wait_for("1 retry]")
        bar = shown.splitlines()[-1]
        assert re.match(
            r"big\.bin: +\d+%\|[█▏▎▍▌▋▊▉ ]+\| [\d.]+[KM]?/[\d.]+[KM] \[\d\d:\d\d<\d\d:\d\d, [\d.]+ "
            r"[KM]?i?B/s, [\d.]+ [KM]iB stored, 1 retry",
            bar,
        ), bar
        shown = terminal.wait_for("uploaded")
    (line,) = [line for line in shown.splitlines() if line.startswith("uploaded")]
    assert line.startswith(SUMMARY)
    assert re.search(r"\([\d.]+ [KM]iB/s\), 6\.0 MiB stored, \d+ of \d+ chunks new, 1 retry", line)
    assert not any("|" in line for line in shown.splitlines()[1:-1] if "echo" not in line), shown
    events = [json.loads(line) for line in (tmp_path / "events.jsonl").read_text().splitlines()]
    assert events[-1]["type"] == "FILE_UPLOADED"


def test_events_and_bar_on_one_screen_do_not_mix(
    tmp_path: Path, big: Path, slow_store: FaultyServer
) -> None:
    message = upload("big.bin", slow_store.url, settings={"concurrency": 2})
    with Terminal(tmp_path, columns=300, rows=50) as terminal:
        terminal.enter("clear; " + command(message, ""))
        shown = terminal.wait_for(SUMMARY)
    lines = [line for line in shown.splitlines()[1:] if line and "echo" not in line]
    # The last event holds a list that is longer than a line, and so goes over several.
    for line in lines:
        if line.startswith("{") and "FILE_UPLOADED" not in line:
            assert isinstance(json.loads(line), dict), line
    assert sum(line.startswith('{"type":"CHUNK"') for line in lines) >= 10


def test_events_by_way_of_tee_start_on_the_left(
    tmp_path: Path, big: Path, slow_store: FaultyServer
) -> None:
    message = upload("big.bin", slow_store.url, settings={"concurrency": 2})
    with Terminal(tmp_path, columns=300, rows=50) as terminal:
        terminal.enter("clear; " + command(message, "| tee events.jsonl"))
        shown = terminal.wait_for(SUMMARY)
    found = [line.partition('{"type":"')[0] for line in shown.splitlines()]
    assert found.count("") >= 10
    assert not any("|" in beginning and "echo" not in beginning for beginning in found), shown


def test_download_by_chunks_and_by_size(
    tmp_path: Path, big: Path, slow_store: FaultyServer
) -> None:
    hashes = run_worker(upload(big, slow_store.url)).terminal["hashes"]
    message = {"type": "DOWNLOAD_START", "store": slow_store.url, "hashes": hashes}
    settings = {"concurrency": 1}
    with Terminal(tmp_path, columns=120) as terminal:
        terminal.enter(command({**message, "path": "by-chunks", "settings": settings}))
        shown = terminal.wait_for(shows(r"by-chunks: +\d\d%\|"))
        assert "fetched" in shown
        terminal.wait_for("downloaded by-chunks: 6.0 MiB in ")
        terminal.enter(
            command({**message, "path": "by-size", "size": 6 * MIB, "settings": settings})
        )
        terminal.wait_for(shows(r"by-size: +\d\d%\|"))
        terminal.wait_for("downloaded by-size: 6.0 MiB in ")


def test_unknown_size_has_no_bar_but_a_line(tmp_path: Path, slow_store: FaultyServer) -> None:
    message = upload("fifo", slow_store.url)
    with Terminal(tmp_path) as terminal:
        terminal.enter("mkfifo fifo; (head -c 3000000 /dev/zero; sleep 1) > fifo & clear")
        terminal.enter(command(message))
        shown = terminal.wait_for("fifo: 2.86MiB [")
        assert "%" not in shown.splitlines()[-1]
        terminal.wait_for("uploaded fifo: 2.9 MiB in ")


def test_failure_ends_in_one_line(tmp_path: Path, big: Path) -> None:
    with (
        FaultyServer(Rule(honest_after(0.5), "PUT", nth={1}), Rule(status(403), "PUT")) as server,
        Terminal(tmp_path, columns=200) as terminal,
    ):
        terminal.enter(command(upload("big.bin", server.url)) + "; echo status $?")
        shown = terminal.wait_for("status 1")
    lines = shown.splitlines()
    assert re.match(
        r"failed after \d+\.\d s: STORE_ACCESS_DENIED: ", lines[lines.index("status 1") - 1]
    )


def test_cancelled_by_control_c(tmp_path: Path, big: Path) -> None:
    with FaultyServer(Rule(honest_after(30), "PUT")) as server, Terminal(tmp_path) as terminal:
        terminal.enter(command(upload("big.bin", server.url)) + "; echo status $?")
        terminal.wait_for("%|")
        terminal.press("C-c")
        shown = terminal.wait_for("status 130")
    assert ": CANCELLED: stopped by SIGINT" in shown


def run_with_stderr(
    message: object, stderr: int, env: dict[str, str] | None = None
) -> tuple[int, bytes]:
    done = subprocess.run(
        [bare_python(), str(ARTIFACT)],
        input=json.dumps(message).encode(),
        stdout=subprocess.PIPE,
        stderr=stderr,
        env=clean_environ(env),
        check=False,
        timeout=60,
    )
    return done.returncode, done.stdout


def test_short_run_shows_its_summary_alone(tmp_path: Path) -> None:
    (tmp_path / "small").write_bytes(noise(3 * KIB))
    ours, theirs = pty.openpty()
    code, stdout = run_with_stderr(upload(tmp_path / "small", tmp_path / "store"), theirs)
    os.close(theirs)
    shown = os.read(ours, 65536).decode()
    os.close(ours)
    assert code == 0
    assert stdout.count(b"\n") == 2
    summary = re.search(
        r"uploaded .*/small: 3\.0 KiB in (\d+\.\d) s \([\d.]+ .?i?B/s\), 3\.0 KiB stored,"
        r" 1 of 1 chunk new, 0 retries\r\n",
        shown,
    )
    assert summary, shown
    took_long = float(summary[1]) >= REFRESH  # on a busy machine
    assert took_long or summary[0] == shown, shown


def test_terminal_that_takes_nothing_holds_nothing_up(
    tmp_path: Path, big: Path, slow_store: FaultyServer
) -> None:
    ours, theirs = pty.openpty()
    try:
        # Nobody reads the other end, and its buffer is full.
        os.set_blocking(theirs, False)
        try:
            while os.write(theirs, b"x" * 1024):
                pass
        except BlockingIOError:
            pass
        os.set_blocking(theirs, True)
        code, _ = run_with_stderr(upload(big, slow_store.url), theirs)
        assert code == 0
    finally:
        os.close(ours)
        os.close(theirs)


def test_owner_that_goes_away_is_noticed_beside_the_bar(
    tmp_path: Path, big: Path, slow_store: FaultyServer
) -> None:
    ours, theirs = pty.openpty()
    process = subprocess.Popen(
        [bare_python(), str(ARTIFACT)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=theirs,
        env=clean_environ(),
    )
    os.close(theirs)
    assert process.stdin
    assert process.stdout
    settings = {"concurrency": 1, "progress_interval_ms": 10}
    process.stdin.write(json.dumps(upload(big, slow_store.url, settings=settings)).encode() + b"\n")
    process.stdin.close()
    process.stdout.readline()
    process.stdout.close()
    assert process.wait(3) == 1
    os.close(ours)


def test_nothing_without_a_terminal(tmp_path: Path, big: Path, slow_store: FaultyServer) -> None:
    assert run_worker(upload(big, slow_store.url)).stderr == b""


def test_in_ascii_where_the_terminal_has_no_unicode(
    tmp_path: Path, big: Path, slow_store: FaultyServer
) -> None:
    ours, theirs = pty.openpty()
    with open(ours, "rb", buffering=0, closefd=False) as screen:
        code, _ = run_with_stderr(
            upload(big, slow_store.url, settings={"concurrency": 2}),
            theirs,
            {"LC_ALL": "C", "PYTHONCOERCECLOCALE": "0", "PYTHONUTF8": "0"},
        )
        os.close(theirs)
        shown = screen.read(65536)
    os.close(ours)
    assert code == 0
    assert shown.isascii(), shown
    assert b"%|" in shown
