"""Declares the messages. `schema.py` and the tables of `docs/protocol.md` are made from this."""

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
    """The types of messages."""

    SESSION_START = "SESSION_START"
    UPLOAD_START = "UPLOAD_START"
    DOWNLOAD_START = "DOWNLOAD_START"
    VERIFY_START = "VERIFY_START"
    CANCEL = "CANCEL"


class Boundaries(str, Enum):
    """The kinds of boundaries of spans."""

    FIXED = "fixed"
    CONTENT = "content"


class Settings(Record):
    """The settings of a run; every field has a default that suits most hosts."""

    max_attempts: int = field(
        Integer(1, 100), default=10, doc="Tries per chunk, the first one included."
    )
    retry_delay_ms: int = field(
        MILLISECONDS,
        default=200,
        doc="The pause before the second try. It doubles from try to try. Each pause is a "
        "random part of it, at least half, so that many workers do not return at the same"
        " moment.",
    )
    retry_max_delay_ms: int = field(
        MILLISECONDS,
        default=10_000,
        doc="The longest pause. A store's `Retry-After` header is honoured up to this.",
    )
    timeout_ms: int = field(
        Integer(1, 86_400_000),
        default=30_000,
        doc="The longest silence of the store while connecting, reading or writing. A "
        "transfer that moves less than 1 KiB/s over this time is also given up.",
    )
    concurrency: int = field(
        Integer(0, CONCURRENCY_LIMIT),
        default=0,
        doc="Requests in flight at once; 0 adapts the number while running to the throughput "
        "and to errors of the store.",
    )
    rate_limit: int = field(
        Integer(0, (1 << 53) - 1),
        default=0,
        doc="Bytes per second to or from the store, all requests together. 0: no limit. If "
        "`concurrency` is 0, the number of requests is limited so that each gets at least"
        " 16 KiB/s.",
    )
    chunk_size: int = field(
        OneOf(CHUNK_SIZES),
        default=CHUNK_SIZES[0],
        doc="Bytes of the largest chunk. Decides hashes. Downloads read chunks of every size,"
        " whatever this is.",
    )
    boundaries: Boundaries = field(
        Choice(Boundaries),
        default=Boundaries.FIXED,
        doc="Where frames end: `fixed`, after a fixed number of bytes; `content`, where the "
        "content says so, which lets versions of a file share chunks. Decides hashes.",
    )
    compression_level: int = field(Integer(1, 19), default=3, doc="The zstd level. Decides hashes.")
    compression_threads: int = field(
        Integer(0, 256),
        default=0,
        doc="Threads that compress or decompress. 0: one per usable core (CPU affinity and "
        "the container's quota are respected), at most 16. Does not change hashes.",
    )
    overwrite: bool = field(
        Boolean(),
        default=False,
        doc="Upload: send every chunk, also those that the store reports as present. Repairs "
        "a damaged store. Each chunk sent counts as new.",
    )
    create_store: bool = field(
        Boolean(),
        default=True,
        doc="Create the directory of a directory store. `false`: it must exist, otherwise the"
        " run fails with `STORE_UNAVAILABLE` (for example if a disk is not mounted).",
    )
    chunk_events: bool = field(Boolean(), default=True, doc="Emit `CHUNK` events.")
    progress_interval_ms: int = field(
        MILLISECONDS,
        default=500,
        doc="Time between two `PROGRESS` events. 0: no `PROGRESS` events.",
    )


class Auth(Record):
    """Secrets for the store: a bearer token, a user with a password, or S3's keys."""

    bearer_token: str | None = field(
        String(least=1, secret=True),
        default=None,
        doc="Sent as `Authorization: Bearer`. Used alone.",
    )
    username: str | None = field(
        String(least=1),
        default=None,
        doc="For HTTP basic authentication, with `password`. Must not contain a colon.",
    )
    password: str | None = field(
        String(), default=None, doc="For HTTP basic authentication, with `username`."
    )
    access_key_id: str | None = field(
        String(least=1, secret=True),
        default=None,
        doc="S3 access key, with `secret_access_key`. Only for `s3://` stores.",
    )
    secret_access_key: str | None = field(
        String(least=1, secret=True), default=None, doc="S3 secret key, with `access_key_id`."
    )
    session_token: str | None = field(
        String(least=1, secret=True),
        default=None,
        doc="Token of temporary S3 keys, with both keys.",
    )


class Tls(Record):
    """Trusted CAs and client certificate, as PEM files."""

    ca_file: str | None = field(
        Path(), default=None, doc="Trusted CA certificates, in place of the system's."
    )
    cert_file: str | None = field(Path(), default=None, doc="The client certificate.")
    key_file: str | None = field(
        Path(),
        default=None,
        doc="The key of the client certificate, if `cert_file` does not contain it.",
    )


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
"""Headers, in lower case, that the worker sets itself."""

_TOKEN = frozenset("!#$%&'*+-.^_`|~0123456789abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ")


def _header_names() -> str:
    """Return the pattern of header names; JSON Schema cannot ignore case."""
    owned = "|".join(
        "".join(f"[{letter.upper()}{letter}]" if letter.isalpha() else letter for letter in name)
        for name in sorted(OWNED_HEADERS)
    )
    return f"^(?!({owned})$)[!#$%&'*+.^_`|~0-9A-Za-z-]+$"


class Common(Record):
    """Fields of messages and of the defaults of a session."""

    type: MessageType = field(Choice(MessageType), doc="What to do.")
    store: str | None = field(
        String(least=1),
        default=None,
        doc="Where chunks are stored: a directory path, `file:///dir`, `http://…`, "
        "`https://…` or `s3://bucket/prefix`. Without it, `STORE_WORKERS_STORE` applies, "
        "otherwise a directory in the user's data directory.",
    )
    auth: Auth | None = field(
        Nested(Auth),
        default=None,
        doc="Secrets for the store. They take precedence over the environment.",
    )
    headers: dict[str, str] | None = field(
        Dictionary(String(secret=True), names=_header_names()),
        default=None,
        doc="For `http://` and `https://` stores: headers sent with every request. Their "
        "values are secret.",
    )
    tls: Tls | None = field(Nested(Tls), default=None, doc="Trusted CAs and client certificate.")
    settings: Settings = field(Nested(Settings), default=Settings(), doc="How the run behaves.")


class SessionStart(Common):
    """Begins a session: messages follow, one per line, with defaults from here."""

    max_files: int = field(
        Integer(1, 64), default=4, doc="How many messages are worked on at the same time."
    )


class Cancel(Record):
    """In a session: stops the message with this id."""

    type: MessageType = field(Choice(MessageType), doc="What to do.")
    id: str = field(String(), doc="The `id` of a message that waits or is in progress.")


class Start(Common):
    """Fields of all messages that request work."""

    id: str | None = field(String(), default=None, doc="Repeated in every event of the message.")


class UploadStart(Start):
    """Upload the file at `path`, or the output of a command."""

    path: str | None = field(
        Path(),
        default=None,
        doc="The file to read, or any readable stream: a FIFO, `/dev/fd/N`. Required unless "
        "`command` is given.",
    )
    command: tuple[str, ...] | None = field(
        Array(Argument(), least=1),
        default=None,
        doc="In place of `path`: a program and its arguments. Its standard output is stored.",
    )
    size: int | None = field(
        FILE_SIZE,
        default=None,
        doc="The expected number of bytes. If the stream ends early or continues, the result "
        "is `FILE_MISMATCH`.",
    )
    sha256: bool = field(
        Boolean(), default=False, doc="Compute the SHA-256 of the file and report it."
    )
    verify: bool = field(
        Boolean(),
        default=False,
        doc="Decode every frame and compare it with the input before its chunks are sent.",
    )
    manifest: bool = field(
        Boolean(),
        default=False,
        doc="Store the list of chunks too. `FILE_UPLOADED` then has `manifest`, a single "
        "hash, in place of `hashes`.",
    )


class Range(Record):
    """A part of a file."""

    offset: int = field(FILE_SIZE, doc="The first byte of the range, counted from 0.")
    length: int | None = field(
        Integer(1, FILE_SIZE.maximum),
        default=None,
        doc="The number of bytes, cut at the end of the file. Default: all bytes up to the end.",
    )


class ReadStart(Start):
    """Fields of messages that read a stored file."""

    hashes: tuple[str, ...] | None = field(
        Array(Digest(), least=1),
        default=None,
        doc="The chunks of the file, in order. Exactly one of `hashes` and `manifest` is required.",
    )
    manifest: str | None = field(
        Digest(), default=None, doc="In place of `hashes`: the hash of the file's manifest."
    )


class DownloadStart(ReadStart):
    """Download a file from the store and write it to `path`."""

    path: str = field(Path(), doc="The file to write.")
    size: int | None = field(
        FILE_SIZE,
        default=None,
        doc="The expected size of the file in bytes. If it differs, the result is "
        "`FILE_MISMATCH` and the file does not appear.",
    )
    sha256: str | None = field(
        Digest(),
        default=None,
        doc="The expected SHA-256 of the file. If it differs, the result is `FILE_MISMATCH` "
        "and the file does not appear.",
    )
    range: Range | None = field(
        Nested(Range), default=None, doc="Write only these bytes of the file. Requires `manifest`."
    )
    resume: bool = field(
        Boolean(),
        default=False,
        doc="Keep what was written when the run fails, and continue from it in a later run.",
    )


class VerifyStart(ReadStart):
    """Check a stored file, and write nothing."""

    content: bool = field(
        Boolean(),
        default=True,
        doc="Fetch, check and decode every chunk. `false`: ask the store only whether each "
        "chunk is present and how long it is.",
    )


MESSAGES: dict[MessageType, type[UploadStart | DownloadStart | VerifyStart]] = {
    MessageType.UPLOAD_START: UploadStart,
    MessageType.DOWNLOAD_START: DownloadStart,
    MessageType.VERIFY_START: VerifyStart,
}
"""The messages that request work."""

CONTROLS: dict[MessageType, type[SessionStart | Cancel]] = {
    MessageType.SESSION_START: SessionStart,
    MessageType.CANCEL: Cancel,
}
"""The messages that control a session."""

NEXT: dict[MessageType, type[Any]] = {**MESSAGES, MessageType.CANCEL: Cancel}
"""The messages that may follow SESSION_START."""

OF_THE_SESSION = ("concurrency", "rate_limit", "compression_threads")
"""Settings that apply to the whole session and are refused in a message."""

SECRETS = ("auth", "headers", "tls")
"""Fields that belong to a store: a message with its own `store` does not inherit them."""


def decode_message(value: Any) -> Message:
    """Return the message of a decoded JSON value. Raises `BadMessage` naming the field."""
    return _message(value, _record_for(value, MESSAGES))


def decode_first(value: Any) -> Message | SessionStart:
    """Return the first message, which can begin a session. Raises `BadMessage`."""
    session = MessageType.SESSION_START
    record = _record_for(value, {session: SessionStart, **MESSAGES})
    if record is not SessionStart:
        return _message(value, record)
    start = SessionStart.decode(value)
    _check_common(start)
    return start


def decode_next(value: Any, start: SessionStart) -> Message | Cancel:
    """Return a message of a session. Raises `BadMessage`.

    `start` is the session's first message, which has the defaults, for `settings` field by field.
    """
    record = _record_for(value, NEXT)
    if record is Cancel:
        return Cancel.decode(value)
    if not isinstance(value.get("id"), str):
        raise BadMessage("id", "required in a session: expected a string")
    names = () if "store" in value else ("store", *SECRETS)
    inherited: dict[str, Any] = {name: getattr(start, name) for name in names}
    inherited["settings"] = start.settings
    if "settings" in value:
        inherited["settings"] = _completed(value["settings"], start.settings)
        value = {name: value[name] for name in value if name != "settings"}
    return _message(value, record, inherited)


def _completed(own: Any, defaults: Settings) -> Settings:
    """Return a message's settings, completed by the session's."""
    for name in OF_THE_SESSION:
        if isinstance(own, dict) and name in own:
            raise BadMessage(
                f"settings.{name}", "must be set in SESSION_START, for the whole session"
            )
    return Settings.decode(own, "settings", vars(defaults))


def _record_for(value: Any, records: dict[MessageType, type[Any]]) -> type[Any]:
    """Return the record for the `type` of a decoded JSON object."""
    if not isinstance(value, dict):
        raise BadMessage("", f"expected one JSON object, got {json_type(value)}")
    given = value.get("type")
    if isinstance(given, str):
        for word, record in records.items():
            if given == word.value:
                return record
    expected = " or ".join(f'"{word.value}"' for word in records)
    if "type" not in value:
        raise BadMessage("type", f"required field is missing: expected {expected}")
    got = brief(given) if isinstance(given, str) else json_type(given)
    raise BadMessage("type", f"expected {expected}, got {got}")


def _message(value: Any, record: type[Message], inherited: dict[str, Any] | None = None) -> Message:
    message = record.decode(value, inherited=inherited)
    _check_common(message)
    if isinstance(message, ReadStart):
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
    """Return the `id` of a message, also of a refused one, whose error has it, too."""
    found = value.get("id") if isinstance(value, dict) else None
    return found if isinstance(found, str) else None


def _check_list(message: ReadStart) -> None:
    if message.hashes is None and message.manifest is None:
        raise BadMessage("hashes", "required field is missing (or manifest in its place)")
    if message.hashes is not None and message.manifest is not None:
        raise BadMessage("manifest", "cannot be combined with hashes")


RANGE_GOES_WITHOUT = ("size", "sha256")
"""Fields that apply to a whole file."""


def _check_range(message: DownloadStart) -> None:
    if message.range is None:
        return
    if message.manifest is None:
        raise BadMessage("range", "requires manifest")
    if message.resume:
        raise BadMessage("range", "cannot be combined with resume")
    for name in RANGE_GOES_WITHOUT:
        if getattr(message, name) is not None:
            raise BadMessage("range", f"cannot be combined with {name}")


def _check_source(message: UploadStart) -> None:
    if message.path is None and message.command is None:
        raise BadMessage("path", "required field is missing (or command in its place)")
    if message.path is not None and message.command is not None:
        raise BadMessage("command", "cannot be combined with path")
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
            " secret_access_key, optionally with session_token",
        )
    for name in ("username", "password"):
        if not is_encodable(getattr(auth, name) or ""):
            raise BadMessage(
                f"auth.{name}", "contains a lone surrogate that does not stand for a byte"
            )
    if auth.username is not None and ":" in auth.username:
        raise BadMessage("auth.username", "must not contain a colon (RFC 7617)")


def _check_headers(headers: dict[str, str] | None) -> None:
    names: set[str] = set()
    for name in headers or {}:
        where = f"headers.{printable(name)}"
        if not name or not _TOKEN.issuperset(name):
            raise BadMessage(where, "is not a valid header name (RFC 9110, 5.1)")
        if name.lower() in OWNED_HEADERS:
            raise BadMessage(where, "is set by the worker and cannot be given")
        if name.lower() in names:
            raise BadMessage(where, "is given twice")
        names.add(name.lower())


def _check_tls(tls: Tls | None) -> None:
    if tls is not None and tls.key_file is not None and tls.cert_file is None:
        raise BadMessage("tls.key_file", "requires tls.cert_file")
