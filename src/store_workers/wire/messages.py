"""The wire, in types: the messages in.

`docs/protocol.md` says the same to people, and `schema.py` to programs.
"""

from __future__ import annotations

from enum import Enum

from store_workers.errors import BadMessage
from store_workers.wire.records import (
    Argument,
    Array,
    Boolean,
    Choice,
    Dictionary,
    Digest,
    Integer,
    Nested,
    OneOf,
    Path,
    Record,
    String,
    brief,
    field,
    is_encodable,
    json_type,
    printable,
)

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, TypeAlias

    Message: TypeAlias = "UploadStart | DownloadStart | VerifyStart"

FILE_SIZE = Integer(0, (1 << 63) - 1)
MILLISECONDS = Integer(0, 86_400_000)
CONCURRENCY_LIMIT = 256

CHUNK_SIZES = tuple(512 * 1024 << doubled for doubled in range(5))
"""The sizes in bytes that the largest chunk of an upload may have: 512 KiB to 8 MiB."""


class MessageType(str, Enum):
    """What the owner can ask for."""

    SESSION_START = "SESSION_START"
    UPLOAD_START = "UPLOAD_START"
    DOWNLOAD_START = "DOWNLOAD_START"
    VERIFY_START = "VERIFY_START"
    CANCEL = "CANCEL"


class Boundaries(str, Enum):
    """What marks off the spans of a file behind the frames."""

    FIXED = "fixed"
    CONTENT = "content"


class Settings(Record):
    """How a run behaves; every field has a default that fits most hosts."""

    max_attempts: int = field(
        Integer(1, 100), default=10, doc="tries per chunk, the first included"
    )
    retry_delay_ms: int = field(
        MILLISECONDS,
        default=200,
        doc="the pause before the second try; it doubles from try to try, and each pause is a"
        " random part of that, at least its half",
    )
    retry_max_delay_ms: int = field(
        MILLISECONDS, default=10_000, doc="the longest pause, a store's Retry-After included"
    )
    timeout_ms: int = field(
        Integer(1, 86_400_000),
        default=30_000,
        doc="the longest silence of the store, and the time in which 1 KiB/s has to be moved",
    )
    concurrency: int = field(
        Integer(0, CONCURRENCY_LIMIT),
        default=0,
        doc="requests in flight at once; 0: found out while running",
    )
    rate_limit: int = field(
        Integer(0, (1 << 53) - 1),
        default=0,
        doc="bytes per second to or from the store, all requests together; 0: no limit",
    )
    chunk_size: int = field(
        OneOf(CHUNK_SIZES), default=CHUNK_SIZES[0], doc="bytes of the largest chunk; decides hashes"
    )
    boundaries: Boundaries = field(
        Choice(Boundaries),
        default=Boundaries.FIXED,
        doc="content: versions of a file share chunks; decides hashes",
    )
    compression_level: int = field(Integer(1, 19), default=3, doc="zstd's level; decides hashes")
    compression_threads: int = field(
        Integer(0, 256), default=0, doc="0: as many as there are usable cores"
    )
    overwrite: bool = field(
        Boolean(),
        default=False,
        doc="upload: send every chunk, also those that the store says it has",
    )
    create_store: bool = field(
        Boolean(), default=True, doc="false: a directory store must exist already"
    )
    chunk_events: bool = field(Boolean(), default=True, doc="false: no CHUNK events")
    progress_interval_ms: int = field(
        MILLISECONDS, default=500, doc="between two PROGRESS events; 0 turns them off"
    )


class Auth(Record):
    """Secrets for the store: a bearer token, a user with a password, or S3's keys."""

    bearer_token: str | None = field(
        String(least=1, secret=True), default=None, doc="sent as Authorization: Bearer"
    )
    username: str | None = field(String(least=1), default=None, doc="for HTTP's basic scheme")
    password: str | None = field(String(), default=None, doc="for HTTP's basic scheme")
    access_key_id: str | None = field(
        String(least=1, secret=True), default=None, doc="S3's access key"
    )
    secret_access_key: str | None = field(
        String(least=1, secret=True), default=None, doc="S3's secret key"
    )
    session_token: str | None = field(
        String(least=1, secret=True), default=None, doc="S3's token of temporary keys"
    )


class Tls(Record):
    """Whom to trust and who we are, as PEM files."""

    ca_file: str | None = field(
        Path(), default=None, doc="certificates of a private authority, instead of the system's"
    )
    cert_file: str | None = field(Path(), default=None, doc="the client's certificate")
    key_file: str | None = field(Path(), default=None, doc="its key, where it is not in cert_file")


AUTH_FORMS = (
    frozenset({"bearer_token"}),
    frozenset({"username", "password"}),
    frozenset({"access_key_id", "secret_access_key"}),
    frozenset({"access_key_id", "secret_access_key", "session_token"}),
)


OWNED_HEADERS = frozenset(
    {"accept", "accept-encoding", "cache-control", "connection", "content-encoding"}
    | {"content-length", "content-range", "content-type", "expect", "host", "if-none-match"}
    | {"keep-alive", "proxy-authorization", "proxy-connection", "range", "te", "trailer"}
    | {"transfer-encoding", "upgrade", "user-agent"}
)
"""Headers, in lower case, that the transport sets by itself."""

_TOKEN = frozenset("!#$%&'*+-.^_`|~0123456789abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ")


def _header_names() -> str:
    """The pattern of the names that headers may have; JSON Schema knows no folding of case."""
    owned = "|".join(
        "".join(f"[{letter.upper()}{letter}]" if letter.isalpha() else letter for letter in name)
        for name in sorted(OWNED_HEADERS)
    )
    return f"^(?!({owned})$)[!#$%&'*+.^_`|~0-9A-Za-z-]+$"


class Common(Record):
    """What a message and the defaults of a session's messages have in common."""

    type: MessageType = field(Choice(MessageType), doc="what to do")
    store: str | None = field(String(least=1), default=None, doc="where chunks live")
    auth: Auth | None = field(Nested(Auth), default=None, doc="secrets for the store")
    headers: dict[str, str] | None = field(
        Dictionary(String(secret=True), names=_header_names()),
        default=None,
        doc="for http(s):// stores: sent with every request; their values are secrets",
    )
    tls: Tls | None = field(Nested(Tls), default=None, doc="a private CA, a client certificate")
    settings: Settings = field(Nested(Settings), default=Settings(), doc="how the run behaves")


class SessionStart(Common):
    """Messages follow, one a line; what one leaves out comes from here."""

    max_files: int = field(Integer(1, 64), default=4, doc="messages worked at side by side")


class Cancel(Record):
    """In a session: stop the message that has this id."""

    type: MessageType = field(Choice(MessageType), doc="what to do")
    id: str = field(String(), doc="the id of a message that waits or is under way")


class Start(Common):
    """What the messages that ask for work have in common."""

    id: str | None = field(String(), default=None, doc="echoed in every event of the message")


class UploadStart(Start):
    """Put the file at `path`, or what a command writes, into the store."""

    path: str | None = field(Path(), default=None, doc="the file to read")
    command: tuple[str, ...] | None = field(
        Array(Argument(), least=1),
        default=None,
        doc="instead of path: a program and its arguments, whose output is stored",
    )
    size: int | None = field(FILE_SIZE, default=None, doc="the bytes that the file must have")
    sha256: bool = field(Boolean(), default=False, doc="compute the file's own digest too")
    verify: bool = field(
        Boolean(), default=False, doc="decode every frame again before its chunks are told"
    )
    manifest: bool = field(
        Boolean(), default=False, doc="store the list of chunks too, and tell its one hash"
    )


class Range(Record):
    """A part of a file."""

    offset: int = field(FILE_SIZE, doc="bytes before it")
    length: int | None = field(
        Integer(1, FILE_SIZE.maximum), default=None, doc="its bytes, cut at the file's end"
    )


class DownloadStart(Start):
    """Get the file back from the store and write it to `path`."""

    path: str = field(Path(), doc="the file to write")
    size: int | None = field(FILE_SIZE, default=None, doc="the bytes that the file must have")
    hashes: tuple[str, ...] | None = field(
        Array(Digest(), least=1), default=None, doc="the chunks, in order"
    )
    manifest: str | None = field(
        Digest(), default=None, doc="in place of hashes: the one hash that names their list"
    )
    sha256: str | None = field(Digest(), default=None, doc="the digest that the file must have")
    range: Range | None = field(
        Nested(Range), default=None, doc="write only these bytes of the file; needs its manifest"
    )


class VerifyStart(Start):
    """Check that a file can be got back, and write nothing."""

    hashes: tuple[str, ...] | None = field(
        Array(Digest(), least=1), default=None, doc="the chunks, in order"
    )
    manifest: str | None = field(
        Digest(), default=None, doc="in place of hashes: the one hash that names their list"
    )
    content: bool = field(
        Boolean(), default=True, doc="false: ask only whether each chunk is there, and how long"
    )


MESSAGES: dict[MessageType, type[UploadStart | DownloadStart | VerifyStart]] = {
    MessageType.UPLOAD_START: UploadStart,
    MessageType.DOWNLOAD_START: DownloadStart,
    MessageType.VERIFY_START: VerifyStart,
}
"""What asks for work."""

CONTROLS: dict[MessageType, type[SessionStart | Cancel]] = {
    MessageType.SESSION_START: SessionStart,
    MessageType.CANCEL: Cancel,
}
"""What governs a session."""

OF_THE_SESSION = ("concurrency", "rate_limit", "compression_threads")
"""Settings that all messages of a session share, and that none of them can have for itself."""

SECRETS = ("auth", "tls")
"""Fields that belong to a store: a message that names its own takes them from itself alone."""


def decode_message(value: Any) -> Message:
    """Make the message from its decoded JSON; raise `BadMessage` naming the field at fault."""
    return _message(value, _record_for(value, MESSAGES))


def decode_first(value: Any) -> Message | SessionStart:
    """Make the first message, which may begin a session. Raises `BadMessage`."""
    session = MessageType.SESSION_START
    record = _record_for(value, {session: SessionStart, **MESSAGES})
    if record is not SessionStart:
        return _message(value, record)
    start = SessionStart.decode(value)
    _check_common(start)
    return start


def decode_next(value: Any, defaults: dict[str, Any]) -> Message | Cancel:
    """Make a message of a session. Raises `BadMessage`.

    `defaults` is the session's own message, decoded from JSON: what this one leaves out comes from
    there, its `settings` field by field.
    """
    record = _record_for(value, {**MESSAGES, MessageType.CANCEL: Cancel})
    if record is Cancel:
        return Cancel.decode(value)
    if not isinstance(value.get("id"), str):
        raise BadMessage("id", "is missing or no string: in a session every message has one")
    return _message(_completed(value, defaults), record)


def _completed(value: dict[str, Any], defaults: dict[str, Any]) -> dict[str, Any]:
    """A message with the session's defaults for what it leaves out."""
    whole = dict(value)
    if "store" not in value:
        for name in ("store", *SECRETS):
            if name in defaults and name not in value:
                whole[name] = defaults[name]
    settings = value.get("settings", {})
    if isinstance(settings, dict):
        for name in OF_THE_SESSION:
            if name in settings:
                raise BadMessage(f"settings.{name}", "is the session's: it goes in SESSION_START")
        whole["settings"] = {**defaults.get("settings", {}), **settings}
    return whole


def _record_for(value: Any, records: dict[MessageType, type[Any]]) -> type[Any]:
    """The record that the `type` of a decoded JSON object names."""
    if not isinstance(value, dict):
        raise BadMessage("", f"expected one JSON object, got {json_type(value)}")
    expected = " or ".join(f'"{word.value}"' for word in records)
    if "type" not in value:
        raise BadMessage("type", f"is missing: expected {expected}")
    given = value["type"]
    if isinstance(given, str):
        for word, record in records.items():
            if given == word.value:
                return record
    got = brief(given) if isinstance(given, str) else json_type(given)
    raise BadMessage("type", f"expected {expected}, got {got}")


def _message(value: Any, record: type[Message]) -> Message:
    message = record.decode(value)
    _check_common(message)
    if isinstance(message, (DownloadStart, VerifyStart)):
        _check_list(message)
    if isinstance(message, DownloadStart):
        _check_range(message)
    if isinstance(message, UploadStart):
        _check_source(message)
    return message


def _check_common(message: Common) -> None:
    _check_auth(message.auth)
    _check_headers(message.headers)
    _check_tls(message.tls)


def message_id(value: Any) -> str | None:
    """The `id` of a message, also of one that cannot be accepted: its refusal carries it too."""
    found = value.get("id") if isinstance(value, dict) else None
    return found if isinstance(found, str) else None


def _check_list(message: DownloadStart | VerifyStart) -> None:
    if message.hashes is None and message.manifest is None:
        raise BadMessage("hashes", "is missing: expected the file's hashes, or its manifest")
    if message.hashes is not None and message.manifest is not None:
        raise BadMessage("manifest", "goes with no hashes: expected one of the two")


RANGE_GOES_WITHOUT = ("size", "sha256")
"""Fields that speak of a whole file."""


def _check_range(message: DownloadStart) -> None:
    if message.range is None:
        return
    if message.manifest is None:
        raise BadMessage("range", "needs the file's manifest")
    for name in RANGE_GOES_WITHOUT:
        if getattr(message, name) is not None:
            raise BadMessage("range", f"goes with no {name}, which speaks of the whole file")


def _check_source(message: UploadStart) -> None:
    if message.path is None and message.command is None:
        raise BadMessage("path", "is missing: expected a path, or a command")
    if message.path is not None and message.command is not None:
        raise BadMessage("command", "goes with no path: expected one of the two")
    if message.command is not None and not message.command[0]:
        raise BadMessage("command[0]", "expected the name of a program, got an empty string")


def _check_auth(auth: Auth | None) -> None:
    if auth is None:
        return
    given = frozenset(auth.encode())
    if given not in AUTH_FORMS:
        raise BadMessage(
            "auth",
            "expected bearer_token, or username and password, or access_key_id and"
            " secret_access_key, where session_token may stand beside them",
        )
    for name in ("username", "password"):
        if not is_encodable(getattr(auth, name) or ""):
            raise BadMessage(f"auth.{name}", "holds a lone surrogate that stands for no byte")
    if auth.username is not None and ":" in auth.username:
        raise BadMessage("auth.username", "a user name cannot hold a colon (RFC 7617)")


def _check_headers(headers: dict[str, str] | None) -> None:
    names: set[str] = set()
    for name in headers or {}:
        where = f"headers.{printable(name)}"
        if not name or not _TOKEN.issuperset(name):
            raise BadMessage(where, "is no header's name (RFC 9110, 5.1)")
        if name.lower() in OWNED_HEADERS:
            raise BadMessage(where, "is set by the worker itself, and cannot be given")
        if name.lower() in names:
            raise BadMessage(where, "is given twice")
        names.add(name.lower())


def _check_tls(tls: Tls | None) -> None:
    if tls is not None and tls.key_file is not None and tls.cert_file is None:
        raise BadMessage("tls.key_file", "needs tls.cert_file beside it")
