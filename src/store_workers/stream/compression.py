"""File bytes to a zstd stream: independent frames over fixed spans of the input, made in parallel.

The bytes of a frame depend on its span and the level alone, never on the number of threads, so
that the same file always gives the same chunks.
"""

from __future__ import annotations

from store_workers.errors import ErrorCode, WorkerError
from store_workers.stream.codec import CodecError, frame_compressor, frame_decompressor
from store_workers.stream.seek_table import CHECKSUM_SIZE

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from typing import Protocol

    from store_workers.threads import ThreadGroup

    class Source(Protocol):
        """Where the bytes come from."""

        def fill(self, buffer: memoryview) -> int:
            """Fill the buffer from the stream; a shorter count means that the stream has ended."""


FRAME_SPAN = 2 * 1024 * 1024
"""Bytes of input in each frame but the last: part of the stored form, since it decides hashes.

Larger spans compress better (4 MiB by 3 %), and slower, since they and their frames do not fit
into the caches of a core; smaller ones are no faster (`benchmarks/results/spans.md`).
"""


class CompressedSpan:
    """One span, compressed: `data` is the frame, `size` the bytes that it decodes to."""

    __slots__ = ("data", "size")

    def __init__(self, data: bytes, size: int) -> None:
        self.data = data
        self.size = size

    @property
    def checksum(self) -> int:
        """The lower half of the content's XXH64: a frame with a checksum ends in it."""
        return int.from_bytes(self.data[-CHECKSUM_SIZE:], "little")


class ParallelCompressor:
    """Spans of a source, compressed by several threads side by side.

    Each thread goes through `frames()`: it takes turns with the others in reading, and gets the
    frames of the spans that it read itself. An empty stream has one empty frame.

    `expected` is the stream's length as far as it is known: a short one needs no buffer of a whole
    span. Memory: a span for each thread, and `most` frames that nobody has called `done` for; while
    there are so many, nothing more is read.
    """

    def __init__(
        self,
        source: Source,
        compressor: Callable[[], Callable[[memoryview], CompressedSpan]],
        most: int,
        group: ThreadGroup,
        expected: int | None = None,
    ) -> None:
        self._source = source
        self._expected = FRAME_SPAN if expected is None else expected
        self._compressor = compressor
        self._most = most
        self._condition = group.condition()  # for all below, and that one thread reads at a time
        self._reading = False
        self._ended = False
        self._read = 0  # spans read
        self._done = 0  # spans whose frames are done with

    def frames(self) -> Iterator[tuple[int, CompressedSpan]]:
        """Read and compress until the stream has ended: (the frame's number, the frame)."""
        buffer = memoryview(bytearray(min(FRAME_SPAN, self._expected + 1)))
        compress = self._compressor()
        while (number := self._begin_reading()) is not None:
            size = self._source.fill(buffer)
            if size == len(buffer) < FRAME_SPAN:  # longer than was expected
                buffer = memoryview(bytearray(buffer) + bytearray(FRAME_SPAN - size))
                size += self._source.fill(buffer[size:])
            is_frame = size > 0 or number == 0
            self._end_reading(is_frame, ended=size < FRAME_SPAN)
            if is_frame:
                yield number, compress(buffer[:size])

    def done(self) -> None:
        """Say that one more frame takes no memory any longer."""
        with self._condition:
            self._done += 1
            self._condition.notify_all()

    def finish(self) -> None:
        """Wait until the stream has ended and all its frames are done with."""
        with self._condition:
            self._condition.wait_while(lambda: not self._ended or self._done < self._read)

    def _begin_reading(self) -> int | None:
        """Wait for the turn to read: the number of the span to be read, None at the end."""
        with self._condition:
            self._condition.wait_while(
                lambda: not self._ended and (self._reading or self._read - self._done >= self._most)
            )
            if self._ended:
                return None
            self._reading = True
            return self._read

    def _end_reading(self, is_frame: bool, ended: bool) -> None:
        with self._condition:
            self._reading = False
            self._ended = ended
            self._read += is_frame
            self._condition.notify_all()


def spans_of(size: int | None) -> int | None:
    """How many spans a stream of that many bytes has; None where that is not known."""
    return None if size is None else max(1, -(-size // FRAME_SPAN))


def frame_maker(level: int, verify: bool) -> Callable[[], Callable[[memoryview], CompressedSpan]]:
    """What makes each thread its function from a span to a frame.

    With `verify` every frame is decoded again and compared with what was read; a difference is
    `INTERNAL`, and the frame is not handed on.
    """

    def make() -> Callable[[memoryview], CompressedSpan]:
        compress = frame_compressor(level)
        if not verify:
            return lambda span: CompressedSpan(compress(span), len(span))
        decompress = frame_decompressor()

        def compress_and_compare(span: memoryview) -> CompressedSpan:
            frame = CompressedSpan(compress(span), len(span))
            try:
                same = decompress(frame.data, len(span)) == span
            except CodecError:
                same = False
            if not same:
                raise WorkerError(
                    ErrorCode.INTERNAL,
                    "a compressed frame does not decode to what was read: nothing of it was stored",
                )
            return frame

        return compress_and_compare

    return make
