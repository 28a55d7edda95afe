"""Compresses spans of a file in parallel, each to an independent zstd frame.

The bytes of a frame depend only on its span and the level, not on the number of threads, so the
same file always has the same chunks.
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
"""Spans of at least that many bytes are sampled first."""

SAMPLES, PIECES, PIECE_SIZE = 4, 4, 2048
"""The number of samples of a span, of pieces in each sample, and the bytes of a piece.

In larger samples, zstd would miss a compressible piece among incompressible ones.
"""

SAMPLED_UP_TO = 3
"""The highest level at which spans are sampled: higher levels search everything."""

SAMPLE_LEVEL, NOISE_LEVEL = 1, -10
"""The levels for the sample, and for spans that do not compress.

At the second level, the search for matches skips ahead, and still finds long repetitions: 2 MiB of
random bytes take 0.44 ms in place of 0.63. All of these decide hashes.
"""


class CompressedSpan:
    """A compressed span: `data` is the frame, `size` the bytes of its content."""

    __slots__ = ("data", "size")

    def __init__(self, data: bytes, size: int) -> None:
        self.data = data
        self.size = size

    @property
    def checksum(self) -> int:
        """The checksum at the end of the frame: the lower half of the content's XXH64."""
        return int.from_bytes(self.data[-CHECKSUM_SIZE:], "little")


def frames_in_turn(
    spans: Spans, compress: Callable[[memoryview], CompressedSpan]
) -> Iterator[tuple[int, CompressedSpan]]:
    """Read and compress on this thread. Yield (the frame's number, the frame).

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
    """Spans, compressed by several threads in parallel.

    Each thread iterates over `frames()`: threads read in turn, and each yields the frames of the
    spans that it read. An empty stream has one empty frame.

    Memory: a span for each thread, and `most` frames for which `done` was not called; while there
    are so many, reading waits.
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
        # Guards the attributes below; one thread reads at a time.
        self._condition = group.condition()
        self._reading = False
        self._ended = False
        self._read = 0  # spans read
        self._done = 0  # spans whose frames are done

    def frames(self) -> Iterator[tuple[int, CompressedSpan]]:
        """Read and compress until the stream ends. Yield (the frame's number, the frame)."""
        buffer = self._spans.buffer()
        compress = self._compressor()
        while (number := self._begin_reading()) is not None:
            span = self._spans.read(buffer)
            is_frame = len(span) > 0 or number == 0
            self._end_reading(is_frame, ended=self._spans.ended)
            if is_frame:
                yield number, compress(span)

    def done(self) -> None:
        """Report that the memory of one more frame was released."""
        with self._condition:
            self._done += 1
            self._condition.notify_all()

    def finish(self) -> None:
        """Wait until the stream has ended and all its frames are done."""
        with self._condition:
            self._condition.wait_while(lambda: not self._ended or self._done < self._read)

    def _begin_reading(self) -> int | None:
        """Wait for the turn to read. Return the number of the span to read, None at the end."""
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
    """Compresses spans to frames at a level, with a faster search for incompressible spans.

    A sample of the span decides, so the result depends only on the span and the library. Must not
    be shared between threads.
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
    """Return a few samples, each joined from pieces of the whole span."""
    step = len(span) // (SAMPLES * PIECES)
    places = range(0, step * SAMPLES * PIECES, step)
    for first in range(0, len(places), PIECES):
        pieces = [span[at : at + PIECE_SIZE] for at in places[first : first + PIECES]]
        yield memoryview(b"".join(pieces))


def frame_maker(
    level: int, verify: bool, threads: CodecThreads
) -> Callable[[], Callable[[memoryview], CompressedSpan]]:
    """Return a function that returns, for each thread, a function from a span to a frame.

    With `verify`, every frame is decoded and compared with the input; a difference is `INTERNAL`,
    and the frame is not used. `threads` limits how many work at once.
    """

    def make() -> Callable[[memoryview], CompressedSpan]:
        compress_span = span_compressor(level)

        def compress(span: memoryview) -> CompressedSpan:
            with threads:
                return CompressedSpan(compress_span(span), len(span))

        if not verify:
            return compress
        decompress = frame_decompressor()
        content = bytearray()

        def compress_and_compare(span: memoryview) -> CompressedSpan:
            nonlocal content
            frame = compress(span)
            if len(content) != len(span):
                content = bytearray(len(span))
            try:
                with threads:
                    decompress(frame.data, memoryview(content))
                    # Bytes: a view is compared byte by byte, which takes as long as compressing.
                    same = content == bytes(span)
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
