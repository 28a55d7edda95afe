"""File bytes to a zstd stream: independent frames over fixed spans of the input, made in parallel.

The bytes of a frame depend on its span and the level alone, never on the number of threads, so
that the same file always gives the same chunks.
"""

from __future__ import annotations

from store_workers.errors import ErrorCode, WorkerError
from store_workers.stream.codec import CodecError, frame_compressor, frame_decompressor

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Protocol, TypeVar

    from store_workers.threads import ThreadGroup

    T = TypeVar("T")

    class Source(Protocol):
        """Where the bytes come from."""

        def fill(self, buffer: memoryview) -> int:
            """Fill the buffer from the stream; a shorter count means that the stream has ended."""


FRAME_SPAN = 2 * 1024 * 1024
"""Bytes of input in each frame but the last: part of the stored form, since it decides hashes.

Larger spans compress better (4 MiB by 3 %), and slower, since they and their frames do not fit
into the caches of a core; smaller ones are no faster (`benchmarks/results/spans.md`).
"""

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


class ParallelCompressor:
    """Threads take turns in reading spans, and compress them side by side.

    `in_order` is called with each frame in the order of the stream, one call at a time; what it
    returns is handed to `then` on the same thread, while the frame is still in that core's cache,
    and may wait there: whoever consumes slowly makes the readers wait.

    An empty stream has one empty frame. Memory: `threads` spans, and `2 * threads` frames that
    `then` is not through with.
    """

    def __init__(
        self,
        source: Source,
        compressor: Callable[[], Callable[[memoryview], Frame]],
        threads: int,
        group: ThreadGroup,
        in_order: Callable[[Frame], T],
        then: Callable[[T], None],
    ) -> None:
        self._source = source
        self._compressor = compressor
        self._threads = threads
        self._group = group
        self._in_order = in_order
        self._then = then
        self._condition = group.condition()  # for all below, and that one thread reads at a time
        self._reading = False
        self._ended = False
        self._working = 0
        self._read = 0  # spans read
        self._ordered = 0  # frames given to `in_order`
        self._done = 0  # frames whose result `then` is through with
        self._ready: dict[int, Frame] = {}

    def run(self) -> None:
        """Compress the whole stream, on this thread and on others if it is long."""
        self._working = 1
        self._work()
        with self._condition:
            self._condition.wait_while(lambda: self._working > 0)

    def _work(self) -> None:
        buffer = memoryview(bytearray(FRAME_SPAN))
        compress = self._compressor()
        while (number := self._begin()) is not None:
            size = self._source.fill(buffer)
            self._read_done(size)
            if size or number == 0:
                self._hand_in(number, compress(buffer[:size]))
        with self._condition:
            self._working -= 1
            self._condition.notify_all()

    def _begin(self) -> int | None:
        """Wait for the turn to read; the number of the span to be read, None at the end."""
        with self._condition:
            self._condition.wait_while(
                lambda: (
                    not self._ended
                    and (self._reading or self._read - self._done >= 2 * self._threads)
                )
            )
            if self._ended:
                return None
            self._reading = True
            return self._read

    def _read_done(self, size: int) -> None:
        with self._condition:
            self._reading = False
            self._ended = size < FRAME_SPAN
            self._read += 1
            # Another thread pays only where there is another span.
            if not self._ended and self._working < self._threads:
                name = f"compress-{self._working + 1}"
                self._working += self._group.start(self._work, name, spare=True)
            self._condition.notify_all()

    def _hand_in(self, number: int, frame: Frame) -> None:
        with self._condition:
            self._ready[number] = frame
            results = []
            while self._ordered in self._ready:
                results.append(self._in_order(self._ready.pop(self._ordered)))
                self._ordered += 1
        for result in results:
            self._then(result)
            with self._condition:
                self._done += 1
                self._condition.notify_all()


def frame_maker(level: int, verify: bool) -> Callable[[], Callable[[memoryview], Frame]]:
    """What makes each thread its function from a span to a frame.

    With `verify` every frame is decoded again and compared with what was read; a difference is
    `INTERNAL`, and the frame is not handed on.
    """

    def make() -> Callable[[memoryview], Frame]:
        compress = frame_compressor(level)
        if not verify:
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

    return make
