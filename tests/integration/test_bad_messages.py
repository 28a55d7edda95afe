"""Refused messages: one line that names the field, and nothing is opened."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest

from tests.support.messages import HASH, down, up, with_setting
from tests.support.worker import Run, Worker, run_worker

if TYPE_CHECKING:
    from pathlib import Path

# One of each kind: the complete tables are in tests/unit.
FIELDS: list[tuple[dict[str, Any], str]] = [
    (up(type="upload_start"), "type"),
    (up(path="a\0b"), "path"),
    (up(store="ftp://host/dir"), "store"),
    (with_setting("concurrency", 8.0), "settings.concurrency"),
    (up(auth={"username": "u"}), "auth"),
    (down(hashes=[HASH, HASH[1:]]), "hashes"),
]
LINES = {
    "nothing": b"",
    "half an object": b'{"type": "UPLOAD_START", "path":',
    "invalid UTF-8": b'{"type": "UPLOAD_START", "path": "\xff\xfe", "store": "store"}\n',
    "a hundred thousand brackets": b"[" * 100_000 + b"\n",
}


def refuse(message: Any, folder: Path) -> Run:
    """Send a message in an empty folder, and check all that every refusal has in common."""
    folder.mkdir()
    run = run_worker(message, cwd=folder, env={"HOME": str(folder), "XDG_DATA_HOME": None})
    assert run.status == 2, run
    assert run.stdout.count(b"\n") == 1, run
    assert run.terminal["code"] == "BAD_MESSAGE", run
    assert run.terminal["retryable"] is False
    assert run.stderr.count(b"\n") <= 1, run
    assert list(folder.iterdir()) == [], "something was created"
    return run


@pytest.mark.parametrize(
    ("message", "field"), FIELDS, ids=[f"{n}-{field}" for n, (_, field) in enumerate(FIELDS)]
)
def test_field_is_named(message: dict[str, Any], field: str, tmp_path: Path) -> None:
    told = refuse(message, tmp_path / "empty").terminal["message"]
    assert told.startswith(field), f"{field} is not named in: {told}"


@pytest.mark.parametrize("message", LINES.values(), ids=LINES.keys())
def test_no_message_at_all(message: bytes, tmp_path: Path) -> None:
    refuse(message, tmp_path / "empty")


def test_refusal_says_what_was_expected(tmp_path: Path) -> None:
    told = refuse(with_setting("concurrency", -1), tmp_path / "empty").terminal["message"]
    assert told == "settings.concurrency: expected an integer from 0 to 256, got -1"


def test_refusal_carries_the_id(tmp_path: Path) -> None:
    assert refuse(up(id="job 7", size=-1), tmp_path / "empty").terminal["id"] == "job 7"


def test_secrets_are_not_repeated(tmp_path: Path) -> None:
    message = up(auth={"username": "u", "password": ["hunter2"]}, store="http://a:hunter2@h:x/")
    run = refuse(message, tmp_path / "empty")
    assert b"hunter2" not in run.stdout + run.stderr


def test_line_that_cannot_be_an_object_is_refused_at_once(tmp_path: Path) -> None:
    with Worker(b"not an object\n", close_stdin=False, cwd=tmp_path) as worker:
        assert worker.finish().terminal["code"] == "BAD_MESSAGE"


def test_object_over_several_lines_ends_with_stdin(tmp_path: Path) -> None:
    source = tmp_path / "source"
    source.write_bytes(b"content")
    message = {**up(path=str(source)), "store": str(tmp_path / "store")}
    lines = json.dumps(message, indent=2).encode()
    assert run_worker(lines).terminal["type"] == "FILE_UPLOADED"
    assert run_worker(lines + b"\n\n").terminal["type"] == "FILE_UPLOADED"
