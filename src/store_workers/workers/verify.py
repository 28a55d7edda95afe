"""The verify worker: fetches, checks and decodes everything, and writes nothing."""

from __future__ import annotations

import threading
import time
from hashlib import sha256

from store_workers.errors import ChunkFailure, ErrorCode, StreamCorrupt, WorkerError
from store_workers.stream.chunk_stream import ChunkStream
from store_workers.stream.decompression import Output, decompress_stream
from store_workers.wire.events import ChunkBad, FileVerified, VerifyProgress
from store_workers.workers.fetcher import Fetcher
from store_workers.workers.listing import find_listing
from store_workers.workers.lookup import Lookup

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

    from store_workers.wire.events import Event
    from store_workers.wire.messages import VerifyStart
    from store_workers.workers.context import Context
    from store_workers.workers.listing import Listing


class Verify:
    """The verification of one file. It continues after a bad chunk.

    Memory: as of a download.
    """

    spent = False
    """Always false: the same message can be sent again."""

    def __init__(self, message: VerifyStart, context: Context) -> None:
        self._message = message
        self._context = context
        self._listing: Listing | None = None
        self._work: Fetcher | Lookup | None = None
        self._bad = BadChunks(context.emit)
        self._started = time.monotonic()

    def run(self) -> FileVerified:
        """Check the whole file. Return the terminal event. Raises if a chunk is bad."""
        listing = self._listing = find_listing(self._message, self._context)
        size = self._decode(listing) if self._message.content else self._look(listing)
        if self._bad.first is not None:
            raise self._failure(self._bad.first, len(listing.hashes))
        return FileVerified(
            store=self._context.store_name,
            size=size,
            compressed_size=self._work.fetched_bytes if self._work else 0,
            chunks=len(listing.hashes),
            duration_ms=int((time.monotonic() - self._started) * 1000),
        )

    def close(self) -> None:
        """Do nothing: nothing is open."""

    def progress(self) -> VerifyProgress:
        """Return the progress of the verification."""
        work, listing = self._work, self._listing
        return VerifyProgress(
            concurrency=self._context.places.limit,
            fetched_bytes=work.fetched_bytes if work else 0,
            fetched_chunks=work.fetched_chunks if work else 0,
            total_chunks=len(listing.hashes if listing else self._message.hashes or ()),
            total_bytes=listing.size if listing else None,
        )

    def _decode(self, listing: Listing) -> int:
        """Fetch and decode the file. Return its size. After a bad chunk, only check the rest."""
        digest = sha256() if listing.sha256 else None
        if digest is None:
            output = Output(_drop, listing.size, _drop)
        else:
            output = Output(digest.update, listing.size)
        fetcher = self._work = Fetcher(listing.hashes, self._context, on_bad=self._bad.note)
        fetched = fetcher.chunks()
        stream = ChunkStream(listing.checked(up_to_a_hole(fetched)))
        try:
            doubt = decompress_stream(stream, output, self._context.threads, self._context.group)
        except Hole:
            for _ in fetched:  # each was already checked
                pass
            return 0
        if doubt is not None and listing.size is None:
            raise StreamCorrupt(doubt)
        if listing.size not in (None, output.size):
            raise mismatch(f"it has {output.size} bytes, expected {listing.size}")
        if digest is not None and digest.hexdigest() != listing.sha256:
            raise mismatch(
                f"its SHA-256 is {digest.hexdigest()}, which differs from the manifest's"
            )
        return output.size

    def _look(self, listing: Listing) -> int | None:
        """Check presence and length of every chunk. Return the file's size, if known."""
        lookup = self._work = Lookup(listing.hashes, listing.chunks, self._context, self._bad.note)
        lookup.run()
        return listing.size

    def _failure(self, first: ChunkFailure, chunks: int) -> WorkerError:
        count = self._bad.count
        return WorkerError(
            first.code,
            f"{count} of {chunks} chunks {'is' if count == 1 else 'are'} bad, the first one"
            f" is number {first.index}: {first.message}",
            index=first.index,
            hash=first.hash,
            attempts=first.attempts,
            http_status=first.http_status,
            bad_chunks=count,
        )


class BadChunks:
    """The bad chunks of a file: reports each, and keeps their number and the lowest index.

    Safe from many threads.
    """

    def __init__(self, emit: Callable[[Event], None]) -> None:
        self._emit = emit
        self._lock = threading.Lock()  # guards the attributes below
        self.count = 0
        self.first: ChunkFailure | None = None

    def note(self, failure: ChunkFailure) -> None:
        """Report that a chunk is bad."""
        with self._lock:
            self.count += 1
            if self.first is None or (failure.index or 0) < (self.first.index or 0):
                self.first = failure
        self._emit(
            ChunkBad(
                index=failure.index or 0,
                hash=failure.hash or "",
                code=failure.code,
                message=failure.message,
            )
        )


class Hole(Exception):
    """A bad chunk is missing from the stream."""


def up_to_a_hole(fetched: Iterable[bytes]) -> Iterator[bytes]:
    """Yield chunks up to the first bad one, which is empty."""
    for chunk in fetched:
        if not chunk:
            raise Hole
        yield chunk


def mismatch(problem: str) -> WorkerError:
    """Return the failure of a file that does not match its manifest."""
    return WorkerError(ErrorCode.FILE_MISMATCH, f"the decoded file: {problem}")


def _drop(_content: memoryview, _offset: int = 0) -> None:
    """Do nothing: nothing is written."""
