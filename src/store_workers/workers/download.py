"""The download worker: chunks are fetched from the first on, checked, decompressed, written."""

from __future__ import annotations

import time
from functools import partial
from hashlib import sha256

from store_workers.errors import ErrorCode, StoreFailure, StreamCorrupt, WorkerError, shown
from store_workers.files.target import ReplacedFile, open_target
from store_workers.stream.chunking import LARGEST_CHUNK
from store_workers.stream.decompression import Output, decompress_stream
from store_workers.stream.frames import ChunkStream
from store_workers.wire.events import DownloadProgress, FileDownloaded

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator

    from store_workers.files.target import Target
    from store_workers.wire.messages import DownloadStart
    from store_workers.workers.context import Context


FIRST_FETCHES = 2
MORE_FETCHES_AFTER = 0.005
"""Seconds that the decompressor is kept waiting for a chunk before the fetching threads double.

A near store is as fast with two, and leaves the cores to the decompressor; a far one gets all that
`concurrency` allows within a few round trips.
"""


class Download:
    """One file on its way out of a store.

    Memory: `concurrency` chunks fetched or being fetched, and `2 * threads` frames with their
    content in the decompressor.
    """

    def __init__(self, message: DownloadStart, context: Context) -> None:
        self._message = message
        self._group = context.group
        self._files = context.files
        self._threads = context.threads
        self._fetcher = _Fetcher(message, context)
        self._digest = sha256() if message.sha256 else None
        self._output: Output | None = None
        self._started = time.monotonic()

    def run(self) -> FileDownloaded:
        """Download the file; returns what is told at the end, once it is durable."""
        target = open_target(self._message.path, self._files)
        if isinstance(target, ReplacedFile):
            self._group.start(target.tidy_up, "tidy-up", spare=True)
        output = self._output = self._output_to(target)
        stream = ChunkStream(self._fetcher.chunks())
        verified = decompress_stream(stream, output, self._threads, self._group)
        self._check(output.size, verified)
        target.commit()
        return FileDownloaded(
            path=self._message.path,
            size=output.size,
            compressed_size=self._fetcher.fetched_bytes,
            chunks=len(self._message.hashes),
            duration_ms=int((time.monotonic() - self._started) * 1000),
            sha256=self._digest.hexdigest() if self._digest else None,
        )

    def progress(self) -> DownloadProgress:
        """How far the download is."""
        return DownloadProgress(
            fetched_bytes=self._fetcher.fetched_bytes,
            fetched_chunks=self._fetcher.fetched_chunks,
            total_chunks=len(self._message.hashes),
            written_bytes=self._output.size if self._output else 0,
        )

    def _output_to(self, target: Target) -> Output:
        digest, message = self._digest, self._message
        if digest is None:
            # A digest needs the content in order; so does a target that is no file.
            return Output(target.write, message.size, target.write_at, message.path)

        def write(data: bytes) -> None:
            digest.update(data)
            target.write(data)

        return Output(write, message.size, path=message.path)

    def _check(self, size: int, verified: bool) -> None:
        """See to it that the file is the one that was meant, before it gets its name."""
        message = self._message
        if message.size is not None and size != message.size:
            raise self._mismatch(f"has {size} bytes, {message.size} were expected")
        if self._digest is not None and self._digest.hexdigest() != message.sha256:
            raise self._mismatch(f"its SHA-256 is {self._digest.hexdigest()}, not the given one")
        if not verified and message.size is None and message.sha256 is None:
            raise StreamCorrupt(
                "the stream has no seek table at its end: its last chunks are missing, or it is"
                " another tool's, and then needs size or sha256 in the message"
            )

    def _mismatch(self, problem: str) -> WorkerError:
        path = self._message.path
        return WorkerError(ErrorCode.FILE_MISMATCH, f"{shown(path)}: {problem}", path=path)


class _Fetcher:
    """Fetches chunks side by side, a bounded number ahead, and hands them out in order."""

    def __init__(self, message: DownloadStart, context: Context) -> None:
        self._hashes = message.hashes
        self._concurrency = min(message.settings.concurrency, len(message.hashes))
        self._store = context.store
        self._retrier = context.retrier
        self._group = context.group
        self._changed = context.group.condition()  # guards all below
        self._threads = 0
        self._claimed = 0
        self._handed_out = 0
        self._ready: dict[int, bytes] = {}
        self.fetched_bytes = 0
        self.fetched_chunks = 0

    def chunks(self) -> Iterator[bytes]:
        """The chunks, verified, in the order of their hashes."""
        self._start(FIRST_FETCHES)
        for index in range(len(self._hashes)):
            yield self._next(index)

    def _next(self, index: int) -> bytes:
        with self._changed:
            self._handed_out = index
            self._changed.notify_all()
            if index not in self._ready and not self._changed.wait(MORE_FETCHES_AFTER):
                self._start(self._threads)
            self._changed.wait_while(lambda: index not in self._ready)
            return self._ready.pop(index)

    def _start(self, more: int) -> None:
        """Fetch with that many more threads, as far as `concurrency` allows."""
        for _ in range(min(more, self._concurrency - self._threads)):
            name = f"fetch-{self._threads + 1}"
            self._threads += self._group.start(self._work, name, spare=self._threads > 0)

    def _work(self) -> None:
        while (index := self._claim()) is not None:
            hash = self._hashes[index]
            chunk, _ = self._retrier.run(index, hash, partial(self._fetch, hash))
            with self._changed:
                self._ready[index] = chunk
                self.fetched_bytes += len(chunk)
                self.fetched_chunks += 1
                self._changed.notify_all()

    def _claim(self) -> int | None:
        with self._changed:
            self._changed.wait_while(
                lambda: (
                    self._claimed < len(self._hashes)
                    and self._claimed - self._handed_out >= self._concurrency
                )
            )
            if self._claimed == len(self._hashes):
                return None
            self._claimed += 1
            return self._claimed - 1

    def _fetch(self, hash: str) -> bytes:
        """One try: the chunk, whose length and digest are right."""
        chunk = self._store.get(hash)
        if not 0 < len(chunk) <= LARGEST_CHUNK:
            raise _corrupt(f"it has {_length(chunk)} bytes, which no chunk has")
        found = sha256(chunk).hexdigest()
        if found != hash:
            raise _corrupt(f"its {len(chunk)} bytes have the SHA-256 {found}")
        return chunk


def _length(chunk: bytes) -> str:
    return f"more than {LARGEST_CHUNK}" if len(chunk) > LARGEST_CHUNK else str(len(chunk))


def _corrupt(problem: str) -> StoreFailure:
    # The bytes may have been damaged on the way, so another try has a chance.
    return StoreFailure(
        ErrorCode.CHUNK_CORRUPT, f"the store's chunk is damaged: {problem}", transient=True
    )
