"""File bytes to frames of zstd: an independent one for each span of the input, made in parallel.

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

    from store_workers.stream.codec_threads import CodecThreads
    from store_workers.stream.spans import Spans
    from store_workers.threads import ThreadGroup


SAMPLE_FROM = 256 * 1024
"""Bytes of a span from which on it is worth while to look at a sample first."""

SAMPLES, PIECES, PIECE_SIZE = 4, 4, 2048
"""How many samples are taken of a span, of how many pieces each, and the bytes of a piece.

In larger samples zstd would not see a piece that compresses among those that do not.
"""

SAMPLED_UP_TO = 3
"""The highest level at which samples are looked at: who asks for more wants every byte found."""

SAMPLE_LEVEL, NOISE_LEVEL = 1, -10
"""The levels of the sample, and of what it shows to be noise.

At the second the search for matches skips ahead, and still finds what is repeated as a whole: 2 MiB
of random bytes take 0.44 ms and not 0.63. All of these decide hashes.
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


def frames_in_turn(
    spans: Spans, compress: Callable[[memoryview], CompressedSpan]
) -> Iterator[tuple[int, CompressedSpan]]:
    """Read and compress on this thread alone: (the frame's number, the frame).

    An empty stream has one empty frame.
    """
    buffer = spans.buffer()
    number = 0
    while not spans.ended:
        span = spans.read(buffer)
        if len(span) > 0 or number == 0:
            yield number, compress(span)
            number += 1


class ParallelCompressor:
    """Spans, compressed by several threads side by side.

    Each thread goes through `frames()`: it takes turns with the others in reading, and gets the
    frames of the spans that it read itself. An empty stream has one empty frame.

    Memory: a span for each thread, and `most` frames that nobody has called `done` for; while
    there are so many, nothing more is read.
    """

    def __init__(
        self,
        spans: Spans,
        compressor: Callable[[], Callable[[memoryview], CompressedSpan]],
        most: int,
        group: ThreadGroup,
    ) -> None:
        self._spans = spans
        self._compressor = compressor
        self._most = most
        self._condition = group.condition()  # for all below, and that one thread reads at a time
        self._reading = False
        self._ended = False
        self._read = 0  # spans read
        self._done = 0  # spans whose frames are done with

    def frames(self) -> Iterator[tuple[int, CompressedSpan]]:
        """Read and compress until the stream has ended: (the frame's number, the frame)."""
        buffer = self._spans.buffer()
        compress = self._compressor()
        while (number := self._begin_reading()) is not None:
            span = self._spans.read(buffer)
            is_frame = len(span) > 0 or number == 0
            self._end_reading(is_frame, ended=self._spans.ended)
            if is_frame:
                yield number, compress(span)

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


def span_compressor(level: int) -> Callable[[memoryview], bytes]:
    """What compresses spans to frames at a level, and noise without much of a search for matches.

    Whether a span is noise is found by compressing a sample of it: so it depends on the span and
    the library alone. Not to be shared between threads.
    """
    compress = frame_compressor(level)
    if level > SAMPLED_UP_TO:
        return compress
    compress_sample = frame_compressor(SAMPLE_LEVEL)
    compress_noise = frame_compressor(NOISE_LEVEL)

    def whole(span: memoryview) -> bytes:
        if len(span) < SAMPLE_FROM:
            return compress(span)
        is_noise = all(len(compress_sample(sample)) >= len(sample) for sample in samples_of(span))
        return (compress_noise if is_noise else compress)(span)

    return whole


def samples_of(span: memoryview) -> Iterator[memoryview]:
    """Pieces from all over the span, joined to a few samples."""
    step = len(span) // (SAMPLES * PIECES)
    places = range(0, step * SAMPLES * PIECES, step)
    for first in range(0, len(places), PIECES):
        pieces = [span[at : at + PIECE_SIZE] for at in places[first : first + PIECES]]
        yield memoryview(b"".join(pieces))


def frame_maker(
    level: int, verify: bool, threads: CodecThreads
) -> Callable[[], Callable[[memoryview], CompressedSpan]]:
    """What makes each thread its function from a span to a frame.

    With `verify` every frame is decoded again and compared with what was read; a difference is
    `INTERNAL`, and the frame is not handed on. No more are at work at once than `threads` allows.
    """

    def make() -> Callable[[memoryview], CompressedSpan]:
        compress_span = span_compressor(level)

        def compress(span: memoryview) -> CompressedSpan:
            with threads:
                return CompressedSpan(compress_span(span), len(span))

        if not verify:
            return compress
        decompress = frame_decompressor()

        def compress_and_compare(span: memoryview) -> CompressedSpan:
            frame = compress(span)
            try:
                with threads:
                    same = decompress(frame.data, len(span)) == span
            except CodecError:
                same = False
            if not same:
                raise WorkerError(
                    ErrorCode.INTERNAL,
                    "a compressed frame does not decode to the input: it was not stored",
                )
            return frame

        return compress_and_compare

    return make
