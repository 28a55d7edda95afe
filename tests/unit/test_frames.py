"""Frame boundaries and the seek table, compared with the specified bytes."""

from __future__ import annotations

import struct
from typing import TYPE_CHECKING

import pytest
import zstandard
from hypothesis import given
from hypothesis import strategies as st

from store_workers.errors import StreamCorrupt
from store_workers.stream.chunk_stream import ChunkStream, StreamEnds
from store_workers.stream.frames import (
    FRAMES_UNLISTED,
    NO_TABLE,
    FrameReader,
    frames_at,
    is_skippable,
    read_frame_header,
    skip_block,
)
from store_workers.stream.seek_table import SeekTable, table_count, table_length
from tests.unit.streams import (
    COMPRESSED,
    LARGE_WINDOW,
    MAGIC,
    RAW,
    RESERVED,
    RLE,
    SMALLEST_WINDOW,
    block,
    cut_evenly,
    frame,
    hand_made,
    skippable,
    worker_made,
)

if TYPE_CHECKING:
    from collections.abc import Callable

    from store_workers.stream.frames import Frame

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


def test_a_table_is_read_as_it_was_written() -> None:
    assert SeekTable.parse(GOLDEN_TABLE) == golden()
    assert SeekTable.parse(SeekTable().encode()) == SeekTable()
    assert table_count(GOLDEN_TABLE[-9:]) == table_count(GOLDEN_TABLE) == 2
    assert table_length(2) == len(GOLDEN_TABLE)


@pytest.mark.parametrize(
    "encoded",
    [
        b"",
        GOLDEN_TABLE[:-1],
        GOLDEN_TABLE[1:],
        GOLDEN_TABLE[-9:],
        b"x" + GOLDEN_TABLE,
        GOLDEN_TABLE[:8] + GOLDEN_TABLE[20:],
        *(GOLDEN_TABLE[:at] + b"?" + GOLDEN_TABLE[at + 1 :] for at in (0, 4, 32, 36, 40)),
        GOLDEN_TABLE[:36] + b"\0" + GOLDEN_TABLE[37:],  # no checksums
    ],
    ids=range(12),
)
def test_what_is_no_whole_table(encoded: bytes) -> None:
    with pytest.raises(StreamCorrupt):
        SeekTable.parse(encoded)


def test_the_places_of_frames() -> None:
    table = SeekTable()
    for length, size in ((10, 100), (20, 0), (30, 5), (5, 1000)):
        table.add(length, size, length)
    places = list(table.places())
    assert [(p.offset, p.length) for p in places] == [(0, 10), (10, 20), (30, 30), (60, 5)]
    assert [(p.content_offset, p.size) for p in places] == [
        (0, 100),
        (100, 0),
        (100, 5),
        (105, 1000),
    ]
    assert [p.checksum for p in places] == [10, 20, 30, 5]

    def covering(begin: int, end: int) -> list[int]:
        return [place.offset for place in table.covering(begin, end)]

    assert covering(0, 1) == covering(99, 100) == [0]
    assert covering(99, 101) == [0, 30]
    assert covering(100, 105) == [30]
    assert covering(104, 1105) == [30, 60]
    assert covering(1105, 2000) == covering(5, 5) == []


# What tables say of the frames before them.


def doubt(stream: bytes, cut: int = 524288) -> str | None:
    reader = FrameReader(ChunkStream(cut_evenly(stream, cut)))
    for _ in reader:
        pass
    return reader.doubt


def table_with(change: Callable[[bytes], bytes]) -> bytes:
    return b"".join(FRAMES[:-1]) + skippable(change(FRAMES[-1][8:]), 14)


FRAMES = worker_made([b"one", b"two"])


def test_a_table_vouches_for_its_own_frames_alone() -> None:
    assert doubt(b"".join(FRAMES)) is None
    for position in range(28):
        with pytest.raises(StreamCorrupt, match="the seek table lists"):
            doubt(table_with(lambda table: flipped(table, position)))  # noqa: B023 - called here
    for change in (lambda table: table[:12] + table, lambda _table: GOLDEN_TABLE[8:]):
        with pytest.raises(StreamCorrupt, match="the seek table lists"):
            doubt(table_with(change))


def test_frames_before_those_that_a_table_lists() -> None:
    assert doubt(FRAMES[0] + b"".join(FRAMES)) == FRAMES_UNLISTED
    assert doubt(b"".join(FRAMES[:-1]) + SeekTable().encode()) == FRAMES_UNLISTED


@pytest.mark.parametrize(
    "change",
    [
        lambda table: table[:-1] + b"\0",  # another magic number
        lambda table: flipped(table, 28, 0x80),  # no checksums
        lambda _table: b"",
        lambda _table: b"12345678",
        lambda _table: bytes(100),
        lambda _table: bytes(33),
    ],
    ids=range(6),
)
def test_what_is_no_table_with_checksums_vouches_for_nothing(
    change: Callable[[bytes], bytes],
) -> None:
    assert doubt(table_with(change)) == NO_TABLE


def test_a_table_that_ends_early() -> None:
    with pytest.raises(StreamEnds):
        doubt(b"".join(FRAMES)[:-1])


def test_a_table_in_very_small_chunks() -> None:
    stream = b"".join(worker_made([bytes([number % 256]) for number in range(300)]))
    assert doubt(stream, 1) is None


def test_a_frame_that_no_table_can_list() -> None:
    frame = hand_made(0x04, SMALLEST_WINDOW, block(RAW, 1, b"x", last=True), b"abcd")
    reader = FrameReader(ChunkStream([frame + SeekTable().encode()]))
    for found in reader:
        found.content_size = 1 << 32
    assert reader.doubt == FRAMES_UNLISTED


# Frames as they are given out.


def test_whole_frames_and_where_they_lie() -> None:
    contents = [b"", b"x", b"abc" * 10_000]
    made = worker_made(contents)
    frames = list(FrameReader(ChunkStream(cut_evenly(b"".join(made), 10))))
    assert [b"".join(found.pieces or ()) for found in frames] == made[:-1]
    assert [found.content_size for found in frames] == [0, 1, 30_000]
    assert [found.content_offset for found in frames] == [0, 0, 1]
    for found, place in zip(frames, SeekTable.parse(made[-1]).places(), strict=True):
        assert (found.offset, found.length) == (place.offset, place.length)
        assert (found.content_offset, found.checksum) == (place.content_offset, place.checksum)


def test_a_long_frame_comes_block_by_block() -> None:
    blocks = [block(RLE, 128 * 1024, b"x") for _ in range(40)]
    blocks.append(block(RAW, 2, b"yz", last=True))
    made = hand_made(0x84, LARGE_WINDOW + (40 * 131072 + 2).to_bytes(4, "little"), *blocks, b"sum!")
    for read in (True, False):
        frames = iter(FrameReader(ChunkStream(cut_evenly(skippable(b"") + made + FRAMES[0], 7))))
        found = next(frames)
        assert (found.pieces, found.content_size, found.offset) == (None, 40 * 131072 + 2, 8)
        if read:
            given = list(found.blocks)
            assert len(given) == 41
            assert b"".join(given) == made
        last = next(frames)
        assert (found.length, found.checksum) == (len(made), int.from_bytes(b"sum!", "little"))
        assert (last.offset, last.content_offset) == (8 + len(made), 40 * 131072 + 2)


SEVERAL = worker_made([b"%d" % number * number for number in range(1, 20)])


@given(st.data())
def test_frames_at_their_places(data: st.DataObject) -> None:
    """Any frames, from chunks that begin anywhere before the first and end after the last."""
    stream = b"".join(SEVERAL)
    places = list(SeekTable.parse(SEVERAL[-1]).places())
    picked = sorted(data.draw(st.sets(st.integers(0, len(places) - 1), min_size=1)))
    wanted = [places[number] for number in picked]
    begin = data.draw(st.integers(0, wanted[0].offset))
    end = data.draw(st.integers(wanted[-1].offset + wanted[-1].length, len(stream)))
    chunks = cut_evenly(stream[begin:end], data.draw(st.integers(1, 99)))
    frames = list(frames_at(ChunkStream(chunks, begin), wanted))
    assert [b"".join(found.pieces or ()) for found in frames] == [SEVERAL[n] for n in picked]
    assert [found.content_offset for found in frames] == [place.content_offset for place in wanted]


def test_frames_around_a_chunk_that_is_not_to_be_had() -> None:
    """What a check of all that is there needs: each row of chunks is a stream of its own."""
    chunks = cut_evenly(b"".join(SEVERAL), 64)
    places = list(SeekTable.parse(SEVERAL[-1]).places())
    bad = 3
    lost = [p for p in places if p.offset < 64 * (bad + 1) and 64 * bad < p.offset + p.length]
    left = iter(places)
    found: list[Frame] = []
    with pytest.raises(StreamEnds):
        found.extend(frames_at(ChunkStream(chunks[:bad]), left))
    found = list(frames_at(ChunkStream(chunks[:bad]), places[: places.index(lost[0])]))
    found += frames_at(ChunkStream(chunks[bad + 1 :], 64 * (bad + 1)), left)
    assert [f.offset for f in found] == [p.offset for p in places if p not in lost]


@pytest.mark.parametrize("change", ["offset", "size", "length", "checksum"])
def test_places_where_another_frame_lies(change: str) -> None:
    (place, *_) = list(SeekTable.parse(SEVERAL[-1]).places())[4:]
    setattr(place, change, getattr(place, change) + 1)
    with pytest.raises(StreamCorrupt, match="there is another one"):
        list(frames_at(ChunkStream([b"".join(SEVERAL)]), [place]))


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
        (bytes([0x08, 0]), "reserved"),
        (bytes([0x28, 0]), "reserved"),
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
        assert skip_block(stream) is last
        assert stream.offset == length
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
            last = skip_block(stream)
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
