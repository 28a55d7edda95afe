"""Where zstd frames begin and end, and the seek table that says which ones belong together.

Formats: zstd frames and blocks as in RFC 8878, sections 3.1.1 and 3.1.2; the seek table as in
zstd's `contrib/seekable_format/zstd_seekable_compression_format.md`. Nothing here decompresses.
"""

from __future__ import annotations

import struct

from store_workers.errors import StreamCorrupt

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator

FRAME_MAGIC = 0xFD2FB528
SKIPPABLE_MAGIC = 0x184D2A50
SKIPPABLE_MASK = 0xFFFFFFF0
TABLE_MAGIC = 0x184D2A5E
TABLE_FOOTER_MAGIC = 0x8F92EAB1
TABLE_HAS_CHECKSUMS = 0x80
TABLE_RESERVED_BITS = 0x7C
_ENTRY = struct.Struct("<III")
_FOOTER = struct.Struct("<IBI")
_HEAD = struct.Struct("<II")

RAW_BLOCK, RLE_BLOCK, COMPRESSED_BLOCK = 0, 1, 2
RLE_BITS, COMPRESSED_BITS = RLE_BLOCK << 1, COMPRESSED_BLOCK << 1
LARGEST_BLOCK = 128 * 1024


class SeekTable:
    """Collects what each frame is, and tells it in zstd's seekable format.

    An entry is 12 bytes: the frame's compressed and decompressed size and its content checksum
    (the lower half of the content's XXH64), which the frame itself ends in.
    """

    def __init__(self) -> None:
        self._entries = bytearray()

    def add(self, compressed_size: int, size: int, checksum: int) -> None:
        """Note the next frame of the stream."""
        self._entries += _ENTRY.pack(compressed_size, size, checksum)

    def __len__(self) -> int:
        return len(self._entries) // _ENTRY.size

    def encode(self) -> bytes:
        """The table as the skippable frame that ends a stream."""
        footer = _FOOTER.pack(len(self), TABLE_HAS_CHECKSUMS, TABLE_FOOTER_MAGIC)
        head = _HEAD.pack(TABLE_MAGIC, len(self._entries) + len(footer))
        return b"".join((head, self._entries, footer))

    def matches(self, stream: ChunkStream, size: int) -> bool:
        """Read a skippable frame's content of `size` bytes; is it this very table?

        False where it is no seek table, or one without checksums, which cannot vouch for the
        order. Raises `StreamCorrupt` where it is a seek table of other frames.
        """
        if size < _FOOTER.size:
            stream.skip(size)
            return False
        fits = size == len(self._entries) + _FOOTER.size
        entries = b""
        if fits:
            entries = stream.read(size - _FOOTER.size)
        else:
            stream.skip(size - _FOOTER.size)
        count, descriptor, magic = _FOOTER.unpack(stream.read(_FOOTER.size))
        if magic != TABLE_FOOTER_MAGIC or not descriptor & TABLE_HAS_CHECKSUMS:
            return False
        if entries != bytes(self._entries) or count != len(self):
            raise StreamCorrupt(
                f"the seek table lists {count} frames, which are not the {len(self)} frames of"
                " the stream: a chunk is missing, repeated or out of place"
            )
        return True


class ChunkStream:
    """Chunks, in order, read as one stream of bytes. Raises `StreamCorrupt` where it ends early."""

    def __init__(self, chunks: Iterator[bytes]) -> None:
        self._chunks = chunks
        self._bytes = b""
        self._chunk = memoryview(self._bytes)
        self._position = 0
        self._marked = 0
        self._keeping = False
        self._pieces: list[memoryview] = []

    def at_end(self) -> bool:
        """Has the stream no more bytes?"""
        return self._position == len(self._chunk) and not self._next_chunk()

    def mark(self) -> None:
        """Forget what was taken; what follows is to be taken, until `unmark`."""
        self._pieces = []
        self._marked = self._position
        self._keeping = True

    def unmark(self) -> None:
        """Forget what was taken, and take nothing."""
        self._pieces = []
        self._keeping = False

    def taken(self) -> list[memoryview]:
        """Everything since the last mark, as views of the chunks it came in."""
        return [*self._pieces, self._chunk[self._marked : self._position]]

    def read(self, size: int) -> bytes:
        """The next `size` bytes."""
        end = self._position + size
        if end <= len(self._chunk):
            data = self._chunk[self._position : end]
            self._position = end
            return bytes(data)
        pieces = []
        while size > (left := len(self._chunk) - self._position):
            pieces.append(self._chunk[self._position :])
            self._position = len(self._chunk)
            self._demand_chunk()
            size -= left
        pieces.append(self._chunk[self._position : self._position + size])
        self._position += size
        return b"".join(pieces)

    def skip(self, size: int) -> None:
        """Go past the next `size` bytes."""
        while size > (left := len(self._chunk) - self._position):
            self._position = len(self._chunk)
            self._demand_chunk()
            size -= left
        self._position += size

    def at_hand(self) -> tuple[bytes, int]:
        """The chunk that is being read, and the position in it."""
        return self._bytes, self._position

    def skip_to(self, position: int) -> None:
        """Go on at a position of the chunk that is at hand."""
        self._position = position

    def _demand_chunk(self) -> None:
        if not self._next_chunk():
            raise StreamCorrupt("the stream ends in the middle: its last chunks are missing")

    def _next_chunk(self) -> bool:
        chunk = next(self._chunks, None)
        if chunk is None:
            return False
        if self._keeping:
            self._pieces.append(self._chunk[self._marked :])
        self._bytes = chunk
        self._chunk = memoryview(chunk)
        self._position = self._marked = 0
        return True


class FrameHeader:
    """What a frame declares.

    `content_size` is in bytes, None where it is not told; `has_checksum`: does the frame end in a
    checksum of its content?
    """

    __slots__ = ("content_size", "has_checksum")

    def __init__(self, content_size: int | None, has_checksum: bool) -> None:
        self.content_size = content_size
        self.has_checksum = has_checksum


def read_frame_header(stream: ChunkStream) -> FrameHeader:
    """Read a frame's header (RFC 8878, 3.1.1.1) behind its magic number."""
    flags = stream.read(1)[0]
    if flags & 0x08:
        raise StreamCorrupt("a frame sets a bit that the zstd format reserves")
    single_segment = bool(flags & 0x20)
    window_length = 0 if single_segment else 1
    dictionary_length = (0, 1, 2, 4)[flags & 3]
    size_length = (1 if single_segment else 0, 2, 4, 8)[flags >> 6]
    rest = stream.read(window_length + dictionary_length + size_length)
    if any(rest[window_length : window_length + dictionary_length]):
        raise StreamCorrupt("a frame needs a dictionary, and the worker has none")
    content_size = None
    if size_length:
        content_size = int.from_bytes(rest[-size_length:], "little")
        content_size += 256 if size_length == 2 else 0
    return FrameHeader(content_size, bool(flags & 4))


def skip_block(stream: ChunkStream) -> tuple[bool, int]:
    """Go past one block (RFC 8878, 3.1.1.2): (is it the frame's last, its bytes in the stream)."""
    header = stream.read(3)
    bits = header[0] | header[1] << 8 | header[2] << 16
    kind = (bits >> 1) & 3
    size = bits >> 3
    if kind > COMPRESSED_BLOCK or size > LARGEST_BLOCK:
        raise StreamCorrupt("a frame holds a block that the zstd format does not know")
    length = 1 if kind == RLE_BLOCK else size
    stream.skip(length)
    return bool(bits & 1), len(header) + length


def skip_blocks(stream: ChunkStream) -> tuple[bool, int]:
    """Go past at least one block, and past all that lie whole in the chunk at hand.

    (Is the frame's last among them, their bytes in the stream): `skip_block` many times over,
    without its price for each.
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
    return (last, position - begin) if position > begin else skip_block(stream)


def is_skippable(magic: int) -> bool:
    """Is this the magic number of a skippable frame (RFC 8878, 3.1.2)?"""
    return magic & SKIPPABLE_MASK == SKIPPABLE_MAGIC
