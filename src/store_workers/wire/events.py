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


SUCCESS, FAILURE, NOT_ACCEPTED = 0, 1, 2
"""The exit statuses. For a run that a signal stopped it is 128 and the signal's number."""


class EventType(str, Enum):
    """Every type of event."""

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
    """A chunk of an upload is in the store."""

    type = EventType.CHUNK
    index: int = field(COUNT, doc="Position of the chunk in the stream, from 0.")
    hash: str = field(Digest(), doc="The SHA-256 of the stored bytes.")
    size: int = field(Integer(1, CHUNK_SIZES[-1]), doc="The number of stored bytes.")
    new: bool = field(
        Boolean(),
        doc="`false` if the store already had the chunk, or if the file contains it twice.",
    )
    attempts: int = field(Integer(1), doc="Tries, the first one included.")


class ChunkRetry(Event):
    """A try of a chunk failed, and it will be tried again after the pause."""

    type = EventType.CHUNK_RETRY
    index: int = field(COUNT, doc="Position of the chunk in the stream, from 0.")
    hash: str = field(Digest(), doc="The hash of the chunk.")
    code: ErrorCode = field(Choice(ErrorCode), doc="Why the try failed.")
    message: str = field(String(), doc="The reason, for people.")
    attempt: int = field(Integer(1), doc="The number of the try that failed, from 1.")
    delay_ms: int = field(COUNT, doc="The pause before the next try.")


class ChunkBad(Event):
    """Verification found a missing or damaged chunk."""

    type = EventType.CHUNK_BAD
    index: int = field(COUNT, doc="Position of the chunk in the stream, from 0.")
    hash: str = field(Digest(), doc="The hash of the chunk.")
    code: ErrorCode = field(
        Choice(ErrorCode), doc="What is wrong: `CHUNK_NOT_FOUND` or `CHUNK_CORRUPT`."
    )
    message: str = field(String(), doc="The reason, for people.")


class Progress(Event):
    """The base of every worker's heartbeat."""

    type = EventType.PROGRESS
    concurrency: int = field(COUNT, doc="Requests that may be in flight now.")


class UploadProgress(Progress):
    """How far an upload is."""

    read_bytes: int = field(COUNT, doc="Bytes read from the file.")
    total_bytes: int | None = field(
        Nullable(COUNT),
        doc="Bytes of the file: its length, or the message's `size` for a stream. `null` if "
        "unknown.",
    )
    stored_bytes: int = field(COUNT, doc="Bytes of the chunks that are in the store, new or not.")
    stored_chunks: int = field(COUNT, doc="Chunks that are in the store, new or not.")


class DownloadProgress(Progress):
    """How far a download is."""

    fetched_bytes: int = field(COUNT, doc="Bytes of the chunks that were fetched and checked.")
    fetched_chunks: int = field(COUNT, doc="Chunks that were fetched and checked.")
    total_chunks: int = field(COUNT, doc="Chunks of the file. 0 while its manifest is read.")
    written_bytes: int = field(COUNT, doc="Bytes written to the file.")
    total_bytes: int | None = field(
        Nullable(COUNT),
        doc="Bytes that will be written, from the manifest or the message. `null` if unknown.",
    )


class VerifyProgress(Progress):
    """How far a verification is."""

    fetched_bytes: int = field(COUNT, doc="Bytes of the chunks that were fetched and checked.")
    fetched_chunks: int = field(
        COUNT,
        doc="Chunks that were found good: fetched and checked, or only asked for if `content`"
        " is `false`.",
    )
    total_chunks: int = field(COUNT, doc="Chunks of the file. 0 while its manifest is read.")
    total_bytes: int | None = field(Nullable(COUNT), doc="Bytes of the file. `null` if unknown.")


class FileUploaded(Event):
    """Every chunk is durable in the store."""

    type = EventType.FILE_UPLOADED
    path: str | None = field(String(), default=None, doc="The file, spelled as in the message.")
    command: tuple[str, ...] | None = field(
        Array(String(), least=1),
        default=None,
        doc="In place of `path`: the command, as in the message.",
    )
    store: str = field(String(), doc="The store, without user, password and query.")
    size: int = field(COUNT, doc="Bytes read.")
    compressed_size: int = field(COUNT, doc="Bytes of all chunks of the file.")
    chunks: int = field(COUNT, doc="The number of chunks of the file.")
    # Typed without None, for convenience: it is None only if there is a manifest.
    hashes: tuple[str, ...] = field(
        Array(Digest(), least=1),
        default=None,
        doc="The chunks, in order. A download needs this list.",
    )
    manifest: str | None = field(
        Digest(),
        default=None,
        doc="In place of `hashes`, if the message asked for it: the hash of the manifest.",
    )
    new_chunks: int = field(
        COUNT, doc="Chunks that this run was the first to store, as far as the store reports it."
    )
    new_bytes: int = field(COUNT, doc="The bytes of these chunks.")
    changed: bool = field(
        Boolean(),
        doc="`true` if the file's size or modification time changed, or the file was "
        "replaced, while it was read. A `WARNING` precedes it.",
    )
    duration_ms: int = field(COUNT, doc="Milliseconds since the message was read.")
    sha256: str | None = field(
        Digest(), default=None, doc="The SHA-256 of the file, if the message asked for it."
    )


class FileDownloaded(Event):
    """The complete file is durable under its name."""

    type = EventType.FILE_DOWNLOADED
    path: str = field(String(), doc="The file, spelled as in the message.")
    store: str = field(String(), doc="The store, without user, password and query.")
    size: int = field(COUNT, doc="Bytes of the file, or of the range.")
    compressed_size: int = field(
        COUNT, doc="Bytes of the file's chunks. For a range: of the chunks that were fetched."
    )
    chunks: int = field(COUNT, doc="The number of these chunks.")
    duration_ms: int = field(COUNT, doc="Milliseconds since the message was read.")
    sha256: str | None = field(
        Digest(),
        default=None,
        doc="The SHA-256 of the file, if the message or the manifest has it.",
    )
    resumed_bytes: int | None = field(
        COUNT,
        default=None,
        doc="Bytes that an earlier run had written, if the message asked for `resume`.",
    )


class FileVerified(Event):
    """Every chunk is present and correct."""

    type = EventType.FILE_VERIFIED
    store: str = field(String(), doc="The store, without user, password and query.")
    size: int | None = field(
        Nullable(COUNT),
        doc="Bytes of the file. `null` if `content` is `false` and there is no manifest.",
    )
    compressed_size: int = field(COUNT, doc="Bytes of all chunks.")
    chunks: int = field(COUNT, doc="The number of chunks.")
    duration_ms: int = field(COUNT, doc="Milliseconds since the message was read.")


class SessionEnded(Event):
    """The input has ended, and all accepted messages are completed."""

    type = EventType.SESSION_ENDED
    files: int = field(COUNT, doc="Messages that were accepted.")
    failed: int = field(
        COUNT,
        doc="Messages that ended in an `ERROR`, cancelled ones included, and lines that were "
        "refused.",
    )
    duration_ms: int = field(COUNT, doc="Milliseconds since `SESSION_START` was read.")


class Problem(Event):
    """What a warning and an error have in common."""

    code: ErrorCode | WarningCode = field(
        Choice(ErrorCode), doc="The code. Warnings and errors each have a set of their own."
    )
    message: str = field(String(), doc="The reason, for people, on one line.")
    index: int | None = field(
        COUNT, default=None, doc="Position of the chunk in the stream, from 0."
    )
    hash: str | None = field(Digest(), default=None, doc="The hash of the chunk.")
    attempts: int | None = field(Integer(1), default=None, doc="How often the chunk was tried.")
    path: str | None = field(String(), default=None, doc="The file, spelled as in the message.")
    http_status: int | None = field(
        Integer(100, 999), default=None, doc="The last HTTP status of the store."
    )
    exit_status: int | None = field(
        Integer(0),
        default=None,
        doc="The exit status of the command, 128 + n if signal n ended it.",
    )


class Warning(Problem):
    """A finding that does not fail the run."""

    type = EventType.WARNING
    code: WarningCode = field(Choice(WarningCode), doc="What was found, for programs.")


class ErrorEvent(Problem):
    """The run failed."""

    type = EventType.ERROR
    code: ErrorCode = field(Choice(ErrorCode), doc="What went wrong, for programs.")
    bad_chunks: int | None = field(
        Integer(1), default=None, doc="Verification: the number of bad chunks."
    )
    retryable: bool = field(
        Boolean(), doc="`true` if the same message, sent again later, can succeed."
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
    """Return the event for `error`.

    `spent`: bytes were read from, or written to, something that cannot be rewound. The same message
    would then store or write something else.
    """
    return ErrorEvent(
        code=error.code,
        message=error.message,
        retryable=error.code in WORTH_SENDING_AGAIN and not spent,
        **error.evidence(),
    )
