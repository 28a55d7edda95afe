"""The upload worker: reads a file as a stream, compresses and cuts it, and saves the chunks."""

from __future__ import annotations

import time
from functools import partial
from hashlib import sha256
from itertools import count

from store_workers.errors import ChunkFailure, WarningCode, shown
from store_workers.files.source import FileSource
from store_workers.stores.base import Chunk
from store_workers.stream import codec
from store_workers.stream.assembly import Assembler
from store_workers.stream.compression import ParallelCompressor, frame_maker, frames_in_turn
from store_workers.stream.spans import ContentSpans, FixedSpans, spans_of
from store_workers.wire.events import FileUploaded, UploadProgress, Warning
from store_workers.wire.messages import Boundaries
from store_workers.workers.saver import Saver

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

    from store_workers.files.source import Source
    from store_workers.stream.assembly import Cut
    from store_workers.stream.spans import Spans
    from store_workers.wire.messages import UploadStart
    from store_workers.workers.context import Context

MOST_PIECES = 64
"""A chunk with more pieces is joined: over HTTP, each piece takes a call."""


class Upload:
    """The upload of one file.

    Memory: `threads` spans and `2 * threads` frames in the compressor, and `concurrency` chunks
    in flight.
    """

    def __init__(self, message: UploadStart, context: Context) -> None:
        self._message = message
        self._group = context.group
        self._places = context.places
        self._emit = context.emit
        self._store_name = context.store_name
        self._threads = context.threads
        settings = message.settings
        self._by_content = settings.boundaries is Boundaries.CONTENT
        self._saver = Saver(context, overwrite=settings.overwrite, by_content=self._by_content)
        self._assembler = Assembler(settings.chunk_size, cut_by_frame=self._by_content)
        self._digest = sha256() if message.sha256 else None
        self._source: Source | None = None
        self._started = time.monotonic()

    def run(self) -> FileUploaded:
        """Upload the file. Return the terminal event when every chunk is durable."""
        find = self._boundary_finder()
        source = self._source = self._open()
        if not codec.is_expected():
            self._emit(other_codec())
        if find is None:
            self._store_frames(source, FixedSpans(source, source.total))
        else:
            self._store_frames(source, ContentSpans(source, find, source.total))
        self._save_last(self._assembler.finish())
        self._saver.finish()
        changed = source.changed()
        source.close()
        if changed:
            self._emit(file_changed(source.name))
        manifest = self._save_manifest(source.read_bytes) if self._message.manifest else None
        return self._result(source.read_bytes, changed, manifest)

    def _open(self) -> Source:
        message, check = self._message, self._group.check
        if message.command is None:
            return FileSource(message.path or "", message.size, self._digest, check)
        from store_workers.files.command import CommandSource

        return CommandSource(message.command, message.size, self._digest, check)

    @property
    def spent(self) -> bool:
        """Return whether bytes were read from something that cannot be rewound."""
        return self._source is not None and self._source.spent

    def close(self) -> None:
        """Close the source, when no thread of the group works any more."""
        if self._source is not None:
            self._source.close()

    def progress(self) -> UploadProgress:
        """Return the progress of the upload."""
        source, saver = self._source, self._saver
        return UploadProgress(
            concurrency=self._places.limit,
            read_bytes=source.read_bytes if source else 0,
            total_bytes=source.total if source else self._message.size,
            stored_bytes=saver.stored_bytes,
            stored_chunks=saver.stored_chunks,
        )

    def _boundary_finder(self) -> Callable[[memoryview], int] | None:
        """Return the function that finds boundaries, or None. Raises `HOST_UNSUPPORTED`."""
        if not self._by_content:
            return None
        from store_workers.stream.boundaries import boundary_finder

        return boundary_finder()

    def _store_frames(self, source: Source, spans: Spans) -> None:
        """Compress and save the whole file, on this thread and on others if it is large."""
        settings, most = self._message.settings, self._threads.most
        make = frame_maker(settings.compression_level, self._message.verify, self._threads)
        threads = min(most, spans_of(source.total) or most)
        if threads == 1:
            for number, frame in frames_in_turn(spans, make()):
                self._group.check()
                for cuts in self._assembler.add(number, frame):
                    self._save_cuts(cuts)
            return
        compressor = ParallelCompressor(spans, make, 2 * most, self._group)
        work = partial(self._work, compressor)
        for number in range(2, threads + 1):
            self._group.start(work, f"compress-{number}", spare=True)
        work()
        compressor.finish()

    def _work(self, compressor: ParallelCompressor) -> None:
        """The work of each thread: compress the next span, and save complete chunks."""
        for number, frame in compressor.frames():
            for cuts in self._assembler.add(number, frame):
                self._save_cuts(cuts)
                compressor.done()

    def _save_cuts(self, cuts: list[Cut]) -> None:
        """Hash chunks while they are in this core's cache, and save them."""
        for index, pieces in cuts:
            self._saver.save(index, _hashed(pieces))

    def _save_last(self, cuts: list[Cut]) -> None:
        """Save the stream's last chunks: of a small file these are all."""
        for place, (index, pieces) in enumerate(cuts):
            self._saver.save(index, _hashed(pieces), left=len(cuts) - place)

    def _save_manifest(self, size: int) -> str:
        """Store the list of the file's chunks, which are all durable. Return its hash."""
        from store_workers.stream.manifest import VERSION, Header, Listed, write_manifest

        header = Header(
            store_workers_manifest=VERSION,
            of=Listed.FILE,
            size=size,
            compressed_size=self._saver.stored_bytes,
            chunks=self._assembler.chunks,
            chunk_size=self._message.settings.chunk_size,
            boundaries=self._message.settings.boundaries.value,
            sha256=self._digest.hexdigest() if self._digest else None,
        )
        numbers = count(self._assembler.chunks)

        def save(piece: bytes) -> bytes:
            chunk = _hashed([memoryview(piece)])
            self._saver.save_alone(next(numbers), chunk)
            return bytes.fromhex(chunk.hash)

        try:
            return write_manifest(header, self._saver.chunks, save)
        except ChunkFailure as failure:
            raise failure.of_manifest() from failure.cause

    def _result(self, size: int, changed: bool, manifest: str | None) -> FileUploaded:
        saver = self._saver
        listed: dict[str, Any] = {"manifest": manifest}
        if manifest is None:
            listed = {"hashes": tuple(saver.chunks)}
        return FileUploaded(
            path=self._message.path,
            store=self._store_name,
            command=self._message.command,
            size=size,
            compressed_size=saver.stored_bytes,
            chunks=self._assembler.chunks,
            **listed,
            new_chunks=saver.new_chunks,
            new_bytes=saver.new_bytes,
            changed=changed,
            duration_ms=int((time.monotonic() - self._started) * 1000),
            sha256=self._digest.hexdigest() if self._digest else None,
        )


def _hashed(pieces: list[memoryview]) -> Chunk:
    if len(pieces) > MOST_PIECES:
        pieces = [memoryview(b"".join(pieces))]
    digest = sha256()
    for piece in pieces:
        digest.update(piece)
    return Chunk(digest.hexdigest(), pieces)


def other_codec() -> Warning:
    """Return the warning that this codec may make different chunks than other hosts."""
    expected = ".".join(str(part) for part in codec.EXPECTED_LIBZSTD)
    return Warning(
        code=WarningCode.CODEC_DIFFERS,
        message=f"this host compresses with {codec.library_version()}, not libzstd {expected}: the"
        " hashes may differ from those of other hosts",
    )


def file_changed(path: str) -> Warning:
    """Return the warning about a file that changed while it was read."""
    return Warning(
        code=WarningCode.FILE_CHANGED,
        message=f"{shown(path)}: changed while it was read: what is stored may mix two states",
        path=path,
    )
