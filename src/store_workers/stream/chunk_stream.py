"""Reads chunks, in order, as one stream of bytes."""

from __future__ import annotations

from store_workers.errors import StreamCorrupt

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable


class StreamEnds(StreamCorrupt):
    """The stream ends before the requested bytes."""

    def __init__(self) -> None:
        super().__init__("the stream ends in the middle: its last chunks are missing")


class ChunkStream:
    """Reads chunks as one stream. Reading beyond its end raises `StreamEnds`.

    `offset` is the position of the first chunk in the whole stream.
    """

    def __init__(self, chunks: Iterable[bytes], offset: int = 0) -> None:
        self._chunks = iter(chunks)
        self._begin = offset  # position of the current chunk in the whole stream
        self._bytes = b""
        self._chunk = memoryview(self._bytes)
        self._position = 0
        self._marked = 0
        self._keeping = False
        self._pieces: list[memoryview] = []

    @property
    def offset(self) -> int:
        """The position of the next byte in the whole stream."""
        return self._begin + self._position

    def at_end(self) -> bool:
        """Return whether the stream has no more bytes."""
        return self.at_chunk_end() and not self._next_chunk()

    def at_chunk_end(self) -> bool:
        """Return whether the next byte, if there is one, begins a chunk."""
        return self._position == len(self._chunk)

    def mark(self) -> None:
        """Start collecting: what is read from here on is kept, until `unmark`."""
        self._pieces = []
        self._marked = self._position
        self._keeping = True

    def unmark(self) -> None:
        """Stop collecting, and drop what was collected."""
        self._pieces = []
        self._keeping = False

    def taken(self) -> list[memoryview]:
        """Return everything since the last mark, as views of chunks."""
        return [*self._pieces, self._chunk[self._marked : self._position]]

    def read(self, size: int) -> bytes:
        """Return the next `size` bytes."""
        end = self._position + size
        if end <= len(self._chunk):
            data = self._chunk[self._position : end]
            self._position = end
            return bytes(data)
        pieces = []
        while size > (left := len(self._chunk) - self._position):
            pieces.append(self._chunk[self._position :])
            self._position = len(self._chunk)
            self._demand_chunk()
            size -= left
        pieces.append(self._chunk[self._position : self._position + size])
        self._position += size
        return b"".join(pieces)

    def skip(self, size: int) -> None:
        """Skip the next `size` bytes."""
        while size > (left := len(self._chunk) - self._position):
            self._position = len(self._chunk)
            self._demand_chunk()
            size -= left
        self._position += size

    def at_hand(self) -> tuple[bytes, int]:
        """Return the current chunk and the position in it."""
        return self._bytes, self._position

    def skip_to(self, position: int) -> None:
        """Continue at a position of the current chunk."""
        self._position = position

    def _demand_chunk(self) -> None:
        if not self._next_chunk():
            raise StreamEnds

    def _next_chunk(self) -> bool:
        chunk = next(self._chunks, None)
        if chunk is None:
            return False
        if self._keeping:
            self._pieces.append(self._chunk[self._marked :])
        self._begin += len(self._chunk)
        self._bytes = chunk
        self._chunk = memoryview(chunk)
        self._position = self._marked = 0
        return True
