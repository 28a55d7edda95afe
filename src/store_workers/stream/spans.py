"""The stretches of the input behind the frames: all of one length, or marked off by the content.

What decides where a span ends is part of the stored form: it decides hashes.
"""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Protocol

    class Source(Protocol):
        """Where the bytes come from."""

        def fill(self, buffer: memoryview) -> int:
            """Fill the buffer from the stream; a shorter count means that the stream has ended."""

    class Spans(Protocol):
        """Reads a stream span by span; used by one thread at a time.

        `ended` says that the span read last was the last one.
        """

        ended: bool

        def buffer(self) -> memoryview:
            """What each thread that reads brings along; its spans may lie in it."""

        def read(self, buffer: memoryview) -> memoryview:
            """The next span, until the thread reads another; it may be empty at the end."""


FRAME_SPAN = 2 * 1024 * 1024
"""Bytes of each fixed span but the last.

Larger spans compress better (4 MiB by 3 %), and slower, since they and their frames do not fit
into the caches of a core; smaller ones are no faster (`benchmarks/results/spans.md`).
"""

BLOCK = 8 * 1024 * 1024
"""Bytes that are read at once where the content marks off the spans: at least the longest."""


class FixedSpans:
    """Spans of `FRAME_SPAN` bytes.

    `expected` is how long the stream is said to be: for a short one less memory is made ready.
    """

    def __init__(self, source: Source, expected: int | None = None) -> None:
        self._source = source
        self._expected = FRAME_SPAN if expected is None else expected
        self.ended = False

    def buffer(self) -> memoryview:
        """Room for one span, or for the whole stream where that is shorter."""
        return memoryview(bytearray(min(FRAME_SPAN, self._expected + 1)))

    def read(self, buffer: memoryview) -> memoryview:
        """The next span, in the buffer."""
        size = self._source.fill(buffer)
        if size == len(buffer) < FRAME_SPAN:  # longer than was expected
            buffer = memoryview(bytearray(buffer) + bytearray(FRAME_SPAN - size))
            size += self._source.fill(buffer[size:])
        self.ended = size < FRAME_SPAN
        return buffer[:size]


class ContentSpans:
    """Spans that end where the content says.

    `first_boundary` tells the length of the first span in some bytes: all of them where no
    boundary is among them. `expected` is how long the stream is said to be.

    Memory: the block that is being cut, and those that the spans in use are slices of.
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
        self._rest = memoryview(b"")  # read, and in no span yet
        self._all_read = False
        self.ended = False

    def buffer(self) -> memoryview:
        """Nothing: spans are slices of larger blocks."""
        return memoryview(b"")

    def read(self, buffer: memoryview) -> memoryview:
        """The next span."""
        size = self._first_boundary(self._rest) if self._rest else 0
        # A span that reaches to the end of what was read may go on behind it.
        if size == len(self._rest) and not self._all_read:
            self._read_on()
            size = self._first_boundary(self._rest) if self._rest else 0
        span, self._rest = self._rest[:size], self._rest[size:]
        self.ended = self._all_read and not self._rest
        return span

    def _read_on(self) -> None:
        left = len(self._rest)
        block = memoryview(bytearray(min(BLOCK, left + self._expected + 1)))
        self._expected = BLOCK  # a stream that is longer than was expected is read by blocks
        block[:left] = self._rest
        filled = left + self._source.fill(block[left:])
        self._all_read = filled < len(block)
        self._rest = block[:filled]


def spans_of(size: int | None) -> int | None:
    """How many fixed spans a stream of that many bytes has; None where that is not known."""
    return None if size is None else max(1, -(-size // FRAME_SPAN))
