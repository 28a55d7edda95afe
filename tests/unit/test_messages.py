"""Messages and events: what is accepted, the field of each refusal, and the form of events."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from store_workers.errors import (
    BadMessage,
    Cancelled,
    ChunkFailure,
    ErrorCode,
    StoreFailure,
    StreamCorrupt,
    WorkerError,
)
from store_workers.wire.events import (
    EVENTS,
    TERMINAL,
    ChunkStored,
    ErrorEvent,
    EventType,
    UploadProgress,
    error_event,
)
from store_workers.wire.messages import (
    Auth,
    DownloadStart,
    MessageType,
    Settings,
    UploadStart,
    decode_message,
    message_id,
)
from store_workers.wire.reader import decode_json

HASH = "0123456789abcdef" * 4
UPLOAD: dict[str, Any] = {"type": "UPLOAD_START", "path": "/file"}
DOWNLOAD: dict[str, Any] = {"type": "DOWNLOAD_START", "path": "/file", "hashes": [HASH]}
VERIFY: dict[str, Any] = {"type": "VERIFY_START", "hashes": [HASH]}
BY_NAME: dict[str, Any] = {"type": "DOWNLOAD_START", "path": "/file", "manifest": HASH}
SECRET = "hunter2"
MOST_BYTES = (1 << 63) - 1
DAY = 86_400_000


def test_the_words_of_the_contract() -> None:
    assert {word.value for word in MessageType} == {
        "UPLOAD_START",
        "DOWNLOAD_START",
        "VERIFY_START",
        "SESSION_START",
        "CANCEL",
    }
    assert {word.value for word in EventType} == {
        "CHUNK",
        "CHUNK_RETRY",
        "CHUNK_BAD",
        "PROGRESS",
        "FILE_UPLOADED",
        "FILE_DOWNLOADED",
        "FILE_VERIFIED",
        "SESSION_ENDED",
        "WARNING",
        "ERROR",
    }
    assert {word.value for word in ErrorCode} == {
        "BAD_MESSAGE",
        "FILE_NOT_FOUND",
        "FILE_ACCESS_DENIED",
        "FILE_READ_FAILED",
        "FILE_WRITE_FAILED",
        "STORE_UNAVAILABLE",
        "STORE_ACCESS_DENIED",
        "STORE_REJECTED",
        "CHUNK_NOT_FOUND",
        "CHUNK_CORRUPT",
        "STREAM_CORRUPT",
        "FILE_MISMATCH",
        "CANCELLED",
        "HOST_UNSUPPORTED",
        "INTERNAL",
    }
    assert {kind.value for kind in TERMINAL} == {
        "FILE_UPLOADED",
        "FILE_DOWNLOADED",
        "FILE_VERIFIED",
        "SESSION_ENDED",
        "ERROR",
    }
    assert {event.type for event in EVENTS} == set(EventType)


def test_the_defaults_of_the_contract() -> None:
    assert decode_message(UPLOAD).settings.encode() == {
        "max_attempts": 10,
        "retry_delay_ms": 200,
        "retry_max_delay_ms": 10000,
        "timeout_ms": 30000,
        "concurrency": 0,
        "rate_limit": 0,
        "chunk_size": 524288,
        "boundaries": "fixed",
        "compression_level": 3,
        "compression_threads": 0,
        "overwrite": False,
        "create_store": True,
        "chunk_events": True,
        "progress_interval_ms": 500,
    }
    message = decode_message(UPLOAD)
    assert isinstance(message, UploadStart)
    assert (message.sha256, message.verify) == (False, False)
    assert (message.store, message.id, message.auth, message.tls, message.size) == (None,) * 5


def test_a_whole_upload() -> None:
    message = decode_message(
        {
            **UPLOAD,
            "store": "dir",
            "id": "i",
            "size": 5,
            "sha256": True,
            "verify": True,
            "auth": {"bearer_token": SECRET},
            "headers": {"X-Token": SECRET},
            "tls": {"ca_file": "ca", "cert_file": "cert", "key_file": "key"},
            "settings": {"concurrency": 3},
        }
    )
    assert isinstance(message, UploadStart)
    assert (message.store, message.id, message.size) == ("dir", "i", 5)
    assert (message.sha256, message.verify, message.settings.concurrency) == (True, True, 3)
    assert message.auth == Auth(bearer_token=SECRET)


def test_a_whole_download() -> None:
    message = decode_message({**DOWNLOAD, "hashes": [HASH, HASH], "size": 0, "sha256": HASH})
    assert isinstance(message, DownloadStart)
    assert (message.hashes, message.size, message.sha256) == ((HASH, HASH), 0, HASH)


RANGES = {
    "max_attempts": (1, 100),
    "retry_delay_ms": (0, DAY),
    "retry_max_delay_ms": (0, DAY),
    "timeout_ms": (1, DAY),
    "concurrency": (0, 256),
    "rate_limit": (0, (1 << 53) - 1),
    "compression_level": (1, 19),
    "compression_threads": (0, 256),
    "progress_interval_ms": (0, DAY),
}
SWITCHES = ("overwrite", "create_store", "chunk_events")
CHOICES = {
    "chunk_size": (
        [1 << 19, 1 << 20, 1 << 21, 1 << 22, 1 << 23],
        [0, 4096, (1 << 19) + 1, 1 << 24],
    ),
}


@pytest.mark.parametrize("name", CHOICES)
def test_settings_of_a_few_values(name: str) -> None:
    values, others = CHOICES[name]
    for value in values:
        message = decode_message({**UPLOAD, "settings": {name: value}})
        assert getattr(message.settings, name) == value
    for bad in (*others, -(10**30), None, True, str(values[0]), float(values[0]), [values[0]]):
        with pytest.raises(
            BadMessage, match=rf"settings.{name}: expected .* or {values[-1]}, got "
        ):
            decode_message({**UPLOAD, "settings": {name: bad}})


def test_boundaries() -> None:
    for value in ("fixed", "content"):
        assert (
            decode_message({**UPLOAD, "settings": {"boundaries": value}}).settings.boundaries
            == value
        )
    for bad in ("Content", "", None, 1, ["fixed"]):
        with pytest.raises(BadMessage, match=r'settings\.boundaries: expected "fixed" or '):
            decode_message({**UPLOAD, "settings": {"boundaries": bad}})


@pytest.mark.parametrize("name", SWITCHES)
def test_switches(name: str) -> None:
    for value in (True, False):
        assert (
            getattr(decode_message({**UPLOAD, "settings": {name: value}}).settings, name) is value
        )
    for bad in (0, 1, "true", None):
        with pytest.raises(BadMessage, match=f"settings.{name}: expected true or false"):
            decode_message({**UPLOAD, "settings": {name: bad}})


def test_every_setting_has_its_range_here() -> None:
    assert {*RANGES, *SWITCHES, *CHOICES, "boundaries"} == set(Settings.FIELDS)


@pytest.mark.parametrize(("name", "bounds"), RANGES.items())
def test_settings_at_both_bounds(name: str, bounds: tuple[int, int]) -> None:
    lowest, highest = bounds
    for good in bounds:
        message = decode_message({**UPLOAD, "settings": {name: good}})
        assert getattr(message.settings, name) == good
    for bad in (lowest - 1, highest + 1, -(10**30), 10**30):
        with pytest.raises(BadMessage) as refused:
            decode_message({**UPLOAD, "settings": {name: bad}})
        assert refused.value.field == f"settings.{name}"
        assert f"expected an integer from {lowest} to {highest}, got " in refused.value.message
    others: list[Any] = [None, True, float(lowest), str(lowest), [lowest], {}]
    for wrong in others:
        with pytest.raises(BadMessage) as refused:
            decode_message({**UPLOAD, "settings": {name: wrong}})
        assert refused.value.field == f"settings.{name}"


def test_the_example_of_the_contract() -> None:
    with pytest.raises(BadMessage) as refused:
        decode_message({**UPLOAD, "settings": {"concurrency": -1}})
    expected = "settings.concurrency: expected an integer from 0 to 256, got -1"
    assert refused.value.message == expected


REFUSED: list[tuple[str, Any]] = [
    ("", None),
    ("", []),
    ("", [UPLOAD]),
    ("", "UPLOAD_START"),
    ("", 5),
    ("", True),
    ("type", {}),
    ("type", {"path": "/file"}),
    ("type", {**UPLOAD, "type": None}),
    ("type", {**UPLOAD, "type": ["UPLOAD_START"]}),
    ("type", {**UPLOAD, "type": "upload_start"}),
    ("type", {**UPLOAD, "type": "UPLOAD_START "}),
    ("type", {**UPLOAD, "type": "CHUNK"}),
    ("path", {"type": "UPLOAD_START"}),
    ("path", {**UPLOAD, "path": ""}),
    ("path", {**UPLOAD, "path": None}),
    ("path", {**UPLOAD, "path": 5}),
    ("path", {**UPLOAD, "path": ["/file"]}),
    ("path", {**UPLOAD, "path": "a\0b"}),
    ("path", {**UPLOAD, "path": "a\ud800b"}),
    ("path", {**DOWNLOAD, "path": "\udfff"}),
    ("store", {**UPLOAD, "store": ""}),
    ("store", {**UPLOAD, "store": None}),
    ("store", {**UPLOAD, "store": 5}),
    ("id", {**UPLOAD, "id": 5}),
    ("id", {**UPLOAD, "id": None}),
    ("id", {**UPLOAD, "id": {"a": 1}}),
    ("size", {**UPLOAD, "size": -1}),
    ("size", {**UPLOAD, "size": 1.0}),
    ("size", {**UPLOAD, "size": "1"}),
    ("size", {**UPLOAD, "size": True}),
    ("size", {**UPLOAD, "size": None}),
    ("size", {**UPLOAD, "size": MOST_BYTES + 1}),
    ("size", {**UPLOAD, "size": 10**400}),
    ("sha256", {**UPLOAD, "sha256": HASH}),
    ("sha256", {**UPLOAD, "sha256": 1}),
    ("verify", {**UPLOAD, "verify": "true"}),
    ("verify", {**DOWNLOAD, "verify": True}),
    ("hashes", {**UPLOAD, "hashes": [HASH]}),
    ("hashes", {"type": "DOWNLOAD_START", "path": "/file"}),
    ("hashes", {"type": "VERIFY_START"}),
    ("manifest", {**DOWNLOAD, "manifest": HASH}),
    ("manifest", {**VERIFY, "manifest": HASH}),
    ("manifest", {**UPLOAD, "manifest": HASH}),
    ("manifest", {"type": "DOWNLOAD_START", "path": "/file", "manifest": HASH[1:]}),
    ("manifest", {"type": "DOWNLOAD_START", "path": "/file", "manifest": True}),
    ("range", {**DOWNLOAD, "range": {"offset": 0}}),
    ("range", {**BY_NAME, "range": 5}),
    ("range", {**BY_NAME, "range": {"offset": 0}, "size": 5}),
    ("range", {**BY_NAME, "range": {"offset": 0}, "sha256": HASH}),
    ("range.offset", {**BY_NAME, "range": {}}),
    ("range.offset", {**BY_NAME, "range": {"offset": -1}}),
    ("range.offset", {**BY_NAME, "range": {"offset": True}}),
    ("range.length", {**BY_NAME, "range": {"offset": 0, "length": 0}}),
    ("range.end", {**BY_NAME, "range": {"offset": 0, "end": 5}}),
    ("path", {**VERIFY, "path": "/file"}),
    ("size", {**VERIFY, "size": 5}),
    ("content", {**VERIFY, "content": 0}),
    ("content", {**DOWNLOAD, "content": False}),
    ("hashes", {**DOWNLOAD, "hashes": []}),
    ("hashes", {**DOWNLOAD, "hashes": HASH}),
    ("hashes", {**DOWNLOAD, "hashes": {"0": HASH}}),
    ("hashes", {**DOWNLOAD, "hashes": None}),
    ("hashes[0]", {**DOWNLOAD, "hashes": [None]}),
    ("hashes[0]", {**DOWNLOAD, "hashes": [HASH.upper()]}),
    ("hashes[1]", {**DOWNLOAD, "hashes": [HASH, HASH[:-1]]}),
    ("hashes[2]", {**DOWNLOAD, "hashes": [HASH, HASH, HASH + "0"]}),
    ("hashes[0]", {**DOWNLOAD, "hashes": [HASH[:-1] + "\n"]}),
    ("hashes[0]", {**DOWNLOAD, "hashes": [HASH[:-1] + "g"]}),
    ("hashes[0]", {**DOWNLOAD, "hashes": [HASH[:-1] + "٣"]}),
    ("hashes[0]", {**DOWNLOAD, "hashes": [[HASH]]}),
    ("sha256", {**DOWNLOAD, "sha256": True}),
    ("sha256", {**DOWNLOAD, "sha256": HASH[:-1]}),
    ("settings", {**UPLOAD, "settings": None}),
    ("settings", {**UPLOAD, "settings": []}),
    ("settings", {**UPLOAD, "settings": 5}),
    ("settings.unheard_of", {**UPLOAD, "settings": {"unheard_of": 1}}),
    ("settings.Concurrency", {**UPLOAD, "settings": {"Concurrency": 1}}),
    ("unheard_of", {**UPLOAD, "unheard_of": None}),
    ("a\\nb", {**UPLOAD, "a\nb": None}),
    ("auth", {**UPLOAD, "auth": {}}),
    ("auth", {**UPLOAD, "auth": "token"}),
    ("auth", {**UPLOAD, "auth": {"username": "u"}}),
    ("auth", {**UPLOAD, "auth": {"password": SECRET}}),
    ("auth", {**UPLOAD, "auth": {"bearer_token": SECRET, "username": "u"}}),
    ("auth", {**UPLOAD, "auth": {"access_key_id": SECRET}}),
    ("auth", {**UPLOAD, "auth": {"secret_access_key": SECRET}}),
    ("auth", {**UPLOAD, "auth": {"session_token": SECRET}}),
    ("auth", {**UPLOAD, "auth": {"access_key_id": SECRET, "session_token": SECRET}}),
    ("auth.bearer_token", {**UPLOAD, "auth": {"bearer_token": ""}}),
    ("auth.bearer_token", {**UPLOAD, "auth": {"bearer_token": 5}}),
    ("auth.bearer_token", {**UPLOAD, "auth": {"bearer_token": None}}),
    ("auth.bearer_token", {**UPLOAD, "auth": {"bearer_token": SECRET + "\r\nX: y"}}),
    ("auth.bearer_token", {**UPLOAD, "auth": {"bearer_token": SECRET + "ü"}}),
    ("auth.token", {**UPLOAD, "auth": {"token": SECRET}}),
    ("auth.username", {**UPLOAD, "auth": {"username": "a:b", "password": SECRET}}),
    ("auth.username", {**UPLOAD, "auth": {"username": "", "password": SECRET}}),
    ("auth.username", {**UPLOAD, "auth": {"username": "\ud800", "password": SECRET}}),
    ("auth.password", {**UPLOAD, "auth": {"username": "u", "password": SECRET + "\ud800"}}),
    ("auth.password", {**UPLOAD, "auth": {"username": "u", "password": [SECRET]}}),
    ("auth.access_key_id", {**UPLOAD, "auth": {"access_key_id": SECRET + "\n"}}),
    ("headers", {**UPLOAD, "headers": []}),
    ("headers", {**UPLOAD, "headers": SECRET}),
    ("headers.X-Token", {**UPLOAD, "headers": {"X-Token": 5}}),
    ("headers.X-Token", {**UPLOAD, "headers": {"X-Token": SECRET + "\r\nX: y"}}),
    ("headers.X-Token", {**UPLOAD, "headers": {"X-Token": SECRET + "ü"}}),
    ("headers.", {**UPLOAD, "headers": {"": SECRET}}),
    ("headers.X Token", {**UPLOAD, "headers": {"X Token": SECRET}}),
    ("headers.X:", {**UPLOAD, "headers": {"X:": SECRET}}),
    ("headers.x", {**UPLOAD, "headers": {"X": SECRET, "x": SECRET}}),
    *(
        (f"headers.{name}", {**UPLOAD, "headers": {name: SECRET}})
        for name in (
            "Host",
            "content-length",
            "Transfer-Encoding",
            "CONNECTION",
            "Range",
            "Content-Type",
            "Cache-Control",
            "Expect",
        )
    ),
    ("tls", {**UPLOAD, "tls": []}),
    ("tls.ca_file", {**UPLOAD, "tls": {"ca_file": ""}}),
    ("tls.ca_file", {**UPLOAD, "tls": {"ca_file": "a\0"}}),
    ("tls.ca_file", {**UPLOAD, "tls": {"ca_file": True}}),
    ("tls.key_file", {**UPLOAD, "tls": {"key_file": "key"}}),
    ("tls.verify", {**UPLOAD, "tls": {"verify": False}}),
]


@pytest.mark.parametrize(("field", "value"), REFUSED)
def test_refusals_name_their_field_and_show_no_secret(field: str, value: Any) -> None:
    with pytest.raises(BadMessage) as refused:
        decode_message(value)
    assert refused.value.field == field
    assert refused.value.code is ErrorCode.BAD_MESSAGE
    text = refused.value.message
    assert text.startswith(f"{field}: " if field else "expected one JSON object")
    assert SECRET not in text
    assert text.isprintable()
    assert len(text) < 300


@pytest.mark.parametrize(
    "auth",
    [
        {"bearer_token": "t"},
        {"username": "u", "password": ""},
        {"username": "ü", "password": "a:b\udcff"},
        {"access_key_id": "a", "secret_access_key": "s"},
        {"access_key_id": "a", "secret_access_key": "s", "session_token": "t"},
    ],
)
def test_the_forms_of_auth(auth: dict[str, str]) -> None:
    found = decode_message({**UPLOAD, "auth": auth}).auth
    assert found is not None
    assert found.encode() == auth


@pytest.mark.parametrize(
    "tls",
    [{}, {"ca_file": "ca"}, {"cert_file": "cert"}, {"cert_file": "cert", "key_file": "key"}],
)
def test_the_forms_of_tls(tls: dict[str, str]) -> None:
    found = decode_message({**UPLOAD, "tls": tls}).tls
    assert found is not None
    assert found.encode() == tls


@pytest.mark.parametrize("path", ["/a b/ü", "relative", "raw\udcff", "new\nline", "-", " "])
def test_any_file_name_comes_through(path: str) -> None:
    assert getattr(decode_message({**UPLOAD, "path": path}), "path", None) == path


def test_long_foreign_text_is_cut() -> None:
    with pytest.raises(BadMessage) as refused:
        decode_message({**DOWNLOAD, "hashes": ["a" * 1_000_000]})
    assert len(refused.value.message) < 200
    with pytest.raises(BadMessage) as refused:
        decode_message({**UPLOAD, "x" * 1_000_000: 1})
    assert len(refused.value.message) < 200


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        ({"id": "a"}, "a"),
        ({"id": "", "type": 5}, ""),
        ({"id": "\ud800"}, "\ud800"),
        ({"id": 5}, None),
        ({"id": None}, None),
        ({}, None),
        ([], None),
        (None, None),
        ("id", None),
    ],
)
def test_the_id_of_what_cannot_be_accepted(value: Any, expected: str | None) -> None:
    assert message_id(value) == expected


FIELDS = [
    "type",
    "path",
    "store",
    "id",
    "auth",
    "headers",
    "tls",
    "settings",
    "size",
    "hashes",
    "sha256",
]
SCALARS = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(),
    st.integers(min_value=10**300, max_value=10**301),
    st.floats(),
    st.text(st.characters(), max_size=8),  # lone surrogates and NUL among them
    st.sampled_from([HASH, "UPLOAD_START", "DOWNLOAD_START", "\0", "\ud800", SECRET]),
)
VALUES = st.recursive(
    SCALARS,
    lambda inner: st.one_of(
        st.lists(inner, max_size=4),
        st.dictionaries(
            st.sampled_from(FIELDS + list(Settings.FIELDS) + list(Auth.FIELDS)) | st.text(),
            inner,
            max_size=4,
        ),
    ),
    max_leaves=12,
)


@given(VALUES)
def test_only_a_refusal_comes_of_any_value(value: Any) -> None:
    decodes_or_is_refused(value)


@given(
    st.sampled_from([UPLOAD, DOWNLOAD]),
    st.dictionaries(st.sampled_from([*FIELDS, "verify"]), VALUES, max_size=3),
)
def test_only_a_refusal_comes_of_a_message_with_any_fields(
    base: dict[str, Any], fields: dict[str, Any]
) -> None:
    decodes_or_is_refused({**base, **fields})


def decodes_or_is_refused(value: Any) -> None:
    try:
        message = decode_message(value)
    except BadMessage as refused:
        assert refused.message  # noqa: PT017 - either outcome is right
        json.dumps(error_event(refused).encode())
        return
    assert isinstance(value, dict)
    assert getattr(message, "path", None) == value.get("path")


@given(st.text(st.characters()) | st.text(st.sampled_from('{}[]",:\\u0dD89eE+-.aN '), max_size=60))
def test_only_a_refusal_comes_of_any_text(text: str) -> None:
    for candidate in (text, "{" + text, '{"a":' + text + "}"):
        try:
            decode_json(candidate)
        except BadMessage:
            continue
        json.loads(candidate)  # what is accepted is JSON


@pytest.mark.parametrize(
    "text",
    [
        "[" * 200_000,
        '{"a":' * 200_000,
        "[" * 200_000 + "]" * 200_000,
        '{"a":' * 200_000 + "1" + "}" * 200_000,
        "9" * 1_000_000,
        '{"size":' + "9" * 1_000_000 + "}",
        "1" * 5000,
        "NaN",
        '{"size":NaN}',
        '{"size":-Infinity}',
        '{"a":1,"a":2}',
        '{"b":{"a":1,"b":2,"a":1}}',
        "{'a':1}",
        '{"a":1,}',
        '{"a":01}',
        '{"a":"\t"}',
        '{"a":"\\x"}',
        '{"a":1} {"a":1}',
        "\ufeff{}",
        "tru",
        "",
    ],
    ids=lambda text: text[:12],
)
def test_json_that_is_none(text: str) -> None:
    with pytest.raises(BadMessage) as refused:
        decode_json(text)
    assert len(refused.value.message) < 200


def test_a_name_that_is_given_twice_is_named_however_many_there_are() -> None:
    names = [f'"{number}":1' for number in range(200_000)]
    with pytest.raises(BadMessage) as refused:
        decode_json("{" + ",".join([*names, '"199999":2']) + "}")
    assert refused.value.field == "199999"


def test_deep_values_of_a_known_field_are_refused_by_its_name() -> None:
    deep: Any = []
    for _ in range(500):
        deep = [deep]
    with pytest.raises(BadMessage) as refused:
        decode_message({**UPLOAD, "settings": {"concurrency": deep}})
    assert refused.value.field == "settings.concurrency"


def test_records_are_immutable_and_complete() -> None:
    settings = Settings()
    with pytest.raises(AttributeError):
        settings.concurrency = 5  # type: ignore[misc]
    with pytest.raises(TypeError):
        Settings(unheard_of=1)  # type: ignore[call-arg]
    with pytest.raises(TypeError):
        ChunkStored(index=1)  # type: ignore[call-arg]
    assert Settings() == Settings()
    assert Settings(concurrency=3) != Settings()


def test_null_is_told_where_it_means_unknown_and_left_out_elsewhere() -> None:
    told = UploadProgress(
        concurrency=8, read_bytes=1, total_bytes=None, stored_bytes=0, stored_chunks=0
    )
    assert told.encode() == {
        "concurrency": 8,
        "read_bytes": 1,
        "total_bytes": None,
        "stored_bytes": 0,
        "stored_chunks": 0,
    }
    plain = ErrorEvent(code=ErrorCode.INTERNAL, message="m", retryable=False)
    assert plain.encode() == {"code": "INTERNAL", "message": "m", "retryable": False}


RETRYABLE = {ErrorCode.STORE_UNAVAILABLE, ErrorCode.CANCELLED}


@pytest.mark.parametrize("code", list(ErrorCode))
def test_whether_sending_it_again_has_a_chance(code: ErrorCode) -> None:
    event = error_event(WorkerError(code, "m", path="p", index=0, attempts=1, http_status=500))
    assert event.retryable == (code in RETRYABLE)
    assert event.encode() == {
        "code": code.value,
        "message": "m",
        "index": 0,
        "attempts": 1,
        "path": "p",
        "http_status": 500,
        "retryable": code in RETRYABLE,
    }


def test_errors_carry_their_evidence() -> None:
    cause = StoreFailure(ErrorCode.STORE_REJECTED, "no", http_status=400)
    assert ChunkFailure(cause, 3, HASH, 2).evidence() == {
        "index": 3,
        "hash": HASH,
        "attempts": 2,
        "http_status": 400,
    }
    assert Cancelled(15, "SIGTERM").signal_number == 15
    assert Cancelled(15, "SIGTERM").code is ErrorCode.CANCELLED
    assert StreamCorrupt("m").code is ErrorCode.STREAM_CORRUPT
