"""The download worker: fetches chunks in order, checks, decompresses and writes them."""

from __future__ import annotations

import time
from hashlib import sha256

from store_workers.errors import ErrorCode, StreamCorrupt, WorkerError, shown
from store_workers.files.target import ReplacedFile, open_target
from store_workers.stream.chunk_stream import ChunkStream
from store_workers.stream.decompression import Output, decompress_stream
from store_workers.wire.events import DownloadProgress, FileDownloaded
from store_workers.workers.fetcher import Fetcher
from store_workers.workers.listing import find_listing

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from store_workers.files.target import Target
    from store_workers.wire.messages import DownloadStart
    from store_workers.workers.context import Context
    from store_workers.workers.listing import Listing


class Download:
    """The download of one file.

    Memory: what the fetcher holds, and in the decompressor `2 * threads` frames and the content
    of `threads` of them.
    """

    def __init__(self, message: DownloadStart, context: Context) -> None:
        self._message = message
        self._group = context.group
        self._store_name = context.store_name
        self._places = context.places
        self._files = context.files
        self._threads = context.threads
        self._context = context
        self._listing: Listing | None = None
        self._fetcher: Fetcher | None = None
        self._digest: Any = None
        self._target: Target | None = None
        self._output: Output | None = None
        self._resumed_bytes: int | None = None
        self._started = time.monotonic()

    def run(self) -> FileDownloaded:
        """Download the file. Return the terminal event when the file is durable."""
        target = self._target = self._open_target()
        listing = self._listing = self._find_listing()
        self._digest = sha256() if listing.sha256 else None
        output = self._output = self._output_to(target, listing.size)
        doubt = self._write(listing, output)
        self._check(listing, output.size, doubt)
        target.commit()
        return FileDownloaded(
            path=self._message.path,
            store=self._store_name,
            size=output.size,
            compressed_size=self._compressed_size(),
            chunks=len(listing.hashes),
            duration_ms=int((time.monotonic() - self._started) * 1000),
            sha256=self._digest.hexdigest() if self._digest else None,
            resumed_bytes=self._resumed_bytes,
        )

    def _open_target(self) -> Target:
        target = open_target(self._message.path, self._files, self._group.check)
        if isinstance(target, ReplacedFile) and self._context.is_first_in(target.directory):
            self._group.start(target.tidy_up, "tidy-up", spare=True)
        return target

    def _write(self, listing: Listing, output: Output) -> str | None:
        """Fetch, decode and write the file. Return None if seek tables confirm it, else why not."""
        fetcher = self._fetcher = Fetcher(listing.hashes, self._context)
        stream = ChunkStream(listing.checked(fetcher.chunks()))
        return decompress_stream(stream, output, self._threads, self._group)

    def _compressed_size(self) -> int:
        """Return the bytes of all chunks."""
        return self._fetcher.fetched_bytes if self._fetcher else 0

    @property
    def spent(self) -> bool:
        """Return whether bytes were written to something that cannot be rewound."""
        return self._target is not None and self._target.spent

    def close(self) -> None:
        """Close the target, when no thread of the group works any more."""
        if self._target is not None:
            self._target.close()

    def progress(self) -> DownloadProgress:
        """Return the progress of the download."""
        fetcher, listing = self._fetcher, self._listing
        return DownloadProgress(
            concurrency=self._places.limit,
            fetched_bytes=fetcher.fetched_bytes if fetcher else 0,
            fetched_chunks=fetcher.fetched_chunks if fetcher else 0,
            total_chunks=len(listing.hashes if listing else self._message.hashes or ()),
            written_bytes=self._output.size if self._output else 0,
            total_bytes=listing.size if listing else self._message.size,
        )

    def _find_listing(self) -> Listing:
        """Return the file's chunks, with the size and digest required by manifest and message."""
        message = self._message
        listing = find_listing(message, self._context)
        if message.size is not None:
            if listing.size not in (None, message.size):
                raise self._mismatch(
                    f"the manifest says {listing.size} bytes, the message expects {message.size}"
                )
            listing.size = message.size
        if message.sha256 is not None:
            if listing.sha256 not in (None, message.sha256):
                raise self._mismatch(
                    f"the manifest says SHA-256 {listing.sha256}, the message expects another one"
                )
            listing.sha256 = message.sha256
        return listing

    def _output_to(self, target: Target, size: int | None) -> Output:
        digest, path = self._digest, self._message.path
        if digest is None:
            # A digest needs the content in order, and so does a target that is not a file.
            return Output(target.write, size, target.write_at, path)

        def write(data: memoryview) -> None:
            digest.update(data)
            target.write(data)

        return Output(write, size, path=path)

    def _check(self, listing: Listing, size: int, doubt: str | None) -> None:
        """Check size and digest of the file before it gets its name."""
        if listing.size is not None and size != listing.size:
            raise self._mismatch(f"has {size} bytes, expected {listing.size}")
        if self._digest is not None and self._digest.hexdigest() != listing.sha256:
            raise self._mismatch(
                f"its SHA-256 is {self._digest.hexdigest()}, which differs from the expected one"
            )
        if doubt is not None and listing.size is None and listing.sha256 is None:
            raise StreamCorrupt(doubt)

    def _mismatch(self, problem: str) -> WorkerError:
        path = self._message.path
        return WorkerError(ErrorCode.FILE_MISMATCH, f"{shown(path)}: {problem}", path=path)
