"""Decompresses a zstd stream: complete frames in parallel, written at their positions.

A complete frame is decompressed in one call on one of several threads. A larger frame (of another
tool, or a decompression bomb) is decompressed block by block, which bounds the memory.
"""

from __future__ import annotations

from functools import partial

from store_workers.errors import ErrorCode, StreamCorrupt, WorkerError
from store_workers.stream.codec import CodecError, frame_decompressor, stream_decompressor
from store_workers.stream.frames import FrameReader

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import TypeVar

    from store_workers.stream.chunk_stream import ChunkStream
    from store_workers.stream.codec_threads import CodecThreads
    from store_workers.stream.frames import Frame
    from store_workers.threads import ThreadGroup

    T = TypeVar("T")


class Output:
    """The target of the content: `write` is called with it in order, one call at a time.

    If there is a `write_at`, of content and offset, complete frames are passed to it instead, in
    any order and from several threads. `expected` is the required size of the file, None if not
    known; `path` names it in the error. `size` counts the written bytes. Raises `FILE_MISMATCH` as
    soon as more content comes than expected, so that a bomb cannot fill the disk.
    """

    def __init__(
        self,
        write: Callable[[memoryview], None],
        expected: int | None,
        write_at: Callable[[memoryview, int], None] | None = None,
        path: str | None = None,
    ) -> None:
        self._path = path
        self._write = write
        self._expected = expected
        self.write_at = write_at
        self.size = 0

    def announce(self, end: int) -> None:
        """Announce that content up to that offset will be written."""
        if self._expected is not None and end > self._expected:
            raise WorkerError(
                ErrorCode.FILE_MISMATCH,
                f"the stream has more than the expected {self._expected} bytes",
                path=self._path,
            )

    def write(self, data: memoryview, offset: int) -> None:
        """Write announced bytes at their offset; only one thread at a time may call this.

        Their memory is used again afterwards.
        """
        if self.write_at is not None:
            self.write_at(data, offset)
        else:
            self._write(data)
        self.size += len(data)


def decompress_stream(
    stream: ChunkStream, output: Output, threads: CodecThreads, group: ThreadGroup
) -> str | None:
    """Decompress `stream`. Return None if seek tables confirm all frames, or why not.

    Returns when everything is written. Raises `StreamCorrupt` if the stream is not a sequence of
    complete frames, if a frame cannot be decoded, or if a seek table does not match the frames.
    """
    reader = FrameReader(stream)
    decoder = ParallelDecoder(output, threads, group)
    for frame in reader:
        decoder.decode(frame)
    decoder.finish()
    return reader.doubt


SHORT_FRAME = 256 * 1024
"""A frame with at most that many bytes of content is decoded on the reading thread if no other
frame is in progress: passing it to another thread would take longer."""


class ParallelDecoder:
    """Threads that decompress complete frames and write them, in order if necessary.

    Frames must be added in the order of their content. Memory: `2 * threads` frames, and the
    content of `threads` of them. Raises `StreamCorrupt` if a frame cannot be decoded, on any
    thread.
    """

    def __init__(self, output: Output, threads: CodecThreads, group: ThreadGroup) -> None:
        self._output = output
        self._codec_threads = threads
        self._most_threads = threads.most
        self._group = group
        self._changed = group.condition()  # guards the attributes below
        self._waiting: list[tuple[int, Frame]] = []
        self._threads = 0
        self._idle = 0
        self._taken = 0
        self._written = 0

    def decode(self, frame: Frame) -> None:
        """Add the next frame. Waits while the maximum number of frames is in progress."""
        if frame.pieces is None:
            self.finish()
            self._decode_by_block(frame)
            return
        self._output.announce(frame.content_offset + (frame.content_size or 0))
        if (
            self._written == self._taken and (frame.content_size or 0) <= SHORT_FRAME
        ) or not self._hand_over(frame):
            self._decode_here(frame)

    def finish(self) -> None:
        """Wait until every frame is written."""
        with self._changed:
            self._changed.wait_while(lambda: self._written < self._taken)

    def _hand_over(self, frame: Frame) -> bool:
        """Pass a frame to another thread. Return false if there is none."""
        with self._changed:
            self._changed.wait_while(lambda: self._taken - self._written >= 2 * self._most_threads)
            if self._idle <= len(self._waiting) and self._threads < self._most_threads:
                name = f"decompress-{self._threads + 1}"
                self._threads += self._group.try_start(self._work, name, spare=self._threads > 0)
            if not self._threads:
                return False
            self._waiting.append((self._taken, frame))
            self._taken += 1
            self._changed.notify_all()
        return True

    def _decode_here(self, frame: Frame) -> None:
        """Decode a complete frame on this thread while no other is in progress."""
        content = memoryview(bytearray(frame.content_size or 0))
        self._decode_whole(frame, content)
        self._output.write(content, frame.content_offset)

    def _decode_by_block(self, frame: Frame) -> None:
        """Decode a frame on this thread, and set the size of its content."""
        decompress = stream_decompressor()
        size = 0
        for blocks in frame.blocks:
            with self._codec_threads:
                content = _decoded(partial(decompress, blocks))
            if content:
                begin = frame.content_offset + size
                size += len(content)
                self._output.announce(begin + len(content))
                self._output.write(memoryview(content), begin)
        if frame.content_size not in (None, size):
            raise StreamCorrupt("the length of a frame differs from its declared length")
        frame.content_size = size

    def _work(self) -> None:
        # Used again for each frame: to map new memory takes a quarter of the time of decoding.
        buffer = memoryview(b"")
        while True:
            with self._changed:
                self._idle += 1
                self._changed.wait_while(lambda: not self._waiting)
                self._idle -= 1
                number, frame = self._waiting.pop(0)
            size = frame.content_size or 0
            if len(buffer) < size:
                buffer = memoryview(bytearray(size))
            self._decode_whole(frame, buffer[:size])
            self._write(number, buffer[:size], frame.content_offset)

    def _decode_whole(self, frame: Frame, buffer: memoryview) -> None:
        """Fill a buffer with the content of a complete frame, and release the frame."""
        data = b"".join(frame.pieces or ())
        frame.pieces = None  # its chunks can be released
        with self._codec_threads:
            _decoded(partial(frame_decompressor(), data, buffer))

    def _write(self, number: int, content: memoryview, offset: int) -> None:
        write_at = self._output.write_at
        if write_at is None:
            with self._changed:
                self._changed.wait_while(lambda: self._written < number)
            # No other thread's turn comes before this one is counted, so the lock is not needed.
            self._output.write(content, offset)
        else:
            write_at(content, offset)
        with self._changed:
            self._written += 1
            if write_at is not None:
                self._output.size += len(content)
            self._changed.notify_all()


def _decoded(work: Callable[[], T]) -> T:
    try:
        return work()
    except CodecError as error:
        raise StreamCorrupt(f"a frame cannot be decoded: {error}") from None
