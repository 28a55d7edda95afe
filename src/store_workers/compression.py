"""File bytes to a zstd stream: independent frames over fixed spans of the input, made in parallel.

The bytes of a frame depend on its span and the level alone, never on the number of threads, so
that the same file always gives the same chunks.
"""

from __future__ import annotations

from store_workers.codec import CodecError, frame_compressor, frame_decompressor
from store_workers.errors import ErrorCode, WorkerError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from typing import Protocol

    from store_workers.crew import Crew

    class Source(Protocol):
        """Where the bytes come from."""

        def fill(self, buffer: memoryview) -> int:
            """Fill the buffer from the stream; a shorter count means that the stream has ended."""


FRAME_SPAN = 4 * 1024 * 1024
"""Bytes of input in each frame but the last: part of the stored form, since it decides hashes."""

CHECKSUM_SIZE = 4


class Frame:
    """One compressed span: `data` is the frame, `size` the bytes that it decodes to."""

    __slots__ = ("data", "size")

    def __init__(self, data: bytes, size: int) -> None:
        self.data = data
        self.size = size

    @property
    def checksum(self) -> int:
        """The lower half of the content's XXH64: a frame with a checksum ends in it."""
        return int.from_bytes(self.data[-CHECKSUM_SIZE:], "little")


def compressed_frames(
    source: Source, level: int, threads: int, verify: bool, crew: Crew
) -> Iterator[Frame]:
    """Yield the frames of the whole stream, in order; at least one, for an empty stream too.

    Holds at most `threads` spans of input and `2 * threads` frames that are not yet consumed:
    whoever consumes slowly makes the readers wait. With `verify` every frame is decoded and
    compared with what was read before it is yielded; a difference is `INTERNAL`.
    """
    work = _ParallelFrames(source, level, verify, window=2 * threads, crew=crew)
    if not work.first_is_all():
        for number in range(threads):
            crew.start(work.run, f"compress-{number}")
    return work.in_order()


class _ParallelFrames:
    """Threads take turns in reading spans, and compress them side by side."""

    def __init__(self, source: Source, level: int, verify: bool, window: int, crew: Crew) -> None:
        self._source = source
        self._level = level
        self._verify = verify
        self._window = window
        self._turn = crew.guard()  # for all below, and that one thread reads at a time
        self._reading = False
        self._ended = False
        self._read = 0  # spans read
        self._taken = 0  # frames consumed
        self._ready: dict[int, Frame] = {}

    def first_is_all(self) -> bool:
        """Make the first frame here, and say whether it is the only one: no thread is needed."""
        buffer = memoryview(bytearray(FRAME_SPAN))
        compress = self._compressor()
        size = self._source.fill(buffer)
        self._ready[0] = compress(buffer[:size])
        self._read = 1
        self._ended = size < FRAME_SPAN
        return self._ended

    def run(self) -> None:
        """One thread's work: read a span, compress it, hand it in, until the stream has ended."""
        buffer = memoryview(bytearray(FRAME_SPAN))
        compress = self._compressor()
        while (number := self._begin()) is not None:
            size = self._source.fill(buffer)
            self._read_done(size)
            if size:
                self._hand_in(number, compress(buffer[:size]))

    def in_order(self) -> Iterator[Frame]:
        """Yield the frames by their place in the stream."""
        number = 0
        while (frame := self._next(number)) is not None:
            number += 1
            yield frame

    def _begin(self) -> int | None:
        """Wait for the turn to read; the number of the span to be read, None at the end."""
        with self._turn:
            self._turn.wait_while(
                lambda: (
                    not self._ended and (self._reading or self._read - self._taken >= self._window)
                )
            )
            if self._ended:
                return None
            self._reading = True
            return self._read

    def _read_done(self, size: int) -> None:
        with self._turn:
            self._reading = False
            self._ended = size < FRAME_SPAN
            self._read += 1 if size else 0
            self._turn.notify_all()

    def _hand_in(self, number: int, frame: Frame) -> None:
        with self._turn:
            self._ready[number] = frame
            self._turn.notify_all()

    def _next(self, number: int) -> Frame | None:
        with self._turn:
            self._turn.wait_while(
                lambda: number not in self._ready and not (self._ended and number == self._read)
            )
            if number not in self._ready:
                return None
            self._taken = number + 1
            self._turn.notify_all()
            return self._ready.pop(number)

    def _compressor(self) -> Callable[[memoryview], Frame]:
        compress = frame_compressor(self._level)
        if not self._verify:
            return lambda span: Frame(compress(span), len(span))
        decompress = frame_decompressor()

        def compress_and_compare(span: memoryview) -> Frame:
            frame = Frame(compress(span), len(span))
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
