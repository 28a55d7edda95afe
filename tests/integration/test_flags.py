"""`--help`, `--version`, `--schema`, and a start by a person."""

from __future__ import annotations

import json
import os
import pty
import re
import subprocess
from typing import TYPE_CHECKING

import pytest

from store_workers import __version__
from store_workers.people.page import WIDTH, as_text
from tests.support.terminal import Terminal
from tests.support.worker import ARTIFACT, ROOT, bare_python, clean_environ

if TYPE_CHECKING:
    from pathlib import Path


def ask(*arguments: str, stdin: int = subprocess.DEVNULL) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [bare_python(), str(ARTIFACT), *arguments],
        stdin=stdin,
        capture_output=True,
        text=True,
        env=clean_environ({"LC_ALL": "C"}),
        check=False,
        timeout=60,
    )


def test_help_fits_on_one_screen() -> None:
    said = ask("--help")
    assert said.returncode == 0
    assert said.stderr == ""
    lines = said.stdout.splitlines()
    assert len(lines) <= 24
    assert max(map(len, lines)) <= 80
    assert said.stdout.isascii()
    for word in ("UPLOAD_START", "DOWNLOAD_START", "128 + n", "--help protocol", "--schema"):
        assert word in said.stdout


def test_the_messages_of_the_help_work(tmp_path: Path) -> None:
    text = ask("--help").stdout
    pasted = re.compile(r"^  (echo .*?store-workers\.pyz[^\n]*)$", re.MULTILINE | re.DOTALL)
    upload, download = pasted.findall(text)
    (tmp_path / "big.tar").write_bytes(os.urandom(600_000))
    program = tmp_path / "store-workers.pyz"
    program.write_text(f'#!/bin/sh\nexec {bare_python()} {ARTIFACT} "$@"\n')
    program.chmod(0o755)

    def paste(line: str) -> list[dict[str, object]]:
        done = subprocess.run(
            ["sh", "-c", line],
            cwd=tmp_path,
            env=clean_environ({"PATH": f"{tmp_path}:{os.environ['PATH']}"}),
            stdout=subprocess.PIPE,
            text=True,
            check=True,
        )
        return [json.loads(event) for event in done.stdout.splitlines()]

    uploaded = paste(upload)[-1]
    assert '"..."' in download
    named = download.replace("...", str(uploaded["manifest"]))
    assert paste(named)[-1]["type"] == "FILE_DOWNLOADED"
    assert (tmp_path / "copy.tar").read_bytes() == (tmp_path / "big.tar").read_bytes()


def test_the_protocol_is_carried() -> None:
    said = ask("--help", "protocol")
    assert said.returncode == 0
    page = (ROOT / "docs" / "protocol.md").read_text()
    assert said.stdout == as_text(page) + "\n"
    assert re.findall("^#.*", said.stdout, re.MULTILINE) == re.findall("^#.*", page, re.MULTILINE)
    assert "<!--" not in said.stdout
    text = [line for line in said.stdout.splitlines() if not line.startswith("    ")]
    assert max(map(len, text)) <= WIDTH


def test_version_names_everything_that_is_bundled() -> None:
    said = ask("--version")
    assert said.returncode == 0
    lines = said.stdout.splitlines()
    assert lines[0] == f"store-workers {__version__}"
    pins = dict(
        re.findall(
            r"^([a-z0-9]+)==([^ ]+)",
            "".join(
                (ROOT / "tools" / "requirements" / name).read_text()
                for name in ("runtime.txt", "zstandard.txt")
            ),
            re.MULTILINE,
        )
    )
    told = dict(line.split(" ", 1) for line in lines[1:-1])
    assert re.fullmatch(rf"{pins['zstandard']} \(libzstd \d+\.\d+\.\d+\)", told.pop("zstandard"))
    assert told == {name: pins[name] for name in ("urllib3", "truststore", "botocore", "tqdm")}
    assert re.fullmatch(r"CPython 3\.\d+\.\d+.*", lines[-1])


def test_schema_is_the_committed_one() -> None:
    said = ask("--schema")
    assert said.returncode == 0
    assert said.stdout == (ROOT / "docs" / "schema.json").read_text()


@pytest.mark.parametrize("flag", ["--help", "--version", "--schema"])
def test_reader_that_goes_away_gets_no_traceback(flag: str) -> None:
    line = f"exec 3>&1; ({bare_python()} {ARTIFACT} {flag}; echo $? >&3) | true"
    said = subprocess.run(
        ["sh", "-c", line], capture_output=True, text=True, env=clean_environ(), check=True
    )
    assert said.stderr == ""
    assert said.stdout in {"0\n", "1\n"}


@pytest.mark.parametrize(
    ("words", "beginning"),
    [
        (["-h"], "store-workers puts files into a chunk store"),
        (["--help", "settings"], "Options of upload, download and verify."),
        (["--help", "verify"], "usage: store-workers.pyz verify MANIFEST [options]\n"),
    ],
)
def test_more_help(words: list[str], beginning: str) -> None:
    said = ask(*words)
    assert (said.returncode, said.stderr) == (0, "")
    assert said.stdout.startswith(beginning)


@pytest.mark.parametrize(
    ("arguments", "problem"),
    [
        (["--upload"], "--upload: unknown command: expected upload, download, verify, --help"),
        (["uplaod", "file"], "uplaod: unknown command: expected upload, download, verify"),
        (["a\nb\033c"], r"a\nb\x1bc: unknown command: "),
        (["--help", "nonsense"], "nonsense: unknown topic: expected --help with upload, "),
        (["--help", "settings", "x"], "x: unexpected argument after --help"),
        (["--version", "x"], "x: unexpected argument after --version"),
    ],
)
def test_anything_else_is_one_line_for_people(arguments: list[str], problem: str) -> None:
    said = ask(*arguments)
    assert (said.returncode, said.stdout) == (2, "")
    (line,) = said.stderr.splitlines()
    assert line.startswith(f"store-workers.pyz: {problem}")


def test_terminal_on_stdin_gets_the_help_at_once() -> None:
    ours, theirs = pty.openpty()
    try:
        said = ask(stdin=theirs)
    finally:
        os.close(ours)
        os.close(theirs)
    assert said.returncode == 2
    assert said.stderr == ask("--help").stdout
    event = json.loads(said.stdout)
    assert event["type"] == "ERROR"
    assert event["code"] == "BAD_MESSAGE"
    assert "terminal" in event["message"]


def test_help_in_a_real_terminal(tmp_path: Path) -> None:
    with Terminal(tmp_path, columns=80, rows=30) as terminal:
        terminal.enter(f"clear; {bare_python()} {ARTIFACT} > events; echo status $?")
        shown = terminal.wait_for("status 2")
    assert "store-workers puts files into a chunk store" in shown
    assert json.loads((tmp_path / "events").read_text())["code"] == "BAD_MESSAGE"
