"""The wire, in types: the two messages in, every event out, and the closed sets of words.

`docs/protocol.md` says the same to people, and `schema.py` to programs.
"""

from __future__ import annotations

from enum import Enum

from store_workers.errors import WORTH_SENDING_AGAIN, BadMessage, ErrorCode, WorkerError
from store_workers.records import (
    Array,
    Boolean,
    Choice,
    Digest,
    Integer,
    Nested,
    Nullable,
    Path,
    Record,
    String,
    field,
    is_encodable,
    json_type,
)

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, ClassVar, TypeAlias

    Message: TypeAlias = "UploadStart | DownloadStart"

FILE_SIZE = Integer(0, (1 << 63) - 1)
COUNT = Integer(0)
MILLISECONDS = Integer(0, 86_400_000)
CONCURRENCY_LIMIT = 256


class MessageType(str, Enum):
    """What the owner can ask for."""

    UPLOAD_START = "UPLOAD_START"
    DOWNLOAD_START = "DOWNLOAD_START"


class EventType(str, Enum):
    """What the worker can tell."""

    CHUNK = "CHUNK"
    CHUNK_RETRY = "CHUNK_RETRY"
    PROGRESS = "PROGRESS"
    FILE_UPLOADED = "FILE_UPLOADED"
    FILE_DOWNLOADED = "FILE_DOWNLOADED"
    WARNING = "WARNING"
    ERROR = "ERROR"


TERMINAL = frozenset({EventType.FILE_UPLOADED, EventType.FILE_DOWNLOADED, EventType.ERROR})
"""The events that end a run: exactly one of them is the last line."""


class Settings(Record):
    """How a run behaves; every field has a default that fits most hosts."""

    max_attempts: int = field(Integer(1, 100), default=5, doc="tries per chunk, the first included")
    retry_delay_ms: int = field(
        MILLISECONDS, default=200, doc="the pause before the second try; it doubles, with jitter"
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
        Integer(1, CONCURRENCY_LIMIT), default=8, doc="chunks in flight at once"
    )
    compression_level: int = field(Integer(1, 19), default=3, doc="zstd's level")
    compression_threads: int = field(
        Integer(0, 256), default=0, doc="0: as many as there are usable cores"
    )
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


class Start(Record):
    """What both messages have in common."""

    type: MessageType = field(Choice(MessageType), doc="what to do")
    path: str = field(Path(), doc="the file to read, or to write")
    store: str | None = field(String(least=1), default=None, doc="where chunks live")
    id: str | None = field(String(), default=None, doc="echoed in every event of the run")
    auth: Auth | None = field(Nested(Auth), default=None, doc="secrets for the store")
    tls: Tls | None = field(Nested(Tls), default=None, doc="a private CA, a client certificate")
    settings: Settings = field(Nested(Settings), default=Settings(), doc="how the run behaves")
    size: int | None = field(FILE_SIZE, default=None, doc="the bytes that the file must have")


class UploadStart(Start):
    """Put the file at `path` into the store."""

    sha256: bool = field(Boolean(), default=False, doc="compute the file's own digest too")
    verify: bool = field(
        Boolean(), default=False, doc="decode every frame again before its chunks are told"
    )


class DownloadStart(Start):
    """Get the file back from the store and write it to `path`."""

    hashes: tuple[str, ...] = field(Array(Digest(), least=1), doc="the chunks, in order")
    sha256: str | None = field(Digest(), default=None, doc="the digest that the file must have")


MESSAGES: dict[MessageType, type[UploadStart | DownloadStart]] = {
    MessageType.UPLOAD_START: UploadStart,
    MessageType.DOWNLOAD_START: DownloadStart,
}


class Event(Record):
    """One line on stdout. `id` stands in it where the message had one."""

    type: ClassVar[EventType]


class ChunkStored(Event):
    """An upload's chunk is in the store."""

    type = EventType.CHUNK
    index: int = field(COUNT, doc="the chunk's place in the stream, from 0")
    hash: str = field(Digest(), doc="the SHA-256 of its stored bytes")
    size: int = field(Integer(1, 524288), doc="its stored bytes")
    new: bool = field(Boolean(), doc="false where the store already had it")
    attempts: int = field(Integer(1), doc="tries, the first included")


class ChunkRetry(Event):
    """A try of a chunk failed, and it will be tried again after the pause."""

    type = EventType.CHUNK_RETRY
    index: int = field(COUNT, doc="the chunk's place in the stream, from 0")
    hash: str = field(Digest(), doc="the chunk's hash")
    code: ErrorCode = field(Choice(ErrorCode), doc="why the try failed")
    message: str = field(String(), doc="the same for people")
    attempt: int = field(Integer(1), doc="the number of the try that failed, from 1")
    delay_ms: int = field(COUNT, doc="the pause before the next try")


class Progress(Event):
    """The base of both workers' heartbeat."""

    type = EventType.PROGRESS


class UploadProgress(Progress):
    """How far an upload is."""

    read_bytes: int = field(COUNT, doc="bytes read from the file")
    total_bytes: int | None = field(Nullable(COUNT), doc="bytes of the file, null where unknown")
    stored_bytes: int = field(COUNT, doc="bytes of the chunks that are in the store")
    stored_chunks: int = field(COUNT, doc="chunks that are in the store")


class DownloadProgress(Progress):
    """How far a download is."""

    fetched_bytes: int = field(COUNT, doc="bytes of the chunks that were fetched and checked")
    fetched_chunks: int = field(COUNT, doc="chunks that were fetched and checked")
    total_chunks: int = field(COUNT, doc="chunks of the file")
    written_bytes: int = field(COUNT, doc="bytes written to the file")


class FileUploaded(Event):
    """Every chunk is durable in the store."""

    type = EventType.FILE_UPLOADED
    path: str = field(String(), doc="the file, as the message spelled it")
    size: int = field(COUNT, doc="bytes read from the file")
    compressed_size: int = field(COUNT, doc="bytes of all chunks")
    hashes: tuple[str, ...] = field(Array(Digest(), least=1), doc="the chunks, in order")
    new_chunks: int = field(COUNT, doc="chunks that the store did not have")
    new_bytes: int = field(COUNT, doc="their bytes")
    changed: bool = field(
        Boolean(), doc="the file's size or modification time moved while it was read"
    )
    duration_ms: int = field(COUNT, doc="from the message to here")
    sha256: str | None = field(Digest(), default=None, doc="the file's own digest, if asked for")


class FileDownloaded(Event):
    """The whole file is durable under its name."""

    type = EventType.FILE_DOWNLOADED
    path: str = field(String(), doc="the file, as the message spelled it")
    size: int = field(COUNT, doc="bytes written")
    compressed_size: int = field(COUNT, doc="bytes of all chunks")
    chunks: int = field(COUNT, doc="chunks of the file")
    duration_ms: int = field(COUNT, doc="from the message to here")
    sha256: str | None = field(Digest(), default=None, doc="the file's digest, if it was given")


class Problem(Event):
    """What a warning and an error have in common."""

    code: ErrorCode = field(Choice(ErrorCode), doc="what a program can act on")
    message: str = field(String(), doc="the same for people")
    index: int | None = field(COUNT, default=None, doc="the chunk's place, from 0")
    hash: str | None = field(Digest(), default=None, doc="the chunk")
    attempts: int | None = field(Integer(1), default=None, doc="how often it was tried")
    path: str | None = field(String(), default=None, doc="the file")
    http_status: int | None = field(Integer(100, 999), default=None, doc="what the store answered")


class Warning(Problem):
    """Something worth knowing that does not fail the run."""

    type = EventType.WARNING


class ErrorEvent(Problem):
    """The run failed."""

    type = EventType.ERROR
    retryable: bool = field(
        Boolean(), doc="would the same message, sent again later, have a chance?"
    )


EVENTS: tuple[type[Event], ...] = (
    ChunkStored,
    ChunkRetry,
    UploadProgress,
    DownloadProgress,
    FileUploaded,
    FileDownloaded,
    Warning,
    ErrorEvent,
)


def error_event(error: WorkerError) -> ErrorEvent:
    """The line that tells `error`."""
    return ErrorEvent(
        code=error.code,
        message=error.message,
        retryable=error.code in WORTH_SENDING_AGAIN,
        **error.evidence(),
    )


def decode_message(value: Any) -> Message:
    """Make the message from its decoded JSON; raise `BadMessage` naming the field at fault."""
    if not isinstance(value, dict):
        raise BadMessage("", f"expected one JSON object, got {json_type(value)}")
    kind = Choice(MessageType)
    if "type" not in value:
        raise BadMessage("type", f"is missing: expected {kind.expected}")
    message = MESSAGES[MessageType(kind.check(value["type"], "type"))].decode(value)
    _check_auth(message.auth)
    _check_tls(message.tls)
    return message


def message_id(value: Any) -> str | None:
    """The `id` of a message, also of one that cannot be accepted: its refusal carries it too."""
    found = value.get("id") if isinstance(value, dict) else None
    return found if isinstance(found, str) else None


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


def _check_tls(tls: Tls | None) -> None:
    if tls is not None and tls.key_file is not None and tls.cert_file is None:
        raise BadMessage("tls.key_file", "needs tls.cert_file beside it")
