"""Finds zstd frames in a stream, and checks them against the seek tables.

Formats: zstd frames and blocks as in RFC 8878, sections 3.1.1 and 3.1.2. Nothing here decompresses.
"""

from __future__ import annotations

from store_workers.errors import StreamCorrupt
from store_workers.stream.seek_table import (
    CHECKSUM_SIZE,
    ENTRY_SIZE,
    FOOTER_SIZE,
    TABLE_MAGIC,
    SeekTable,
    table_count,
)

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from store_workers.stream.chunk_stream import ChunkStream
    from store_workers.stream.seek_table import FramePlace

FRAME_MAGIC = 0xFD2FB528
SKIPPABLE_MAGIC = 0x184D2A50
SKIPPABLE_MASK = 0xFFFFFFF0
MAGIC_SIZE = 4

RLE_BLOCK, COMPRESSED_BLOCK = 1, 2
RLE_BITS, COMPRESSED_BITS = RLE_BLOCK << 1, COMPRESSED_BLOCK << 1
LARGEST_BLOCK = 128 * 1024

LARGEST_WHOLE = 4 * 1024 * 1024
"""A frame with at most that many bytes of content is held in memory completely."""

LONGEST_WHOLE = 2 * LARGEST_WHOLE
"""Maximum compressed size of such a frame in bytes: more than any encoder produces."""

LARGEST_LISTED = (1 << 32) - 1
"""Maximum size of a frame, and of its content, that a seek table can list, in bytes."""

NO_TABLE = (
    "the stream has no seek table at its end: its last chunks are missing, or another tool"
    " made it: then the message needs size or sha256"
)
FRAMES_UNLISTED = (
    "the stream has frames that no seek table lists: chunks are missing, repeated or out of place,"
    " or another tool made it: then the message needs size or sha256"
)
REPEATED = (
    "the list holds a whole stream twice: chunks are repeated. If that is intended, the"
    " message needs size or sha256"
)


class Frame:
    """One frame of a stream, not decompressed.

    `offset` is its position in the stream, `content_offset` that of its content in the file. A
    frame that declares at most `LARGEST_WHOLE` bytes of content is complete: `pieces` are views of
    chunks, and all other attributes are set. For any other frame, which may be a bomb, `pieces` is
    None, and `blocks` yields its bytes, some blocks at a time. It must be read to the end before
    the next frame. `length` and `checksum` are set after the last block. The decoder sets
    `content_size`, in bytes, if the frame does not declare it.
    """

    __slots__ = (
        "blocks",
        "checksum",
        "content_offset",
        "content_size",
        "length",
        "offset",
        "pieces",
    )

    def __init__(self, offset: int, content_offset: int, content_size: int | None) -> None:
        self.offset = offset
        self.content_offset = content_offset
        self.content_size = content_size
        self.length = 0
        self.checksum: int | None = None
        self.pieces: list[memoryview] | None = None
        self.blocks: Iterator[bytes] = iter(())


class FrameReader:
    """The frames of a stream, in order; `for frame in reader` yields each once.

    Raises `StreamCorrupt` if the stream is not a sequence of complete frames, or if a seek table
    lists frames other than those before it. Several streams, one after the other, are one stream:
    each table lists the frames since the previous table. `passed` are the frames before the first
    one, if reading does not begin at the start of the stream.
    """

    def __init__(self, stream: ChunkStream, passed: SeekTable | None = None) -> None:
        self._stream = stream
        self._listable = passed or SeekTable()  # the frames that a table can list
        self._content_offset = self._listable.totals()[1]
        self._unlisted = False  # a frame since the last table is too large for a table
        self._open = True  # no table since the last frame
        self._previous: SeekTable | None = (
            None  # frames of a stream that ended at the end of a chunk
        )
        self._doubt: str | None = None

    @property
    def doubt(self) -> str | None:
        """After all frames were read: return None if tables confirm them, else why not."""
        return self._doubt or (NO_TABLE if self._open else None)

    def __iter__(self) -> Iterator[Frame]:
        stream = self._stream
        while not stream.at_end():
            stream.mark()
            magic = int.from_bytes(stream.read(MAGIC_SIZE), "little")
            if magic == FRAME_MAGIC:
                frame = _begin_frame(stream, self._content_offset)
                yield frame
                self._note(frame)
            elif is_skippable(magic):
                stream.unmark()
                self._skippable(magic, int.from_bytes(stream.read(4), "little"))
            else:
                raise StreamCorrupt(
                    "what follows is not a zstd frame: a chunk is missing, out of place, or belongs"
                    " to another file"
                )

    def _note(self, frame: Frame) -> None:
        for _ in frame.blocks:  # blocks that the caller did not read
            pass
        size = frame.content_size
        self._open = True
        self._content_offset += size or 0
        if size is None or frame.checksum is None or max(size, frame.length) > LARGEST_LISTED:
            self._listable.clear()
            self._unlisted = True
        else:
            self._listable.add(frame.length, size, frame.checksum)

    def _skippable(self, magic: int, size: int) -> None:
        """Skip a skippable frame of `size` bytes; if it is a seek table, check it."""
        if magic != TABLE_MAGIC or size < FOOTER_SIZE:
            self._stream.skip(size)
            return
        listed = None
        length = size - FOOTER_SIZE
        if length <= len(self._listable) * ENTRY_SIZE:
            listed = SeekTable(self._stream.read(length))
        else:  # it lists more frames than there were: it is not read into memory
            self._stream.skip(length)
        count = table_count(self._stream.read(FOOTER_SIZE))
        if count is not None:
            self._hear(listed if length == count * ENTRY_SIZE else None, count)

    def _hear(self, listed: SeekTable | None, count: int) -> None:
        """Compare a table of `count` frames with the frames since the last table."""
        if listed is not None and self._listable.ends_with(listed):
            if self._unlisted or len(listed) < len(self._listable):
                self._doubt = FRAMES_UNLISTED
        elif self._unlisted:
            self._doubt = FRAMES_UNLISTED
        else:
            raise StreamCorrupt(
                f"the seek table lists {count} frames, but the stream has {len(self._listable)}:"
                " a chunk is missing, repeated or out of place"
            )
        # A list that was repeated as a whole looks like two streams. So it is not accepted if
        # equal streams begin and end with chunks; other tools' chunks seldom do.
        if listed is not None and listed == self._previous:
            self._doubt = REPEATED
        self._previous = listed if self._stream.at_chunk_end() else None
        self._listable.clear()
        self._unlisted = self._open = False


def frames_at(stream: ChunkStream, places: Iterable[FramePlace]) -> Iterator[Frame]:
    """Yield the frames at these places of the stream, in the order of `places`.

    Places before the stream's own offset are skipped. Raises `StreamCorrupt` if something else is
    there, and `StreamEnds` at the end of the chunks: the remaining `places` are then after the
    frame that could not be read.
    """
    for place in places:
        if place.offset < stream.offset:
            continue
        stream.unmark()
        stream.skip(place.offset - stream.offset)
        stream.mark()
        if int.from_bytes(stream.read(MAGIC_SIZE), "little") != FRAME_MAGIC:
            raise _other_frame(place)
        frame = _begin_frame(stream, place.content_offset)
        if frame.content_size != place.size:
            raise _other_frame(place)
        yield frame
        for _ in frame.blocks:
            pass
        if (frame.length, frame.checksum) != (place.length, place.checksum):
            raise _other_frame(place)


def _other_frame(place: FramePlace) -> StreamCorrupt:
    return StreamCorrupt(
        f"the seek table lists a frame at byte {place.offset} of the stream, but the frame"
        " there is another one"
    )


def _begin_frame(stream: ChunkStream, content_offset: int) -> Frame:
    """Read the frame whose magic number was read: completely, or up to its first block."""
    offset = stream.offset - MAGIC_SIZE
    header = read_frame_header(stream)
    frame = Frame(offset, content_offset, header.content_size)
    if header.content_size is None or header.content_size > LARGEST_WHOLE:
        frame.blocks = _blocks(stream, header, frame)
        return frame
    last = False
    while not last:
        last = skip_blocks(stream)
        if stream.offset - offset > LONGEST_WHOLE:
            raise StreamCorrupt("a frame is much longer than its declared content")
    frame.checksum = _checksum(stream, header)
    frame.length = stream.offset - offset
    frame.pieces = stream.taken()
    return frame


def _blocks(stream: ChunkStream, header: FrameHeader, frame: Frame) -> Iterator[bytes]:
    """Yield a frame's bytes by blocks: its header with the first, its checksum with the last."""
    last = False
    while not last:
        last = skip_block(stream)
        if last:
            frame.checksum = _checksum(stream, header)
            frame.length = stream.offset - frame.offset
        data = b"".join(stream.taken())
        stream.mark()
        yield data


def _checksum(stream: ChunkStream, header: FrameHeader) -> int | None:
    if not header.has_checksum:
        return None
    return int.from_bytes(stream.read(CHECKSUM_SIZE), "little")


class FrameHeader:
    """The header of a frame.

    `content_size` is in bytes, None if not declared; `has_checksum`: the frame ends in a checksum
    of its content.
    """

    __slots__ = ("content_size", "has_checksum")

    def __init__(self, content_size: int | None, has_checksum: bool) -> None:
        self.content_size = content_size
        self.has_checksum = has_checksum


def read_frame_header(stream: ChunkStream) -> FrameHeader:
    """Read a frame's header (RFC 8878, 3.1.1.1) after its magic number."""
    flags = stream.read(1)[0]
    if flags & 0x08:
        raise StreamCorrupt("a frame sets a reserved bit")
    single_segment = bool(flags & 0x20)
    window_length = 0 if single_segment else 1
    dictionary_length = (0, 1, 2, 4)[flags & 3]
    size_length = (1 if single_segment else 0, 2, 4, 8)[flags >> 6]
    rest = stream.read(window_length + dictionary_length + size_length)
    if any(rest[window_length : window_length + dictionary_length]):
        raise StreamCorrupt("a frame requires a dictionary, which is not supported")
    content_size = None
    if size_length:
        content_size = int.from_bytes(rest[-size_length:], "little")
        content_size += 256 if size_length == 2 else 0
    return FrameHeader(content_size, bool(flags & 4))


def skip_block(stream: ChunkStream) -> bool:
    """Skip one block (RFC 8878, 3.1.1.2). Return whether it is the frame's last."""
    header = stream.read(3)
    bits = header[0] | header[1] << 8 | header[2] << 16
    kind = (bits >> 1) & 3
    size = bits >> 3
    if kind > COMPRESSED_BLOCK or size > LARGEST_BLOCK:
        raise StreamCorrupt("a frame contains a block of an unknown type")
    stream.skip(1 if kind == RLE_BLOCK else size)
    return bool(bits & 1)


def skip_blocks(stream: ChunkStream) -> bool:
    """Skip at least one block, and all that are complete in the current chunk.

    Return whether the frame's last is among them. Faster than `skip_block` in a loop.
    """
    data, begin = stream.at_hand()
    position = begin
    last = False
    most = len(data) - 3
    while position <= most and not last:
        bits = data[position] | data[position + 1] << 8 | data[position + 2] << 16
        size = bits >> 3
        kind = bits & 6
        end = position + 3 + (1 if kind == RLE_BITS else size)
        if end > most + 3 or kind > COMPRESSED_BITS or size > LARGEST_BLOCK:
            break
        position = end
        last = bool(bits & 1)
    stream.skip_to(position)
    return last if position > begin else skip_block(stream)


def is_skippable(magic: int) -> bool:
    """Return whether this is the magic number of a skippable frame (RFC 8878, 3.1.2)."""
    return magic & SKIPPABLE_MASK == SKIPPABLE_MAGIC
