"""Every message that cannot be accepted, through a whole run: one line that names the field."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest

from tests.support.messages import HASH, down, up, with_setting
from tests.unit.owners import Owner

if TYPE_CHECKING:
    from pathlib import Path

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
LINES = {
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
    "lists within lists": b'{"type":' + b"[" * 100_000 + b"\n",
    "objects within objects": b'{"a":' * 100_000 + b"1" + b"}" * 100_000 + b"\n",
    "many digits": b'{"size":' + b"9" * 1_000_000 + b"}\n",
    "many escapes": b'{"path":"' + b"\\u0041" * 200_000 + b'"}\n',
    "a number too large": b'{"type":"UPLOAD_START","path":"x","size":1e999}\n',
    "a number with a fraction": b'{"type":"UPLOAD_START","path":"x","size":5.0}\n',
    "no number": b'{"type":"UPLOAD_START","path":"x","size":NaN}\n',
    "NUL in a path": b'{"type":"UPLOAD_START","path":"x\\u0000y"}\n',
    "NUL in the store": b'{"type":"UPLOAD_START","path":"x","store":"/a\\u0000b"}\n',
    "a lone surrogate in the path": b'{"type":"UPLOAD_START","path":"\\ud800"}\n',
    "a lone surrogate in the store": b'{"type":"UPLOAD_START","path":"x","store":"/\\ud800"}\n',
    "one in a URL": b'{"type":"UPLOAD_START","path":"x","store":"http://h/\\ud800"}\n',
    "one in a host": b'{"type":"UPLOAD_START","path":"x","store":"http://\\ud800/"}\n',
    "one in a file URL": b'{"type":"UPLOAD_START","path":"x","store":"file:///\\ud800"}\n',
    "one in a bucket": b'{"type":"UPLOAD_START","path":"x","store":"s3://\\ud800/x"}\n',
    "one in a user's name": b'{"type":"UPLOAD_START","path":"x","store":"http://h/",'
    b'"auth":{"username":"\\ud800","password":"x"}}\n',
    "one in a field's name": b'{"type":"UPLOAD_START","path":"x","\\ud800":1}\n',
    "a byte order mark": b'\xef\xbb\xbf{"type":"UPLOAD_START","path":"x"}\n',
    "a surrogate in UTF-8": b'{"type":"UPLOAD_START","path":"\xed\xa0\x80"}\n',
    "overlong UTF-8": b'{"type":"UPLOAD_START","path":"\xc0\xaf"}\n',
    "a control character": b'{"type":"UPLOAD_START","path":"a\tb"}\n',
}


def refused(message: dict[str, Any] | bytes, folder: Path) -> str:
    """Send a message, check what every refusal has in common, and return what it says."""
    with Owner(environment={"HOME": str(folder)}) as owner:
        if message:
            owner.send(message.removesuffix(b"\n") if isinstance(message, bytes) else message)
        status, end = owner.finish()
    assert status == 2
    assert owner.events == [end]
    assert (end["type"], end["code"], end["retryable"]) == ("ERROR", "BAD_MESSAGE", False)
    assert list(folder.iterdir()) == [], "something was created"
    told = end["message"]
    assert isinstance(told, str)
    assert told.isprintable()
    assert len(told) < 300
    return told


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Where what a message names with a relative path would be made."""
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.mark.parametrize(
    ("message", "field"), FIELDS, ids=[f"{n}-{field}" for n, (_, field) in enumerate(FIELDS)]
)
def test_the_field_is_named(message: dict[str, Any], field: str, folder: Path) -> None:
    told = refused(message, folder)
    assert told.startswith(field), f"{field} is not named in: {told}"


@pytest.mark.parametrize("name", LINES)
def test_no_message_at_all(name: str, folder: Path) -> None:
    refused(LINES[name], folder)
