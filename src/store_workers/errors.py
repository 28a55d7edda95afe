"""Errors: one root class, few subclasses, each with its code and its evidence as fields.

Text is made where an error is reported (`events.ErrorEvent`), not where it is raised. Decisions
depend on fields, never on text.
"""

from __future__ import annotations

import errno
from enum import Enum

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any


class ErrorCode(str, Enum):
    """Every code that an `ERROR` or a `CHUNK_RETRY` can carry."""

    BAD_MESSAGE = "BAD_MESSAGE"
    """The message, or a line of a session, was not accepted. Nothing was opened or created."""
    FILE_NOT_FOUND = "FILE_NOT_FOUND"
    """The file, its directory, or the program of `command` does not exist."""
    FILE_ACCESS_DENIED = "FILE_ACCESS_DENIED"
    """This user may not read or write the file, or run the program."""
    FILE_READ_FAILED = "FILE_READ_FAILED"
    """The source cannot be read: a directory, an I/O error, a command that failed."""
    FILE_WRITE_FAILED = "FILE_WRITE_FAILED"
    """The target cannot be written: a full disk, an I/O error, a partial file that is in use."""
    STORE_UNAVAILABLE = "STORE_UNAVAILABLE"
    """The store was unreachable, silent or overloaded in every try, or its directory is missing."""
    STORE_ACCESS_DENIED = "STORE_ACCESS_DENIED"
    """The store refused the credentials, or there are none."""
    STORE_REJECTED = "STORE_REJECTED"
    """The store refused the request for another reason. It is not tried again."""
    CHUNK_NOT_FOUND = "CHUNK_NOT_FOUND"
    """The store does not have the chunk."""
    CHUNK_CORRUPT = "CHUNK_CORRUPT"
    """The bytes of the chunk did not match its hash in any try, or cannot be read."""
    STREAM_CORRUPT = "STREAM_CORRUPT"
    """Every chunk is genuine, but together they are not one complete stream."""
    FILE_MISMATCH = "FILE_MISMATCH"
    """The file does not match `size`, `sha256` or `range`."""
    CANCELLED = "CANCELLED"
    """A signal or `CANCEL` stopped the work."""
    HOST_UNSUPPORTED = "HOST_UNSUPPORTED"
    """This Python or platform cannot do the work, or does not provide threads or memory."""
    INTERNAL = "INTERNAL"
    """A bug in the worker."""


class WarningCode(str, Enum):
    """Every code that a `WARNING` can carry."""

    FILE_CHANGED = "FILE_CHANGED"
    """The file changed while it was read. What is stored may mix two states."""
    STORE_SLOW = "STORE_SLOW"
    """One chunk took more than half of `timeout_ms`. Emitted once in a run."""
    LEFTOVERS_REMOVED = "LEFTOVERS_REMOVED"
    """Temporary files of killed runs, older than a day, were removed from a directory store."""
    CODEC_DIFFERS = "CODEC_DIFFERS"
    """This host uses another libzstd than the bundled one: hashes can differ from other hosts'."""


WORTH_SENDING_AGAIN = frozenset({ErrorCode.STORE_UNAVAILABLE, ErrorCode.CANCELLED})
"""The codes after which the same message, sent again later, can succeed."""

DENIED = frozenset({errno.EACCES, errno.EPERM, errno.EROFS})
MISSING = frozenset({errno.ENOENT, errno.ENOTDIR})


class WorkerError(Exception):
    """The root of all errors that end a run: a code, a sentence, and what it is about.

    `path` is the file concerned, as the message spelled it; `index` and `hash` the chunk;
    `attempts` how often it was tried; `http_status` what the store answered; `exit_status` how a
    command ended (128 + n if signal n ended it); `bad_chunks` how many chunks are bad.
    """

    def __init__(
        self,
        code: ErrorCode,
        message: str,
        *,
        path: str | None = None,
        index: int | None = None,
        hash: str | None = None,
        attempts: int | None = None,
        http_status: int | None = None,
        bad_chunks: int | None = None,
        exit_status: int | None = None,
    ) -> None:
        super().__init__(message)
        self.code = code
        self.message = message
        self.path = path
        self.index = index
        self.hash = hash
        self.attempts = attempts
        self.http_status = http_status
        self.bad_chunks = bad_chunks
        self.exit_status = exit_status

    def evidence(self) -> dict[str, Any]:
        """The fields that apply, by their names on the wire."""
        fields = {
            "index": self.index,
            "hash": self.hash,
            "attempts": self.attempts,
            "path": self.path,
            "http_status": self.http_status,
            "bad_chunks": self.bad_chunks,
            "exit_status": self.exit_status,
        }
        return {name: value for name, value in fields.items() if value is not None}


class BadMessage(WorkerError):
    """The message cannot be accepted; `field` is the one at fault, "" for the whole message."""

    def __init__(self, field: str, problem: str) -> None:
        super().__init__(ErrorCode.BAD_MESSAGE, f"{field}: {problem}" if field else problem)
        self.field = field


class Cancelled(WorkerError):
    """A signal asked the worker to stop."""

    def __init__(self, signal_number: int, name: str) -> None:
        super().__init__(ErrorCode.CANCELLED, f"stopped by {name}")
        self.signal_number = signal_number


class StreamCorrupt(WorkerError):
    """The chunks are genuine, but together they are not one complete stream."""

    def __init__(self, message: str) -> None:
        super().__init__(ErrorCode.STREAM_CORRUPT, message)


class StoreFailure(WorkerError):
    """A store could not do what it was asked, as the store's adapter classified it.

    `transient`: may the same request, repeated in this run, succeed? `retry_after`: seconds the
    store asked to wait, where it did. `slow_down`: are fewer requests at once the answer?
    `most_tries`: how many tries are worth it, where it is fewer than usual. `unanswered`: did not
    one byte of an answer come? Such a try may have failed only because the store serves fewer
    connections than it is asked for. `one_chunk`: does it concern this chunk alone?
    """

    def __init__(
        self,
        code: ErrorCode,
        message: str,
        *,
        transient: bool = False,
        retry_after: float | None = None,
        slow_down: bool = False,
        unanswered: bool = False,
        most_tries: int | None = None,
        one_chunk: bool = False,
        http_status: int | None = None,
    ) -> None:
        super().__init__(code, message, http_status=http_status)
        self.unanswered = unanswered
        self.transient = transient
        self.retry_after = retry_after
        self.slow_down = slow_down
        self.most_tries = most_tries
        self.one_chunk = one_chunk


class ChunkFailure(WorkerError):
    """One try of one chunk failed: the retry layer decides on it, and the last one is reported.

    `cause` is the store's failure; `index` and `hash` name the chunk; `attempts` is the number of
    the try that failed, counted from 1.
    """

    def __init__(self, cause: StoreFailure, index: int, hash: str, attempt: int) -> None:
        super().__init__(
            cause.code,
            cause.message,
            index=index,
            hash=hash,
            attempts=attempt,
            http_status=cause.http_status,
        )
        self.cause = cause
        self.attempt = attempt

    def of_manifest(self) -> ChunkFailure:
        """Return the same failure for a manifest's chunk, which has no index in the file."""
        self.message = f"the file's manifest: {self.message}"
        self.index = None
        return self


class Try:
    """The result of one try of one chunk.

    `attempt` is its number, counted from 1; `seconds` is how long the request took, `moved` how
    many bytes it moved; `failure` is None where it succeeded.
    """

    __slots__ = ("attempt", "failure", "hash", "index", "moved", "seconds")

    def __init__(
        self,
        index: int,
        hash: str,
        attempt: int,
        *,
        seconds: float,
        moved: int,
        failure: StoreFailure | None,
    ) -> None:
        self.index = index
        self.hash = hash
        self.attempt = attempt
        self.seconds = seconds
        self.moved = moved
        self.failure = failure


def file_error(error: OSError, path: str, otherwise: ErrorCode) -> WorkerError:
    """The error of the file that a message names; `otherwise` is its code in the general case."""
    if error.errno in MISSING:
        code = ErrorCode.FILE_NOT_FOUND
    elif error.errno in DENIED:
        code = ErrorCode.FILE_ACCESS_DENIED
    else:
        code = otherwise
    return WorkerError(code, f"{shown(path)}: {reason(error)}", path=path)


def reason(error: OSError) -> str:
    """Return the operating system's description of an error."""
    return error.strerror or type(error).__name__


def shown(path: str) -> str:
    """Return a path for use in a sentence: one line, every character printable."""
    return path if path.isprintable() else ascii(path)[1:-1]


def forget_frames(failure: BaseException | None) -> None:
    """Remove the tracebacks of a failure that was dealt with, and of those that caused it.

    They hold the calls' variables, among them often the failure itself. Such a cycle stays, with
    the bytes of chunks, until a collection of garbage.
    """
    while failure is not None:
        failure.__traceback__ = None
        failure = failure.__cause__ or failure.__context__
