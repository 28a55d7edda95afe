"""A zstd stream back to file bytes: whole frames side by side, written in order.

Frame boundaries are found in the stream as it arrives. A frame that declares a size of at most
`LARGEST_WHOLE` is decompressed in one shot on one of several threads; any other one, which may
be another tool's or a bomb, is decompressed block by block, so that it cannot cost memory.
"""

from __future__ import annotations

from functools import partial

from store_workers.errors import ErrorCode, StreamCorrupt, WorkerError
from store_workers.stream.codec import CodecError, frame_decompressor, stream_decompressor
from store_workers.stream.frames import (
    FRAME_MAGIC,
    TABLE_MAGIC,
    ChunkStream,
    SeekTable,
    is_skippable,
    read_frame_header,
    skip_block,
    skip_blocks,
)

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

    from store_workers.stream.frames import FrameHeader
    from store_workers.threads import ThreadGroup

LARGEST_WHOLE = 4 * 1024 * 1024
"""Bytes of content up to which a frame is held in memory as a whole."""

LONGEST_WHOLE = 2 * LARGEST_WHOLE
"""Bytes up to which a frame of that content may be compressed to: more than any encoder makes."""

CHECKSUM_SIZE = 4


class Output:
    """Where the content goes: `write` is called with it in order, one call at a time.

    Where there is a `write_at`, of content and offset, whole frames are given to that instead, in
    any order and from several threads at once. `expected` is the size that the file must have,
    None where it is not known; `path` names it in the error. `size` counts what was written.
    Raises `FILE_MISMATCH` as soon as more is coming than is expected, so that a bomb cannot fill
    the disk.
    """

    def __init__(
        self,
        write: Callable[[bytes], None],
        expected: int | None,
        write_at: Callable[[bytes, int], None] | None = None,
        path: str | None = None,
    ) -> None:
        self._path = path
        self._write = write
        self._expected = expected
        self._announced = 0
        self.write_at = write_at
        self.size = 0

    def announce(self, size: int) -> int:
        """Say that `size` more bytes will be written; the offset at which they belong."""
        offset = self._announced
        self._announced += size
        if self._expected is not None and self._announced > self._expected:
            raise WorkerError(
                ErrorCode.FILE_MISMATCH,
                f"the stream holds more than the {self._expected} bytes that were expected",
                path=self._path,
            )
        return offset

    def write(self, data: bytes, offset: int) -> None:
        """Write announced bytes at their offset; nobody else's may be written meanwhile."""
        if self.write_at is not None:
            self.write_at(data, offset)
        else:
            self._write(data)
        self.size += len(data)


def decompress_stream(
    stream: ChunkStream, output: Output, threads: int, group: ThreadGroup
) -> bool:
    """Decompress every frame of `stream`; did a seek table vouch for all of them?

    Returns once everything is written. Raises `StreamCorrupt` where the stream is no sequence of
    whole frames, where one does not decode, or where the seek table does not fit the frames or is
    not the last of them. Holds at most `2 * threads` frames and their content.
    """
    walk = _Walk(stream, output, _ParallelDecoder(output, threads, group))
    verified = walk.run()
    walk.decoder.finish()
    return verified


class _Walk:
    """Goes through the stream frame by frame."""

    def __init__(self, stream: ChunkStream, output: Output, decoder: _ParallelDecoder) -> None:
        self._stream = stream
        self._output = output
        self._table = SeekTable()
        self._comparable = True
        self.decoder = decoder

    def run(self) -> bool:
        stream = self._stream
        while not stream.at_end():
            stream.mark()
            magic = int.from_bytes(stream.read(4), "little")
            if magic == FRAME_MAGIC:
                self._frame()
            elif is_skippable(magic):
                if self._skippable(magic):
                    return True
            else:
                raise StreamCorrupt(
                    "what follows is no zstd frame: a chunk is missing, out of place, or none of"
                    " this file's"
                )
        return False

    def _skippable(self, magic: int) -> bool:
        """Go past a skippable frame; is it the seek table that ends the stream?"""
        self._stream.unmark()
        size = int.from_bytes(self._stream.read(4), "little")
        if magic != TABLE_MAGIC or not self._comparable:
            self._stream.skip(size)
            return False
        if not self._table.matches(self._stream, size):
            return False
        if not self._stream.at_end():
            raise StreamCorrupt("the stream goes on after its seek table: a chunk is out of place")
        return True

    def _frame(self) -> None:
        header = read_frame_header(self._stream)
        content_size = header.content_size
        if content_size is None or content_size > LARGEST_WHOLE:
            size, length, checksum = self._decode_by_block(header)
        else:
            size = content_size
            length, checksum = self._decode_whole(header, size)
        if header.has_checksum:
            self._table.add(length, size, checksum)
        else:
            self._comparable = False

    def _decode_whole(self, header: FrameHeader, size: int) -> tuple[int, int]:
        """Hand a frame to the threads: (its length, its checksum)."""
        offset = self._output.announce(size)
        last = False
        length = 0
        while not last:
            last, skipped = skip_blocks(self._stream)
            length += skipped
            if length > LONGEST_WHOLE:
                raise StreamCorrupt("a frame is far longer than the content that it declares")
        checksum = self._checksum(header)
        pieces = self._stream.taken()
        self.decoder.decode(pieces, size, offset)
        return sum(map(len, pieces)), checksum

    def _decode_by_block(self, header: FrameHeader) -> tuple[int, int, int]:
        """Decode a frame here, block by block: (its content's size, its length, its checksum)."""
        self.decoder.finish()
        decompress = stream_decompressor()
        before = self._output.size
        length = 0
        last = False
        while not last:
            last, _ = skip_block(self._stream)
            length += self._feed(decompress)
        checksum = self._checksum(header)
        length += self._feed(decompress)
        size = self._output.size - before
        if header.content_size not in (None, size):
            raise StreamCorrupt("a frame is not as long as it declares")
        return size, length, checksum

    def _feed(self, decompress: Callable[[bytes], bytes]) -> int:
        data = b"".join(self._stream.taken())
        self._stream.mark()
        content = _decoded(partial(decompress, data)) if data else b""
        if content:
            self._output.write(content, self._output.announce(len(content)))
        return len(data)

    def _checksum(self, header: FrameHeader) -> int:
        if not header.has_checksum:
            return 0
        return int.from_bytes(self._stream.read(CHECKSUM_SIZE), "little")


class _ParallelDecoder:
    """Threads that decompress whole frames and write them, in order where that matters."""

    def __init__(self, output: Output, threads: int, group: ThreadGroup) -> None:
        self._output = output
        self._most_threads = threads
        self._group = group
        self._changed = group.condition()  # guards all below
        self._waiting: list[tuple[int, list[memoryview], int, int]] = []
        self._threads = 0
        self._idle = 0
        self._taken = 0
        self._written = 0

    def decode(self, pieces: list[memoryview], size: int, offset: int) -> None:
        """Take the next frame, whose content of `size` bytes belongs at `offset`.

        Waits while `2 * threads` frames are in hand.
        """
        with self._changed:
            self._changed.wait_while(lambda: self._taken - self._written >= 2 * self._most_threads)
            self._waiting.append((self._taken, pieces, size, offset))
            self._taken += 1
            if self._idle < len(self._waiting) and self._threads < self._most_threads:
                name = f"decompress-{self._threads + 1}"
                self._threads += self._group.start(self._work, name, spare=self._threads > 0)
            self._changed.notify_all()

    def finish(self) -> None:
        """Wait until every frame is written."""
        with self._changed:
            self._changed.wait_while(lambda: self._written < self._taken)

    def _work(self) -> None:
        decompress = frame_decompressor()
        while True:
            with self._changed:
                self._idle += 1
                self._changed.wait_while(lambda: not self._waiting)
                self._idle -= 1
                number, pieces, size, offset = self._waiting.pop(0)
            frame = b"".join(pieces)
            pieces.clear()
            self._write(number, _decoded(partial(decompress, frame, size)), offset)

    def _write(self, number: int, content: bytes, offset: int) -> None:
        write_at = self._output.write_at
        if write_at is None:
            with self._changed:
                self._changed.wait_while(lambda: self._written < number)
            # Nobody else's turn comes before this one is counted, so the lock need not be held.
            self._output.write(content, offset)
        else:
            write_at(content, offset)
        with self._changed:
            self._written += 1
            if write_at is not None:
                self._output.size += len(content)
            self._changed.notify_all()


def _decoded(work: Callable[[], bytes]) -> bytes:
    try:
        return work()
    except CodecError as error:
        raise StreamCorrupt(f"a frame does not decode: {error}") from None
