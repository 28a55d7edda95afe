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

LONGEST_SPAN = 4 * 1024 * 1024
"""Bytes of a buffer with content boundaries: at least the longest span."""


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
    boundary. `expected` is the expected length of the stream: a short one needs less memory.

    Each thread has one buffer for all its spans. What was read and is not yet in a span is copied
    to the buffer of the next thread that reads: on average 1 MiB, which takes less time than new
    memory for each span would.
    """

    def __init__(
        self,
        source: Source,
        first_boundary: Callable[[memoryview], int],
        expected: int | None = None,
    ) -> None:
        self._source = source
        self._expected = LONGEST_SPAN if expected is None else expected
        self._first_boundary = first_boundary
        self._rest = memoryview(b"")  # read, but not yet in a span: in the last reader's buffer
        self._all_read = False
        self.ended = False

    def buffer(self) -> memoryview:
        """Return a buffer for the longest span, or for the whole stream if that is shorter."""
        return memoryview(bytearray(min(LONGEST_SPAN, self._expected + 1)))

    def read(self, buffer: memoryview) -> memoryview:
        """Return the next span, in the buffer."""
        data, size = self._rest, 0
        for enough in (FRAME_SPAN, LONGEST_SPAN):  # most spans are shorter than `FRAME_SPAN`
            data = self._read_on(data, buffer, enough)
            size = self._first_boundary(data) if data else 0
            # A span that reaches the end of the bytes read can continue after it.
            if size < len(data) or self._all_read:
                break
        self._rest = data[size:]
        self.ended = self._all_read and not self._rest
        return data[:size]

    def _read_on(self, data: memoryview, buffer: memoryview, enough: int) -> memoryview:
        """Move the bytes to the buffer and read more, until there are `enough`. Return them all."""
        left = len(data)
        if left >= len(buffer) < LONGEST_SPAN:  # the stream is longer than expected
            buffer = memoryview(bytearray(LONGEST_SPAN))
        buffer[:left] = data
        end = max(left, min(enough, len(buffer)))
        if self._all_read or end == left:
            return buffer[:left]
        filled = left + self._source.fill(buffer[left:end])
        self._all_read = filled < end
        return buffer[:filled]


def spans_of(size: int | None) -> int | None:
    """Return the number of fixed spans of a stream of that many bytes; None if not known."""
    return None if size is None else max(1, -(-size // FRAME_SPAN))
