"""Cutting the stream into chunks: the rule, and the cutter that applies it.

The length of the stream is not known while it is cut. So the rule does not list chunks; it answers
one question: given how many bytes are buffered, how long is the next chunk?
"""

from __future__ import annotations

from collections import deque

from store_workers.wire.messages import CHUNK_SIZES

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator

LARGEST_CHUNK = CHUNK_SIZES[-1]
"""Bytes of the largest chunk of any upload. Readers accept it, whatever their settings."""

SMALLEST_HALVING = 4 * 1024


def next_chunk_size(buffered: int, ended: bool, chunk_size: int) -> int:
    """Return the length in bytes of the next chunk, 0 if none can be cut now.

    `buffered` is the number of bytes that are ready; `ended` means that no more will come. While
    the stream continues, only full chunks of `chunk_size` are cut, so that the result does not
    depend on how the bytes arrive. At the end, `chunk_size`, a power of two, is halved until it
    fits, down to 4 KiB. A shorter remainder is one last chunk.
    """
    if buffered >= chunk_size:
        return chunk_size
    if not ended:
        return 0
    if buffered < SMALLEST_HALVING:
        return buffered
    # The largest power of two that is not larger than the remainder.
    return 1 << (buffered.bit_length() - 1)


class Cutter:
    """Cuts bytes into chunks without copying them.

    A chunk is a list of views of the appended bytes. Less than one chunk is buffered between two
    calls of `cut`.
    """

    def __init__(self, chunk_size: int) -> None:
        self._chunk_size = chunk_size
        self._views: deque[memoryview] = deque()
        self._buffered = 0

    def feed(self, data: bytes) -> None:
        """Append bytes to the stream."""
        if data:
            self._views.append(memoryview(data))
            self._buffered += len(data)

    def cut(self, ended: bool) -> Iterator[list[memoryview]]:
        """Yield every chunk that can be cut now, each as a list of pieces."""
        while size := next_chunk_size(self._buffered, ended, self._chunk_size):
            yield self._take(size)

    def _take(self, size: int) -> list[memoryview]:
        self._buffered -= size
        pieces = []
        while size:
            view = self._views.popleft()
            if len(view) > size:
                self._views.appendleft(view[size:])
                view = view[:size]
            pieces.append(view)
            size -= len(view)
        return pieces
