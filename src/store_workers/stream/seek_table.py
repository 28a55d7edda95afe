"""The seek table: a skippable frame at the end of the stream that describes all frames.

The format is that of zstd's `contrib/seekable_format/zstd_seekable_compression_format.md`. Its
entries are read and written only with checksums: without them, a table does not prove the order.
"""

from __future__ import annotations

import struct

from store_workers.errors import StreamCorrupt

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator

TABLE_MAGIC = 0x184D2A5E
FOOTER_MAGIC = 0x8F92EAB1
HAS_CHECKSUMS = 0x80
CHECKSUM_SIZE = 4
_HEAD = struct.Struct("<II")
_ENTRY = struct.Struct("<III")
_FOOTER = struct.Struct("<IBI")
HEAD_SIZE, ENTRY_SIZE, FOOTER_SIZE = _HEAD.size, _ENTRY.size, _FOOTER.size


class FramePlace:
    """The position of a frame and of its content.

    The frame has `length` bytes at `offset` of the stream, its content `size` bytes at
    `content_offset` of the file. `checksum` is the lower half of the content's XXH64.
    """

    __slots__ = ("checksum", "content_offset", "length", "offset", "size")

    def __init__(
        self, offset: int, length: int, content_offset: int, size: int, checksum: int
    ) -> None:
        self.offset = offset
        self.length = length
        self.content_offset = content_offset
        self.size = size
        self.checksum = checksum


class SeekTable:
    """The frames of a stream in order, with 12 bytes of memory each."""

    def __init__(self, entries: bytes | bytearray = b"") -> None:
        self._entries = bytearray(entries)

    def __len__(self) -> int:
        return len(self._entries) // ENTRY_SIZE

    def __eq__(self, other: object) -> bool:
        return isinstance(other, SeekTable) and self._entries == other._entries

    __hash__ = None  # type: ignore[assignment]  # it grows

    def add(self, length: int, size: int, checksum: int) -> None:
        """Add the next frame: its length, and the size and checksum of its content."""
        self._entries += _ENTRY.pack(length, size, checksum)

    def clear(self) -> None:
        """Remove all frames."""
        self._entries.clear()

    def ends_with(self, other: SeekTable) -> bool:
        """Return whether the other table's frames are the last ones of this table."""
        return self._entries.endswith(other._entries)

    def encode(self) -> bytes:
        """Return the table as the skippable frame that ends a stream."""
        footer = _FOOTER.pack(len(self), HAS_CHECKSUMS, FOOTER_MAGIC)
        head = _HEAD.pack(TABLE_MAGIC, len(self._entries) + FOOTER_SIZE)
        return b"".join((head, self._entries, footer))

    @classmethod
    def parse(cls, encoded: bytes) -> SeekTable:
        """Parse a table from a skippable frame, header and footer included.

        Raises `StreamCorrupt` if it is not a complete table with checksums.
        """
        count = table_count(encoded)
        if count is None or len(encoded) != table_length(count):
            raise _no_table()
        if _HEAD.unpack_from(encoded) != (TABLE_MAGIC, len(encoded) - HEAD_SIZE):
            raise _no_table()
        return cls(encoded[HEAD_SIZE:-FOOTER_SIZE])

    def totals(self) -> tuple[int, int]:
        """Return the total bytes of all frames, and of their content."""
        length = size = 0
        for frame_length, frame_size, _ in _ENTRY.iter_unpack(self._entries):
            length += frame_length
            size += frame_size
        return length, size

    def places(self) -> Iterator[FramePlace]:
        """Yield the place of each frame, in order, from the start of the stream."""
        offset = content_offset = 0
        for length, size, checksum in _ENTRY.iter_unpack(self._entries):
            yield FramePlace(offset, length, content_offset, size, checksum)
            offset += length
            content_offset += size

    def covering(self, begin: int, end: int) -> list[FramePlace]:
        """Return the places of the frames with the content from `begin` to `end`."""
        return [
            place
            for place in self.places()
            if max(begin, place.content_offset) < min(end, place.content_offset + place.size)
        ]


def table_count(tail: bytes) -> int | None:
    """Return the number of frames in the table at the end of a stream, from its last 9 bytes.

    Return None if the stream does not end in a table with checksums.
    """
    if len(tail) < FOOTER_SIZE:
        return None
    count, descriptor, magic = _FOOTER.unpack_from(tail, len(tail) - FOOTER_SIZE)
    if magic != FOOTER_MAGIC or not descriptor & HAS_CHECKSUMS:
        return None
    return int(count)


def table_length(count: int) -> int:
    """Return the size in bytes of a table of that many frames."""
    return HEAD_SIZE + count * ENTRY_SIZE + FOOTER_SIZE


def _no_table() -> StreamCorrupt:
    return StreamCorrupt("the stream does not end in a seek table")
