"""The worker for a part of a file: fetches only the chunks that contain its frames."""

from __future__ import annotations

import threading
import time
from array import array
from bisect import bisect_right
from itertools import accumulate

from store_workers.errors import ErrorCode, StreamCorrupt, WorkerError, shown
from store_workers.files.target import ReplacedFile, open_target
from store_workers.stream.chunk_stream import ChunkStream
from store_workers.stream.decompression import Output, ParallelDecoder
from store_workers.stream.frames import frames_at
from store_workers.stream.seek_table import FOOTER_SIZE, SeekTable, table_count, table_length
from store_workers.stream.spans import FRAME_SPAN
from store_workers.wire.events import DownloadProgress, FileDownloaded
from store_workers.workers.fetcher import Fetcher
from store_workers.workers.listing import find_listing

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from store_workers.files.target import Target, WriteAt
    from store_workers.stream.chunk_list import ChunkList
    from store_workers.wire.messages import DownloadStart, Range
    from store_workers.workers.context import Context

LONGEST_TABLE = 256 * 1024 * 1024
"""Maximum bytes of a seek table that are read: that of a file of some 40 TiB."""


class RangeDownload:
    """The download of a part of a file.

    The manifest says how long each chunk is, the stream's end which frames there are: so it is
    known which chunks hold those that are asked for. Memory: as of a download, and the seek table.
    """

    def __init__(self, message: DownloadStart, wanted: Range, context: Context) -> None:
        self._message = message
        self._range = wanted
        self._context = context
        self._target: Target | None = None
        self._fetchers: list[Fetcher] = []
        self._total_chunks = 0
        self._window: Window | None = None
        self._started = time.monotonic()

    def run(self) -> FileDownloaded:
        """Download the part. Return the terminal event when it is durable."""
        path = self._message.path
        target = self._target = open_target(path, self._context.files, self._context.group.check)
        if isinstance(target, ReplacedFile) and self._context.is_first_in(target.directory):
            self._context.group.start(target.tidy_up, "tidy-up", spare=True)
        listing = find_listing(self._message, self._context)
        chunks, size = listing.chunks, listing.size
        assert chunks is not None and size is not None  # noqa: S101, PT018 - it has a manifest
        begin, end = self._bounds(size)
        window = self._window = Window(begin, end, target)
        self._write(Tail(chunks, size, self._fetch), window)
        target.commit()
        return FileDownloaded(
            path=path,
            store=self._context.store_name,
            size=end - begin,
            compressed_size=sum(fetcher.fetched_bytes for fetcher in self._fetchers),
            chunks=self._total_chunks,
            duration_ms=int((time.monotonic() - self._started) * 1000),
        )

    @property
    def spent(self) -> bool:
        """Return whether bytes were written to something that cannot be rewound."""
        return self._target is not None and self._target.spent

    def close(self) -> None:
        """Close the target, when no thread of the group works any more."""
        if self._target is not None:
            self._target.close()

    def progress(self) -> DownloadProgress:
        """Return the progress; only required chunks and bytes count."""
        fetchers, window = tuple(self._fetchers), self._window
        return DownloadProgress(
            fetched_bytes=sum(fetcher.fetched_bytes for fetcher in fetchers),
            fetched_chunks=sum(fetcher.fetched_chunks for fetcher in fetchers),
            total_chunks=self._total_chunks,
            written_bytes=window.size if window else 0,
            total_bytes=window.end - window.begin if window else None,
            concurrency=self._context.places.limit,
        )

    def _bounds(self, size: int) -> tuple[int, int]:
        """Return the begin and end of the part in a file of that size."""
        offset, length = self._range.offset, self._range.length
        if offset >= size:
            path = self._message.path
            raise WorkerError(
                ErrorCode.FILE_MISMATCH,
                f"{shown(path)}: the range begins at byte {offset}, but the file has {size} bytes",
                path=path,
            )
        return offset, size if length is None else min(size, offset + length)

    def _write(self, tail: Tail, window: Window) -> None:
        """Fetch, decode and write the frames that contain the range."""
        places = tail.table().covering(window.begin, window.end)
        first, last = places[0], places[-1]
        window.start_at(first.content_offset)
        output = Output(window.write, None, window.write_at, self._message.path)
        decoder = ParallelDecoder(output, self._context.threads, self._context.group)
        stream = tail.stream_from(first.offset, last.offset + last.length)
        for frame in frames_at(stream, places):
            if frame.pieces is None:
                raise StreamCorrupt("a frame is larger than any that a worker makes")
            decoder.decode(frame)
        decoder.finish()

    def _fetch(self, chunks: ChunkList, wanted: range) -> Iterator[bytes]:
        """Fetch chunks in parallel, and check their listed sizes."""
        fetcher = Fetcher(chunks, self._context, wanted=wanted)
        self._fetchers.append(fetcher)
        self._total_chunks += len(wanted)
        for index, chunk in zip(wanted, fetcher.chunks(), strict=True):
            if len(chunk) != chunks.size(index):
                raise StreamCorrupt(
                    f"chunk {index} has {len(chunk)} bytes, but {chunks.size(index)} in the"
                    " manifest"
                )
            yield chunk


class Tail:
    """Fetches parts of a stream by the list of its chunks, and keeps the last chunks."""

    def __init__(
        self, chunks: ChunkList, size: int, fetch: Callable[[ChunkList, range], Iterator[bytes]]
    ) -> None:
        self._chunks = chunks
        self._size = size
        self._fetch = fetch
        self._ends = array("Q", accumulate(chunks.sizes()))
        self._kept: list[bytes] = []

    def table(self) -> SeekTable:
        """Return the stream's seek table, which must list all of it. Raises `StreamCorrupt`."""
        # Its length if all frames have the maximum length; a second read corrects this.
        data = self._last(table_length(self._size // FRAME_SPAN + 1))
        count = table_count(data)
        if count is None:
            raise StreamCorrupt("the stream does not end in a seek table")
        length = table_length(count)
        if length > min(self._ends[-1], LONGEST_TABLE):
            raise StreamCorrupt(
                f"the stream's seek table claims {count} frames, more than it can hold"
            )
        table = SeekTable.parse(self._last(length)[-length:])
        if table.totals() != (self._ends[-1] - length, self._size):
            raise StreamCorrupt("the stream's seek table does not match the manifest")
        return table

    def stream_from(self, begin: int, end: int) -> ChunkStream:
        """Yield the chunks with the stream from `begin` to `end`, kept ones included."""
        first, last = self._place(begin), self._place(end - 1) + 1
        kept_from = len(self._chunks) - len(self._kept)
        fetched = self._fetch(self._chunks, range(first, min(last, kept_from)))
        kept = self._kept[max(0, first - kept_from) : max(0, last - kept_from)]

        def chunks() -> Iterator[bytes]:
            if first < kept_from:
                yield from fetched
            yield from kept

        return ChunkStream(chunks(), offset=self._begin(first))

    def _last(self, length: int) -> bytes:
        """Return the last bytes of the stream, at least that many if there are so many."""
        kept_from = len(self._chunks) - len(self._kept)
        first = self._place(max(0, self._ends[-1] - max(length, FOOTER_SIZE)))
        if first < kept_from:
            self._kept[:0] = self._fetch(self._chunks, range(first, kept_from))
        return b"".join(self._kept)

    def _place(self, offset: int) -> int:
        """Return the index of the chunk that contains a byte of the stream."""
        return bisect_right(self._ends, offset)

    def _begin(self, place: int) -> int:
        return self._ends[place - 1] if place else 0


class Window:
    """Writes the part of the content between `begin` and `end` to a target.

    `size` counts the written bytes.
    """

    def __init__(self, begin: int, end: int, target: Target) -> None:
        self.begin = begin
        self.end = end
        self.size = 0
        self._target = target
        self._position = 0
        self._counting = threading.Lock()

    @property
    def write_at(self) -> WriteAt | None:
        """A function that writes content at an offset of the file; None if the target has none."""
        return None if self._target.write_at is None else self._write_at

    def start_at(self, offset: int) -> None:
        """Set the offset in the file of the content that `write` gets next."""
        self._position = offset

    def write(self, content: memoryview) -> None:
        """Write the content that follows."""
        piece = self._cut(content, self._position)
        self._position += len(content)
        self._target.write(piece)
        self._count(piece)

    def _write_at(self, content: memoryview, offset: int) -> None:
        """Write content at `offset` of the file."""
        assert self._target.write_at is not None  # noqa: S101 - or this would not be called
        piece = self._cut(content, offset)
        self._target.write_at(piece, max(offset, self.begin) - self.begin)
        self._count(piece)

    def _count(self, piece: memoryview) -> None:
        with self._counting:
            self.size += len(piece)

    def _cut(self, content: memoryview, offset: int) -> memoryview:
        if self.begin <= offset and offset + len(content) <= self.end:
            return content
        return content[max(0, self.begin - offset) : max(0, self.end - offset)]
