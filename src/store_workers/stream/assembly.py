"""Assembles frames, which arrive in any order, into one stream, and cuts it into chunks."""

from __future__ import annotations

import threading

from store_workers.stream.chunking import Cutter
from store_workers.stream.seek_table import SeekTable

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable

    from store_workers.stream.compression import CompressedSpan

    Cut = tuple[int, list[memoryview]]  # a chunk's index and its pieces


class Assembler:
    """Puts frames in order, lists them in the seek table, and cuts. Safe from many threads.

    With `cut_by_frame`, cutting restarts with each frame: full chunks, then its rest as one chunk.
    `chunks` is the number of chunks that were cut so far.
    """

    def __init__(self, chunk_size: int, *, cut_by_frame: bool = False) -> None:
        self._chunk_size = chunk_size
        self._cut_by_frame = cut_by_frame
        self._lock = threading.Lock()  # guards the attributes below
        self._waiting: dict[int, CompressedSpan] = {}  # frames that arrived before their turn
        self._frames = 0
        self._cutter = Cutter(chunk_size)
        self._table = SeekTable()
        self.chunks = 0

    def add(self, number: int, frame: CompressedSpan) -> list[list[Cut]]:
        """Add frame `number` of the stream. Yield the chunks of frames whose turn has come."""
        with self._lock:
            self._waiting[number] = frame
            appended = []
            while self._frames in self._waiting:
                appended.append(self._append(self._waiting.pop(self._frames)))
                self._frames += 1
            return appended

    def finish(self) -> list[Cut]:
        """End the stream with its seek table. Yield the last chunks."""
        with self._lock:
            self._cutter.feed(self._table.encode())
            return self._count(self._cutter.cut(ended=True))

    def _append(self, frame: CompressedSpan) -> list[Cut]:
        self._table.add(len(frame.data), frame.size, frame.checksum)
        if self._cut_by_frame:
            data, step = memoryview(frame.data), self._chunk_size
            return self._count([data[at : at + step]] for at in range(0, len(data), step))
        self._cutter.feed(frame.data)
        return self._count(self._cutter.cut(ended=False))

    def _count(self, chunks: Iterable[list[memoryview]]) -> list[Cut]:
        cuts = list(enumerate(chunks, self.chunks))
        self.chunks += len(cuts)
        return cuts
