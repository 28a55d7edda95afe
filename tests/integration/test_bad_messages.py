"""Messages that cannot be accepted: one line, the field named, nothing touched."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest

from tests.support.worker import Run, Worker, run_worker

if TYPE_CHECKING:
    from pathlib import Path

HASH = "0" * 64


def up(**fields: Any) -> dict[str, Any]:
    """Return an upload of a file that exists, changed."""
    message = {"type": "UPLOAD_START", "path": __file__, "store": "store", **fields}
    return {name: value for name, value in message.items() if value is not ...}


def down(**fields: Any) -> dict[str, Any]:
    """Return a download, changed."""
    message = {"type": "DOWNLOAD_START", "path": "target", "store": "store", "hashes": [HASH]}
    return {name: value for name, value in {**message, **fields}.items() if value is not ...}


def with_setting(name: str, value: Any) -> dict[str, Any]:
    return up(settings={name: value})


# What is sent, and what the message has to name.
FIELDS: list[tuple[dict[str, Any], str]] = [
    (up(type=...), "type"),
    (up(type="UPLOAD"), "type"),
    (up(type="upload_start"), "type"),
    (up(type=1), "type"),
    (up(type=["UPLOAD_START"]), "type"),
    (up(path=...), "path"),
    (up(path=7), "path"),
    (up(path=""), "path"),
    (up(path="a\0b"), "path"),
    (up(path=None), "path"),
    (up(store=1), "store"),
    (up(store=""), "store"),
    (up(store="ftp://host/dir"), "store"),
    (up(store="http://"), "store"),
    (up(store="s3:///prefix"), "store"),
    (up(id=5), "id"),
    (up(size="12"), "size"),
    (up(size=-1), "size"),
    (up(size=1.5), "size"),
    (up(size=True), "size"),
    (up(sha256="yes"), "sha256"),
    (up(verify=1), "verify"),
    (up(hashes=[HASH]), "hashes"),
    (up(Path="x"), "Path"),
    (up(compresion_level=3), "compresion_level"),
    (up(settings=[]), "settings"),
    (up(settings={"speed": 1}), "settings.speed"),
    (with_setting("concurrency", -1), "settings.concurrency"),
    (with_setting("concurrency", 257), "settings.concurrency"),
    (with_setting("concurrency", "8"), "settings.concurrency"),
    (with_setting("concurrency", 8.0), "settings.concurrency"),
    (with_setting("concurrency", None), "settings.concurrency"),
    (with_setting("concurrency", True), "settings.concurrency"),
    (with_setting("max_attempts", 0), "settings.max_attempts"),
    (with_setting("max_attempts", 101), "settings.max_attempts"),
    (with_setting("compression_level", 0), "settings.compression_level"),
    (with_setting("compression_level", 20), "settings.compression_level"),
    (with_setting("compression_threads", -1), "settings.compression_threads"),
    (with_setting("retry_delay_ms", -1), "settings.retry_delay_ms"),
    (with_setting("retry_max_delay_ms", 10**30), "settings.retry_max_delay_ms"),
    (with_setting("timeout_ms", 0), "settings.timeout_ms"),
    (with_setting("progress_interval_ms", -5), "settings.progress_interval_ms"),
    (up(auth="token"), "auth"),
    (up(auth={"bearer": "x"}), "auth.bearer"),
    (up(auth={"username": "u"}), "auth"),
    (up(auth={"bearer_token": 1}), "auth.bearer_token"),
    (up(tls={"ca": "x"}), "tls.ca"),
    (up(tls={"ca_file": 1}), "tls.ca_file"),
    (up(tls={"key_file": "x"}), "tls"),
    (down(hashes=...), "hashes"),
    (down(hashes=[]), "hashes"),
    (down(hashes=HASH), "hashes"),
    (down(hashes=[HASH, 5]), "hashes"),
    (down(hashes=[HASH, HASH[1:]]), "hashes"),
    (down(hashes=["A" * 64]), "hashes"),
    (down(hashes=["g" * 64]), "hashes"),
    (down(hashes=[HASH + "\n"]), "hashes"),
    (down(sha256="short"), "sha256"),
    (down(sha256=True), "sha256"),
    (down(size="big"), "size"),
    (down(verify=True), "verify"),
]

# What is sent as it is.
BYTES = {
    "nothing": b"",
    "an empty line": b"\n",
    "no JSON": b"hello\n",
    "half an object": b'{"type": "UPLOAD_START", "path":',
    "a list": b"[1, 2]\n",
    "a string": b'"UPLOAD_START"\n',
    "null": b"null\n",
    "a number": b"12\n",
    "invalid UTF-8": b'{"type": "UPLOAD_START", "path": "\xff\xfe", "store": "store"}\n',
    "UTF-16": json.dumps(up()).encode("utf-16"),
    "a NUL": b"\0\n",
    "NaN": b'{"type": "UPLOAD_START", "path": "x", "store": "store", "size": NaN}\n',
    "two objects in a line": json.dumps(up()).encode() * 2 + b"\n",
    "a thousand brackets": b'{"type":' * 1000 + b"\n",
    "a hundred thousand brackets": b"[" * 100_000 + b"\n",
    "an object and rubbish": json.dumps(up()).encode() + b" rubbish\n",
    "single quotes": b"{'type': 'UPLOAD_START'}\n",
    "a huge number": b'{"type": "UPLOAD_START", "path": "x", "size": ' + b"9" * 10_000 + b"}\n",
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


@pytest.mark.parametrize("message", BYTES.values(), ids=BYTES.keys())
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
        assert worker.finish(10).terminal["code"] == "BAD_MESSAGE"


def test_object_over_several_lines_ends_with_stdin(tmp_path: Path) -> None:
    source = tmp_path / "source"
    source.write_bytes(b"content")
    message = {**up(path=str(source)), "store": str(tmp_path / "store")}
    lines = json.dumps(message, indent=2).encode()
    assert run_worker(lines).terminal["type"] == "FILE_UPLOADED"
    assert run_worker(lines + b"\n\n").terminal["type"] == "FILE_UPLOADED"
