"""The wire, in types: every event out, and the closed set of their names."""

from __future__ import annotations

from enum import Enum

from store_workers.errors import WORTH_SENDING_AGAIN, ErrorCode, WarningCode, WorkerError
from store_workers.wire.messages import CHUNK_SIZES
from store_workers.wire.records import (
    COUNT,
    Array,
    Boolean,
    Choice,
    Digest,
    Integer,
    Nullable,
    Record,
    String,
    field,
)

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import ClassVar


class EventType(str, Enum):
    """What the worker can tell."""

    CHUNK = "CHUNK"
    CHUNK_RETRY = "CHUNK_RETRY"
    CHUNK_BAD = "CHUNK_BAD"
    PROGRESS = "PROGRESS"
    FILE_UPLOADED = "FILE_UPLOADED"
    FILE_DOWNLOADED = "FILE_DOWNLOADED"
    FILE_VERIFIED = "FILE_VERIFIED"
    SESSION_ENDED = "SESSION_ENDED"
    WARNING = "WARNING"
    ERROR = "ERROR"


TERMINAL = frozenset(
    {
        EventType.FILE_UPLOADED,
        EventType.FILE_DOWNLOADED,
        EventType.FILE_VERIFIED,
        EventType.SESSION_ENDED,
        EventType.ERROR,
    }
)
"""The events that end a run: exactly one of them is the last line."""


class Event(Record):
    """One line on stdout. `id` stands in it where the message had one."""

    type: ClassVar[EventType]


class ChunkStored(Event):
    """An upload's chunk is in the store."""

    type = EventType.CHUNK
    index: int = field(COUNT, doc="the chunk's place in the stream, from 0")
    hash: str = field(Digest(), doc="the SHA-256 of its stored bytes")
    size: int = field(Integer(1, CHUNK_SIZES[-1]), doc="its stored bytes")
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


class ChunkBad(Event):
    """A chunk of a file that is verified is missing, or not what it should be."""

    type = EventType.CHUNK_BAD
    index: int = field(COUNT, doc="the chunk's place in the stream, from 0")
    hash: str = field(Digest(), doc="the chunk's hash")
    code: ErrorCode = field(Choice(ErrorCode), doc="what is wrong with it")
    message: str = field(String(), doc="the same for people")


class Progress(Event):
    """The base of every worker's heartbeat."""

    type = EventType.PROGRESS
    concurrency: int = field(COUNT, doc="requests that may be in flight now")


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
    total_chunks: int = field(COUNT, doc="chunks of the file, 0 while its manifest is read")
    written_bytes: int = field(COUNT, doc="bytes written to the file")
    total_bytes: int | None = field(
        Nullable(COUNT), doc="bytes that will be written, null where unknown"
    )


class VerifyProgress(Progress):
    """How far a verification is."""

    fetched_bytes: int = field(COUNT, doc="bytes of the chunks that were fetched and checked")
    fetched_chunks: int = field(COUNT, doc="chunks that were fetched, or asked for, and are right")
    total_chunks: int = field(COUNT, doc="chunks of the file, 0 while its manifest is read")
    total_bytes: int | None = field(Nullable(COUNT), doc="bytes of the file, null where unknown")


class FileUploaded(Event):
    """Every chunk is durable in the store."""

    type = EventType.FILE_UPLOADED
    path: str | None = field(
        String(), default=None, doc="the file, as the message spelled it; or command"
    )
    command: tuple[str, ...] | None = field(
        Array(String(), least=1), default=None, doc="the command whose output was stored"
    )
    store: str = field(String(), doc="where the chunks live, without user, password and query")
    size: int = field(COUNT, doc="bytes read from the file")
    compressed_size: int = field(COUNT, doc="bytes of all chunks")
    chunks: int = field(COUNT, doc="chunks of the file")
    # Typed as what nearly every reader wants: it is None only where there is a manifest.
    hashes: tuple[str, ...] = field(
        Array(Digest(), least=1), default=None, doc="the chunks, in order"
    )
    manifest: str | None = field(
        Digest(), default=None, doc="in place of the hashes: the one hash that names their list"
    )
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
    store: str = field(String(), doc="where the chunks live, without user, password and query")
    size: int = field(COUNT, doc="bytes written")
    compressed_size: int = field(COUNT, doc="bytes of all chunks")
    chunks: int = field(COUNT, doc="chunks of the file")
    duration_ms: int = field(COUNT, doc="from the message to here")
    sha256: str | None = field(Digest(), default=None, doc="the file's digest, if it was given")


class FileVerified(Event):
    """Every chunk is there and right."""

    type = EventType.FILE_VERIFIED
    store: str = field(String(), doc="where the chunks live, without user, password and query")
    size: int | None = field(
        Nullable(COUNT), doc="bytes of the file, null where only its chunks' presence was asked for"
    )
    compressed_size: int = field(COUNT, doc="bytes of all chunks")
    chunks: int = field(COUNT, doc="chunks of the file")
    duration_ms: int = field(COUNT, doc="from the message to here")


class SessionEnded(Event):
    """No more messages come, and all that were taken are finished."""

    type = EventType.SESSION_ENDED
    files: int = field(COUNT, doc="messages that were accepted")
    failed: int = field(COUNT, doc="those that ended in an ERROR, and the lines that were refused")
    duration_ms: int = field(COUNT, doc="from SESSION_START to here")


class Problem(Event):
    """What a warning and an error have in common."""

    code: ErrorCode | WarningCode = field(Choice(ErrorCode), doc="of a set of its own in each")
    message: str = field(String(), doc="the same for people")
    index: int | None = field(COUNT, default=None, doc="the chunk's place, from 0")
    hash: str | None = field(Digest(), default=None, doc="the chunk")
    attempts: int | None = field(Integer(1), default=None, doc="how often it was tried")
    path: str | None = field(String(), default=None, doc="the file")
    http_status: int | None = field(Integer(100, 999), default=None, doc="what the store answered")
    exit_status: int | None = field(
        Integer(0), default=None, doc="how the command ended; of a signal 128 + n"
    )


class Warning(Problem):
    """Something worth knowing that does not fail the run."""

    type = EventType.WARNING
    code: WarningCode = field(Choice(WarningCode), doc="what a program can act on")


class ErrorEvent(Problem):
    """The run failed."""

    type = EventType.ERROR
    code: ErrorCode = field(Choice(ErrorCode), doc="what a program can act on")
    bad_chunks: int | None = field(
        Integer(1), default=None, doc="how many chunks are bad, where a file was verified"
    )
    retryable: bool = field(
        Boolean(), doc="would the same message, sent again later, have a chance?"
    )


EVENTS: tuple[type[Event], ...] = (
    ChunkStored,
    ChunkRetry,
    ChunkBad,
    UploadProgress,
    DownloadProgress,
    VerifyProgress,
    FileUploaded,
    FileDownloaded,
    FileVerified,
    SessionEnded,
    Warning,
    ErrorEvent,
)


def error_event(error: WorkerError, *, spent: bool = False) -> ErrorEvent:
    """The line that tells `error`.

    `spent`: were bytes taken from, or written to, what cannot be rewound? Then the same message
    would store or write something else.
    """
    return ErrorEvent(
        code=error.code,
        message=error.message,
        retryable=error.code in WORTH_SENDING_AGAIN and not spent,
        **error.evidence(),
    )
