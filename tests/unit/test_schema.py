"""The JSON Schema agrees with the decoder, and every event matches it."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from jsonschema import Draft202012Validator  # type: ignore[import-untyped]

from store_workers.errors import BadMessage, ErrorCode, WarningCode
from store_workers.wire.events import (
    EVENTS,
    ChunkBad,
    ChunkRetry,
    ChunkStored,
    DownloadProgress,
    ErrorEvent,
    FileDownloaded,
    FileUploaded,
    FileVerified,
    SessionEnded,
    UploadProgress,
    VerifyProgress,
    Warning,
)
from store_workers.wire.messages import decode_message
from store_workers.wire.schema import schema
from store_workers.wire.writer import encode
from tests.unit.test_messages import DOWNLOAD, HASH, RANGES, REFUSED, SCALARS, UPLOAD, VERIFY

if TYPE_CHECKING:
    from store_workers.wire.events import Event

SCHEMA = schema()
VALIDATOR = Draft202012Validator(SCHEMA)
MESSAGE = Draft202012Validator({**SCHEMA, "anyOf": [{"$ref": "#/$defs/Message"}]})

SAMPLES: list[Event] = [
    ChunkStored(index=0, hash=HASH, size=524288, new=True, attempts=1),
    ChunkRetry(
        index=0, hash=HASH, code=ErrorCode.CHUNK_CORRUPT, message="m", attempt=1, delay_ms=0
    ),
    UploadProgress(concurrency=8, read_bytes=0, total_bytes=None, stored_bytes=0, stored_chunks=0),
    UploadProgress(concurrency=8, read_bytes=0, total_bytes=5, stored_bytes=0, stored_chunks=0),
    DownloadProgress(
        concurrency=8,
        fetched_bytes=0,
        fetched_chunks=0,
        total_chunks=1,
        written_bytes=0,
        total_bytes=None,
    ),
    FileUploaded(
        path="/f",
        store="/s",
        size=0,
        compressed_size=1,
        chunks=1,
        hashes=(HASH,),
        new_chunks=0,
        new_bytes=0,
        changed=False,
        duration_ms=0,
    ),
    FileDownloaded(
        path="/f", store="/s", size=0, compressed_size=1, chunks=1, duration_ms=0, sha256=HASH
    ),
    ChunkBad(index=0, hash=HASH, code=ErrorCode.CHUNK_NOT_FOUND, message="m"),
    VerifyProgress(
        concurrency=8, fetched_bytes=0, fetched_chunks=0, total_chunks=1, total_bytes=None
    ),
    FileVerified(store="/s", size=None, compressed_size=1, chunks=1, duration_ms=0),
    SessionEnded(files=2, failed=1, duration_ms=0),
    Warning(code=WarningCode.STORE_SLOW, message="m"),
    ErrorEvent(code=ErrorCode.STORE_UNAVAILABLE, message="m", retryable=True, http_status=503),
]


def test_it_is_a_schema_of_its_dialect() -> None:
    Draft202012Validator.check_schema(SCHEMA)
    assert SCHEMA["$schema"] == "https://json-schema.org/draft/2020-12/schema"
    assert json.loads(json.dumps(SCHEMA)) == SCHEMA


def test_every_event_is_sampled() -> None:
    assert {type(sample) for sample in SAMPLES} == set(EVENTS)


@pytest.mark.parametrize("event", SAMPLES, ids=lambda event: type(event).__name__)
@pytest.mark.parametrize("run_id", [None, "i"])
def test_every_event_fits(event: Event, run_id: str | None) -> None:
    line = json.loads(bytes(encode(event, run_id)))
    VALIDATOR.validate(line)
    only = Draft202012Validator({**SCHEMA, "anyOf": [{"$ref": f"#/$defs/{type(event).__name__}"}]})
    only.validate(line)
    only.validate({**line, "of_a_later_version": 1})
    for name in line.keys() - {"id", "http_status", "sha256"}:
        less = {other: value for other, value in line.items() if other != name}
        assert not only.is_valid(less), f"{name} is not required"
    assert not only.is_valid({**line, "type": "OTHER"})


LOOSER = {"path", "tls.ca_file", "auth.username", "auth.password", "auth.bearer_token", "store"}
"""Fields with a rule on their text that JSON Schema cannot say, or says no better than words."""


@pytest.mark.parametrize(("field", "value"), REFUSED)
def test_what_is_refused_does_not_fit(field: str, value: Any) -> None:
    if field in LOOSER and any(map(is_odd, texts(value))):
        return
    if field == "headers.x":
        return  # a header given twice, in two spellings
    if isinstance(value, dict) and value.get("size") == 1.0:
        return  # to JSON Schema 1.0 is an integer
    assert not MESSAGE.is_valid(value)


@pytest.mark.parametrize(("name", "bounds"), RANGES.items())
def test_the_ranges_are_told(name: str, bounds: tuple[int, int]) -> None:
    for bound in bounds:
        assert MESSAGE.is_valid({**UPLOAD, "settings": {name: bound}})
    for bad in (bounds[0] - 1, bounds[1] + 1):
        assert not MESSAGE.is_valid({**UPLOAD, "settings": {name: bad}})


FIELD = st.sampled_from(
    ["store", "id", "size", "sha256", "verify", "hashes", "manifest", "content"]
)
AUTH = st.dictionaries(
    st.sampled_from(list(SCHEMA["$defs"]["Auth"]["properties"])), st.just("x"), max_size=4
)
TLS = st.dictionaries(st.sampled_from(["ca_file", "cert_file", "key_file"]), st.just("x"))


@given(
    st.sampled_from([UPLOAD, DOWNLOAD, VERIFY]),
    st.dictionaries(FIELD, SCALARS, max_size=2),
    AUTH,
    TLS,
)
def test_it_accepts_what_the_decoder_accepts(
    base: dict[str, Any], fields: dict[str, Any], auth: dict[str, str], tls: dict[str, str]
) -> None:
    value = {**base, **fields, "auth": auth, "tls": tls}
    if isinstance(value.get("size"), float):
        return
    try:
        decode_message(value)
    except BadMessage:
        assert not MESSAGE.is_valid(value)
    else:
        MESSAGE.validate(value)


def texts(value: Any) -> list[str]:
    """All strings in a value."""
    if isinstance(value, str):
        return [value]
    inner = value.values() if isinstance(value, dict) else value if isinstance(value, list) else []
    return [text for item in inner for text in texts(item)]


def is_odd(text: str) -> bool:
    return not text.isprintable() or not text.isascii() or ":" in text
