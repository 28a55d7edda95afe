"""Frame boundaries and the seek table, against the bytes that the formats describe."""

from __future__ import annotations

import struct

import pytest
import zstandard
from hypothesis import given
from hypothesis import strategies as st

from store_workers.errors import StreamCorrupt
from store_workers.stream.frames import (
    ChunkStream,
    SeekTable,
    is_skippable,
    read_frame_header,
    skip_block,
)
from tests.unit.streams import (
    COMPRESSED,
    MAGIC,
    RAW,
    RESERVED,
    RLE,
    block,
    cut_evenly,
    frame,
    hand_made,
    worker_made,
)

GOLDEN_TABLE = bytes.fromhex(
    "5e2a4d18"  # a skippable frame's magic number, 0x184D2A5E, little-endian
    "21000000"  # 33 bytes follow: two entries of 12, and the footer
    "0a000000" "00100000" "78563412"  # 10 bytes compressed, 4096 bytes, checksum 0x12345678
    "ffffffff" "01000000" "00000080"
    "02000000"  # two frames
    "80"  # with checksums
    "b1ea928f"  # 0x8F92EAB1
)  # fmt: skip


def golden() -> SeekTable:
    table = SeekTable()
    table.add(10, 4096, 0x12345678)
    table.add(0xFFFFFFFF, 1, 0x80000000)
    return table


def test_the_table_byte_by_byte() -> None:
    assert golden().encode() == GOLDEN_TABLE
    assert len(golden()) == 2
    assert SeekTable().encode() == bytes.fromhex("5e2a4d18090000000000000080b1ea928f")


def told_by(table: SeekTable, content: bytes) -> bool:
    return table.matches(ChunkStream(iter([content])), len(content))


def test_a_table_is_told_by_itself_alone() -> None:
    content = GOLDEN_TABLE[8:]
    assert told_by(golden(), content)
    for position in range(24):
        with pytest.raises(StreamCorrupt):
            told_by(golden(), flipped(content, position))
    for position in range(24, 28):
        with pytest.raises(StreamCorrupt):  # another number of frames
            told_by(golden(), flipped(content, position))
    with pytest.raises(StreamCorrupt):
        told_by(golden(), content[12:])
    with pytest.raises(StreamCorrupt):
        told_by(golden(), content[:12] + content)
    with pytest.raises(StreamCorrupt):
        told_by(SeekTable(), content)


def test_what_is_no_table_with_checksums_vouches_for_nothing() -> None:
    content = GOLDEN_TABLE[8:]
    assert not told_by(golden(), content[:-1] + b"\0")  # another magic number
    assert not told_by(golden(), flipped(content, 28, 0x80))  # no checksums
    assert not told_by(golden(), b"")
    assert not told_by(golden(), b"12345678")
    assert not told_by(golden(), bytes(100))
    assert not told_by(golden(), bytes(33))


def test_a_table_that_ends_early() -> None:
    stream = ChunkStream(iter([GOLDEN_TABLE[8:20]]))
    with pytest.raises(StreamCorrupt):
        golden().matches(stream, 33)


def test_a_table_in_very_small_chunks() -> None:
    contents = [bytes([number % 256]) for number in range(300)]
    table = worker_made(contents)[-1]
    expected = SeekTable()
    for content in contents:
        made = frame(content)
        expected.add(len(made), len(content), int.from_bytes(made[-4:], "little"))
    stream = ChunkStream(iter(cut_evenly(table[8:], 1)))
    assert expected.matches(stream, len(table) - 8)


def flipped(data: bytes, position: int, bit: int = 1) -> bytes:
    return data[:position] + bytes([data[position] ^ bit]) + data[position + 1 :]


@pytest.mark.parametrize(
    ("flags", "rest", "content_size", "has_checksum"),
    [
        (0x00, "00", None, False),
        (0x04, "88", None, True),
        (0x20, "07", 7, False),
        (0x24, "ff", 255, True),
        (0x40, "00 0000", 256, False),
        (0x60, "ffff", 65791, False),
        (0x80, "00 78563412", 0x12345678, False),
        (0xA0, "00000000", 0, False),
        (0xC0, "00 ffffffffffffffff", 2**64 - 1, False),
        (0xE4, "0000001000000000", 0x10000000, True),
        (0x10, "00", None, False),  # the bit that decoders ignore
        (0x01, "00 00", None, False),  # the dictionary's number 0 means none
        (0x22, "0000 05", 5, False),
        (0x63, "00000000 0100", 257, False),
    ],
)
def test_frame_headers(flags: int, rest: str, content_size: int | None, has_checksum: bool) -> None:
    header = bytes([flags]) + bytes.fromhex(rest)
    stream = ChunkStream(iter([header + b"follows"]))
    found = read_frame_header(stream)
    assert (found.content_size, found.has_checksum) == (content_size, has_checksum)
    assert stream.read(7) == b"follows"


@pytest.mark.parametrize(
    ("header", "problem"),
    [
        (bytes([0x08, 0]), "reserves"),
        (bytes([0x28, 0]), "reserves"),
        (bytes([0x01, 0, 1]), "dictionary"),
        (bytes([0x02, 0, 0, 1]), "dictionary"),
        (bytes([0x23, 0, 0, 0, 9, 0]), "dictionary"),
        (bytes([]), "ends in the middle"),
        (bytes([0xC0, 0, 0, 0]), "ends in the middle"),
    ],
)
def test_frame_headers_that_are_refused(header: bytes, problem: str) -> None:
    with pytest.raises(StreamCorrupt, match=problem):
        read_frame_header(ChunkStream(iter([header])))


@given(st.binary(min_size=18, max_size=18))
def test_frame_headers_are_read_as_the_library_reads_them(header: bytes) -> None:
    try:
        expected = zstandard.get_frame_parameters(MAGIC + header)
    except zstandard.ZstdError:
        return  # it looks at the window too
    try:
        found = read_frame_header(ChunkStream(iter([header])))
    except StreamCorrupt:
        assert expected.dict_id or header[0] & 0x08
        return
    unknown = expected.content_size in {2**64 - 1, -1}
    assert found.has_checksum == expected.has_checksum
    if not unknown:
        assert found.content_size == expected.content_size
    else:
        assert found.content_size in {None, 2**64 - 1}


@pytest.mark.parametrize(
    ("data", "last", "length"),
    [
        (block(RAW, 5, b"12345"), False, 8),
        (block(RAW, 0, b"", last=True), True, 3),
        (block(RLE, 128 * 1024, b"x"), False, 4),
        (block(RLE, 0, b"x", last=True), True, 4),
        (block(COMPRESSED, 3, b"123", last=True), True, 6),
        (block(RAW, 128 * 1024, bytes(128 * 1024)), False, 128 * 1024 + 3),
    ],
    ids=range(6),
)
def test_blocks(data: bytes, last: bool, length: int) -> None:
    for size in (1, 2, 7, len(data) + 9):
        stream = ChunkStream(iter(cut_evenly(data + b"follows", size)))
        assert skip_block(stream) == (last, length)
        assert stream.read(7) == b"follows"


@pytest.mark.parametrize(
    "data",
    [
        block(RESERVED, 1, b"x"),
        block(RESERVED, 0, b"", last=True),
        block(RAW, 128 * 1024 + 1, bytes(128 * 1024 + 1)),
        block(RLE, (1 << 21) - 1, b"x"),
        block(RAW, 5, b"1234"),
        b"\0\0",
        b"",
    ],
    ids=range(7),
)
def test_blocks_that_are_refused(data: bytes) -> None:
    with pytest.raises(StreamCorrupt):
        skip_block(ChunkStream(iter([data])))


def test_skippable_magic_numbers() -> None:
    (first,) = struct.unpack("<I", bytes.fromhex("502a4d18"))
    assert [is_skippable(first + step) for step in (-1, 0, 15, 16)] == [False, True, True, False]
    assert not is_skippable(int.from_bytes(MAGIC, "little"))


def test_the_parts_of_a_frame_are_where_the_library_puts_them() -> None:
    for content in (b"", b"x", b"abc" * 100_000, bytes(range(256)) * 1000):
        made = frame(content)
        stream = ChunkStream(iter([made]))
        assert stream.read(4) == MAGIC
        header = read_frame_header(stream)
        assert (header.content_size, header.has_checksum) == (len(content), True)
        last = False
        while not last:
            last, _ = skip_block(stream)
        assert len(stream.read(4)) == 4
        assert stream.at_end()


def test_hand_made_frames_are_frames() -> None:
    made = hand_made(0x20, b"\x05", block(RAW, 5, b"12345", last=True))
    assert zstandard.ZstdDecompressor().decompress(made) == b"12345"


@given(st.lists(st.binary(max_size=9), max_size=20), st.data())
def test_chunks_read_as_one_stream(chunks: list[bytes], data: st.DataObject) -> None:
    whole = b"".join(chunks)
    stream = ChunkStream(iter(chunks))
    position = marked = 0
    marking = False
    for _ in range(12):
        step = data.draw(st.sampled_from(["read", "skip", "mark", "taken", "unmark", "at_end"]))
        count = data.draw(st.integers(0, len(whole) - position))
        if step == "read":
            assert stream.read(count) == whole[position : position + count]
            position += count
        elif step == "skip":
            stream.skip(count)
            position += count
        elif step == "mark":
            stream.mark()
            marked, marking = position, True
        elif step == "taken" and marking:
            assert b"".join(stream.taken()) == whole[marked:position]
        elif step == "unmark":
            stream.unmark()
            marking = False
        elif step == "at_end" and (chunks and all(chunks)):
            assert stream.at_end() == (position == len(whole))
    beyond = data.draw(st.sampled_from([stream.read, stream.skip]))
    with pytest.raises(StreamCorrupt, match="ends in the middle"):
        beyond(len(whole) - position + 1)
