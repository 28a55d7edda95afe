"""Divides the input into spans, one per frame: of fixed length, or by content.

The ends of spans are part of the stored form: they decide hashes.
"""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Protocol

    class Source(Protocol):
        """The source of the bytes."""

        def fill(self, buffer: memoryview) -> int:
            """Fill the buffer from the stream. A smaller count means that the stream has ended."""

    class Spans(Protocol):
        """Reads a stream span by span; used by one thread at a time.

        `ended`: the span that was read last is the last one.
        """

        ended: bool

        def buffer(self) -> memoryview:
            """Return a buffer for a reading thread, which its spans may use."""

        def read(self, buffer: memoryview) -> memoryview:
            """Return the next span, valid until the thread reads another. The last may be empty."""


FRAME_SPAN = 2 * 1024 * 1024
"""Bytes of each fixed span except the last.

Larger spans compress better (4 MiB by 3 %) and slower, since they and their frames do not fit into
the caches of a core. Smaller ones are not faster (`benchmarks/results/spans.md`).
"""

BLOCK = 8 * 1024 * 1024
"""Bytes that are read at once with content boundaries: at least the longest span."""


class FixedSpans:
    """Spans of `FRAME_SPAN` bytes.

    `expected` is the expected length of the stream: a short one needs less memory.
    """

    def __init__(self, source: Source, expected: int | None = None) -> None:
        self._source = source
        self._expected = FRAME_SPAN if expected is None else expected
        self.ended = False

    def buffer(self) -> memoryview:
        """Return a buffer for one span, or for the whole stream if that is shorter."""
        return memoryview(bytearray(min(FRAME_SPAN, self._expected + 1)))

    def read(self, buffer: memoryview) -> memoryview:
        """Return the next span, in the buffer."""
        size = self._source.fill(buffer)
        if size == len(buffer) < FRAME_SPAN:  # longer than expected
            buffer = memoryview(bytearray(buffer) + bytearray(FRAME_SPAN - size))
            size += self._source.fill(buffer[size:])
        self.ended = size < FRAME_SPAN
        return buffer[:size]


class ContentSpans:
    """Spans with content-defined boundaries.

    `first_boundary` returns the length of the first span in some bytes: all of them if there is no
    boundary. `expected` is the expected length of the stream.

    Memory: the current block, and those of spans in use, which are slices of blocks.
    """

    def __init__(
        self,
        source: Source,
        first_boundary: Callable[[memoryview], int],
        expected: int | None = None,
    ) -> None:
        self._source = source
        self._expected = BLOCK if expected is None else expected
        self._first_boundary = first_boundary
        self._rest = memoryview(b"")  # read, but not yet in a span
        self._all_read = False
        self.ended = False

    def buffer(self) -> memoryview:
        """Return an empty buffer: spans are slices of larger blocks."""
        return memoryview(b"")

    def read(self, buffer: memoryview) -> memoryview:
        """Return the next span."""
        size = self._first_boundary(self._rest) if self._rest else 0
        # A span that reaches the end of the bytes read can continue after it.
        if size == len(self._rest) and not self._all_read:
            self._read_on()
            size = self._first_boundary(self._rest) if self._rest else 0
        span, self._rest = self._rest[:size], self._rest[size:]
        self.ended = self._all_read and not self._rest
        return span

    def _read_on(self) -> None:
        left = len(self._rest)
        block = memoryview(bytearray(min(BLOCK, left + self._expected + 1)))
        self._expected = BLOCK  # a stream that is longer than expected is read by blocks
        block[:left] = self._rest
        filled = left + self._source.fill(block[left:])
        self._all_read = filled < len(block)
        self._rest = block[:filled]


def spans_of(size: int | None) -> int | None:
    """Return the number of fixed spans of a stream of that many bytes; None if not known."""
    return None if size is None else max(1, -(-size // FRAME_SPAN))
