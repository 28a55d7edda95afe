"""The download worker: chunks are fetched from the first on, checked, decompressed, written."""

from __future__ import annotations

import time
from hashlib import sha256

from store_workers.errors import ErrorCode, StreamCorrupt, WorkerError, shown
from store_workers.files.target import ReplacedFile, open_target
from store_workers.stream.decompression import Output, decompress_stream
from store_workers.stream.frames import ChunkStream
from store_workers.wire.events import DownloadProgress, FileDownloaded
from store_workers.workers.fetcher import Fetcher

TYPE_CHECKING = False
if TYPE_CHECKING:
    from store_workers.files.target import Target
    from store_workers.wire.messages import DownloadStart
    from store_workers.workers.context import Context


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
        self._fetcher = Fetcher(message.hashes, context)
        self._digest = sha256() if message.sha256 else None
        self._target: Target | None = None
        self._output: Output | None = None
        self._started = time.monotonic()

    def run(self) -> FileDownloaded:
        """Download the file; returns what is told at the end, once it is durable."""
        target = open_target(self._message.path, self._files, self._group.check)
        self._target = target
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

    @property
    def spent(self) -> bool:
        """Were bytes written to what cannot be written again from its beginning?"""
        return self._target is not None and self._target.spent

    def close(self) -> None:
        """Let go of the target, once no thread of the group works any more."""
        if self._target is not None:
            self._target.close()

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
