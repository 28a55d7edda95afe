"""Decompression of streams: of the worker, of other tools, damaged ones and bombs."""

from __future__ import annotations

import io
import subprocess
import sys
import threading
from functools import cache
from pathlib import Path
from random import Random

import pytest
import zstandard
from hypothesis import given
from hypothesis import strategies as st

from store_workers.errors import ErrorCode, StreamCorrupt, WorkerError
from store_workers.stream.codec import CodecError, frame_decompressor, stream_decompressor
from store_workers.stream.decompression import Output
from store_workers.stream.frames import LARGEST_WHOLE, LONGEST_WHOLE
from store_workers.stream.spans import FRAME_SPAN
from tests.unit.in_process import TIMEOUT, beside
from tests.unit.streams import (
    ABSURD_WINDOW,
    HAS_CHECKSUM,
    RAW,
    RESERVED,
    RESERVED_BIT,
    RLE,
    SINGLE_SEGMENT,
    SMALLEST_WINDOW,
    UNUSED_BIT,
    block,
    cut_evenly,
    decode,
    decode_to,
    frame,
    hand_made,
    skippable,
    table_of,
    worker_made,
)

ROOT = Path(__file__).parents[2]
TEXT = b"".join(b"line %d of a text that compresses\n" % number for number in range(40_000))
NOISE = Random(5).randbytes(300_000)


def compressed(content: bytes, level: int = 3, **parameters: bool | int) -> bytes:
    """One frame as another program makes it."""
    made = zstandard.ZstdCompressionParameters.from_level(level, **parameters)
    return zstandard.ZstdCompressor(compression_params=made).compress(content)


def unsized(content: bytes, **parameters: bool | int) -> bytes:
    """Return a frame without the size of its content."""
    made = zstandard.ZstdCompressionParameters.from_level(3, **parameters)
    compressor = zstandard.ZstdCompressor(compression_params=made).compressobj()
    return compressor.compress(content) + compressor.flush()


CONTENTS = [b"", b"x", TEXT, NOISE, bytes(1_000_000), b"", TEXT[:5000]]


@pytest.mark.parametrize("threads", [1, 2, 5])
@pytest.mark.parametrize("size", [1, 4093, 524288])
def test_the_workers_own_stream(threads: int, size: int) -> None:
    contents = [CONTENTS[0], CONTENTS[1], TEXT[:500]] if size == 1 else CONTENTS
    stream = b"".join(worker_made(contents))
    assert decode(cut_evenly(stream, size), threads=threads) == (b"".join(contents), True)


def test_frames_of_the_worker_are_decoded_whole() -> None:
    assert FRAME_SPAN <= LARGEST_WHOLE
    worst = len(frame(Random(1).randbytes(FRAME_SPAN)))
    assert worst < LONGEST_WHOLE


@cache
def foreign_streams() -> dict[str, tuple[bytes, bytes]]:
    """Return streams of other tools, and their content."""
    short = TEXT[:100_000]
    large = TEXT + bytes(LARGEST_WHOLE)
    several = [compressed(TEXT[:1000]), unsized(TEXT[1000:5000]), compressed(TEXT[5000:])]
    between = [compressed(b""), unsized(b""), compressed(TEXT), compressed(b"")]
    skipped = [skippable(b""), compressed(TEXT), *(skippable(NOISE, kind) for kind in range(16))]
    no_checksums = skippable(bytes.fromhex("0000000000b1ea928f"), 14)
    return {
        "one frame": (compressed(TEXT), TEXT),
        "with a checksum": (compressed(TEXT, write_checksum=True), TEXT),
        "without a size": (unsized(TEXT), TEXT),
        "without a size, with a checksum": (unsized(TEXT, write_checksum=True), TEXT),
        "several frames": (b"".join(several), TEXT),
        "empty frames between": (b"".join(between), TEXT),
        "skippable frames": (b"".join(skipped), TEXT),
        "a small window": (unsized(TEXT, window_log=10), TEXT),
        "a large window": (unsized(TEXT, window_log=27), TEXT),
        "level 19": (compressed(short, level=19), short),
        "large blocks of noise": (unsized(NOISE) + compressed(TEXT), NOISE + TEXT),
        "content of more than is held as a whole": (compressed(large), large),
        "a table without checksums": (compressed(TEXT, write_checksum=True) + no_checksums, TEXT),
    }


@pytest.mark.parametrize("size", [777, 524288])
def test_streams_of_other_tools_decode_and_are_not_vouched_for(size: int) -> None:
    for name, (stream, content) in foreign_streams().items():
        assert decode(cut_evenly(stream, size)) == (content, False), name


def test_a_table_of_frames_without_checksums_does_not_vouch() -> None:
    made = compressed(TEXT)
    assert decode([made + table_of([(made, TEXT)])]) == (TEXT, False)


def test_another_tools_table_with_checksums_vouches() -> None:
    frames = [(compressed(part, write_checksum=True), part) for part in (TEXT[:9999], TEXT[9999:])]
    stream = skippable(b"hello") + b"".join(data for data, _ in frames) + table_of(frames)
    assert decode([stream]) == (TEXT, True)


def test_frames_by_block_and_whole_stay_in_order() -> None:
    parts = [bytes([number]) * 50_000 for number in range(40)]
    frames = [compressed(p) if n % 3 else unsized(p) for n, p in enumerate(parts)]
    assert decode(cut_evenly(b"".join(frames), 100), threads=5)[0] == b"".join(parts)


SMALL = worker_made([b"first", b"second" * 100, b"", NOISE[:300]])


def test_a_stream_that_ends_anywhere_is_noticed() -> None:
    stream = b"".join(SMALL)
    ends = {len(b"".join(SMALL[:count])) for count in range(len(SMALL))}
    for length in range(1, len(stream)):
        if length in ends:  # whole frames without their table: nothing vouches for them
            assert decode([stream[:length]])[1] is False
        else:
            with pytest.raises(StreamCorrupt):
                decode([stream[:length]])


def test_what_follows_a_table_must_be_another_stream() -> None:
    stream = b"".join(SMALL)
    for rest in (b"\0", b"garbage", SMALL[-1], stream[:-1], b"".join(SMALL[1:])):
        with pytest.raises(StreamCorrupt):
            decode([stream, rest])


SECOND = worker_made([b"another", NOISE[:400]])


@pytest.mark.parametrize("size", [1, 100, 524288])
def test_streams_behind_each_other_are_one(size: int) -> None:
    streams = [SMALL, SECOND, SMALL, worker_made([b""]), SECOND]
    joined = b"".join(b"".join(stream) for stream in streams)
    expected = b"".join(decode(stream)[0] for stream in streams)
    assert decode(cut_evenly(joined, size)) == (expected, True)
    ends = [b"".join(stream) for stream in streams]
    assert decode(ends) == (expected, True), "the list is that of whole streams"


def test_streams_of_which_one_is_another_tools() -> None:
    foreign, own = compressed(TEXT), b"".join(SMALL)
    content = decode(SMALL)[0]
    listable = compressed(TEXT, write_checksum=True)
    assert decode([own, foreign]) == (content + TEXT, False)
    assert decode([foreign, own]) == (TEXT + content, False)
    assert decode([listable, own]) == (TEXT + content, False)
    assert decode([own, skippable(b"note")]) == (content, True)


def test_a_stream_that_comes_twice_is_not_vouched_for_where_chunks_part_it() -> None:
    """It can be a list that was repeated by mistake."""
    stream, content = b"".join(SMALL), decode(SMALL)[0]
    for cut in (100, 4096):
        chunks = cut_evenly(stream, cut)
        assert decode(chunks * 2) == (content * 2, False)
        assert decode(chunks * 3) == (content * 3, False)
        assert decode(chunks * 2 + SECOND)[1] is False
    assert decode([stream + stream]) == (content * 2, True)


def test_streams_that_lack_their_table_or_frames() -> None:
    """Several streams do not circumvent the check by a seek table."""
    stream, table = SMALL[:-1], SMALL[-1]
    for chunks in (
        [*stream, *SECOND],
        [*SMALL, *SECOND[:-1]],
        [*stream, *SMALL],
        [*SMALL, SMALL[1], *SECOND],
    ):
        assert decode(chunks)[1] is False
    for chunks in (
        [*SMALL, table],
        [*SMALL[1:], *SECOND],
        [*SECOND[:1], *SMALL[:1], SECOND[1], SECOND[2], *SMALL[1:]],
        [*SMALL, SECOND[1], SECOND[0], SECOND[2]],
        [*stream, SECOND[-1], *SECOND[:-1], table],
    ):
        with pytest.raises(StreamCorrupt):
            decode(chunks)


@pytest.mark.parametrize("rest", [b"\0", b"garbage", b"\x28\xb5\x2f", bytes(100)])
def test_garbage_behind_a_frame_is_refused(rest: bytes) -> None:
    with pytest.raises(StreamCorrupt):
        decode([compressed(TEXT) + rest])


@pytest.mark.parametrize(
    "stream",
    [
        b"garbage",
        b"\0",
        b"\x1f\x8b\x08" + bytes(20),
        bytes.fromhex("1eb52ffd") + bytes(9),  # a frame of zstd 0.1
        hand_made(RESERVED_BIT | SINGLE_SEGMENT, b"\1", block(RAW, 1, b"x", last=True)),
        hand_made(SINGLE_SEGMENT, b"\1", block(RESERVED, 1, b"x", last=True)),
        hand_made(SINGLE_SEGMENT, b"\2", block(RAW, 1, b"x", last=True)),
        hand_made(SINGLE_SEGMENT, b"\0", block(RAW, 1, b"x", last=True)),
        hand_made(SINGLE_SEGMENT, b"\1", block(RAW, 2, b"xy", last=True)),
        hand_made(SINGLE_SEGMENT, b"\1", block(RLE, 2, b"x", last=True)),
        hand_made(SINGLE_SEGMENT | 1, b"\7\1", block(RAW, 1, b"x", last=True)),
        hand_made(SINGLE_SEGMENT | HAS_CHECKSUM, b"\1", block(RAW, 1, b"x", last=True), b"abcd"),
        hand_made(SINGLE_SEGMENT | HAS_CHECKSUM, b"\0", block(RAW, 0, b"", last=True), b"abcd"),
        hand_made(HAS_CHECKSUM, SMALLEST_WINDOW, block(RAW, 1, b"x", last=True), b"abcd"),
        hand_made(0, ABSURD_WINDOW, block(RAW, 1, b"x", last=True)),
        hand_made(0, SMALLEST_WINDOW, block(RAW, 2000, bytes(2000), last=True)),
        hand_made(0, SMALLEST_WINDOW, block(2, 5, b"12345", last=True)),
    ],
    ids=range(17),
)
@pytest.mark.parametrize("threads", [1, 3])
def test_what_is_no_stream(stream: bytes, threads: int) -> None:
    with pytest.raises(StreamCorrupt) as refused:
        decode([stream], threads=threads)
    assert refused.value.code is ErrorCode.STREAM_CORRUPT


def test_the_bit_that_decoders_ignore_is_ignored() -> None:
    flags = SINGLE_SEGMENT | UNUSED_BIT
    assert decode([hand_made(flags, b"\1", block(RAW, 1, b"x", last=True))])[0] == b"x"


def test_a_frame_with_a_dictionary_is_refused() -> None:
    dictionary = zstandard.train_dictionary(
        4096, [b"sample %d %d" % (n, n * n) for n in range(3000)]
    )
    stream = zstandard.ZstdCompressor(dict_data=dictionary).compress(b"sample 5 25")
    with pytest.raises(StreamCorrupt, match="dictionary"):
        decode([stream])


@given(st.data())
def test_a_flipped_bit_gives_no_other_content(data: st.DataObject) -> None:
    stream = bytearray(b"".join(SMALL))
    for _ in range(data.draw(st.integers(1, 3))):
        position = data.draw(st.integers(0, len(stream) - 1))
        stream[position] ^= 1 << data.draw(st.integers(0, 7))
    try:
        content, verified = decode([bytes(stream)])
    except StreamCorrupt:
        return
    assert not verified or content == decode(SMALL)[0]


@given(st.data())
def test_any_bytes_are_decoded_as_the_library_decodes_them_or_refused(data: st.DataObject) -> None:
    piece = st.one_of(
        st.binary(max_size=20),
        st.sampled_from([frame(b"x"), unsized(b"abc"), skippable(b"12"), *SMALL]),
        st.builds(block, st.integers(0, 3), st.integers(0, 9), st.binary(max_size=9)),
    )
    stream = b"".join(data.draw(st.lists(piece, max_size=5)))
    if data.draw(st.booleans()):
        stream = b"\x28\xb5\x2f\xfd" + stream
    try:
        content, _ = decode(cut_evenly(stream, data.draw(st.integers(1, 50))))
    except StreamCorrupt:
        return
    reader = zstandard.ZstdDecompressor().stream_reader(io.BytesIO(stream), read_across_frames=True)
    assert reader.read() == content


# Sizes that are expected, and bombs.


@pytest.mark.parametrize("expected", [0, 1, len(TEXT) - 1])
@pytest.mark.parametrize("stream", [compressed(TEXT), unsized(TEXT)], ids=["sized", "unsized"])
def test_more_than_is_expected_is_never_written(stream: bytes, expected: int) -> None:
    written: list[bytes] = []
    with pytest.raises(WorkerError) as refused:
        decode_to(Output(lambda data: written.append(bytes(data)), expected), [stream])
    assert refused.value.code is ErrorCode.FILE_MISMATCH
    assert sum(map(len, written)) <= expected


def test_what_is_expected_passes() -> None:
    assert decode([compressed(TEXT)], expected=len(TEXT))[0] == TEXT
    assert decode([unsized(TEXT)], expected=len(TEXT))[0] == TEXT
    assert decode([unsized(TEXT)], expected=len(TEXT) + 1)[0] == TEXT  # fewer: told at the end


ABSURD_SIZE = b"\xff\xff\xff\xff\xff\xff\xff\x0f"
BOMBS = """
import resource, sys, time
from store_workers.stream.decompression import Output
from store_workers.errors import WorkerError
from tests.unit.streams import *

MIB = 1 << 20
absurd = hand_made(0xC0, LARGE_WINDOW + b"\\xff\\xff\\xff\\xff\\xff\\xff\\xff\\x0f")
single = hand_made(0xE0, b"\\xff\\xff\\xff\\xff\\xff\\xff\\xff\\x0f")
whole = hand_made(0xA0, (4 * MIB).to_bytes(4, "little"))
rle = block(RLE, 128 * 1024, b"x")
last = block(RLE, 128 * 1024, b"x", last=True)
bombs = {
    "unsized": (rle_bomb(256 * MIB, bytes([0]) + LARGE_WINDOW), None),
    "unsized, size given": (rle_bomb(256 * MIB, bytes([0]) + LARGE_WINDOW), 5000),
    "absurd size": (absurd + rle * 2048, None),
    "absurd size, one segment": (single + rle * 2048, None),
    "more than a whole frame declares": (whole + rle * 2048 + last, None),
    "as much as a whole frame declares": ((whole + rle * 31 + last) * 64, None),
    "nothing but blocks of nothing": (whole + block(RAW, 0, b"") * 1_500_000, None),
}
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
for name, (stream, expected) in bombs.items():
    sizes = []
    try:
        output = Output(lambda data: sizes.append(len(data)), expected)
        decode_to(output, cut_evenly(stream, 524288))
        end = "decoded"
    except WorkerError as error:
        end = error.code.value
    print(f"{name}: {end} {sum(sizes) // MIB} {max(sizes, default=0) <= 4 * MIB}")
grown = (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) // 1024
print(grown < 100 or grown)
"""  # fmt: skip


def test_bombs_cost_no_memory() -> None:
    done = subprocess.run(
        [sys.executable, "-c", BOMBS],
        env={"PYTHONPATH": f"{ROOT}/src:{ROOT}"},
        capture_output=True,
        text=True,
        check=False,
        timeout=TIMEOUT,
    )
    assert done.stdout.splitlines() == [
        "unsized: decoded 256 True",
        "unsized, size given: FILE_MISMATCH 0 True",
        "absurd size: STREAM_CORRUPT 256 True",
        "absurd size, one segment: STREAM_CORRUPT 0 True",
        "more than a whole frame declares: STREAM_CORRUPT 0 True",
        "as much as a whole frame declares: decoded 256 True",
        "nothing but blocks of nothing: STREAM_CORRUPT 0 True",
        "True",
    ], done.stdout + done.stderr


# Threads.


def test_the_output_is_written_in_order_one_call_at_a_time() -> None:
    parts = [bytes([number]) * (1 + 997 * number) for number in range(100)]
    content = bytearray()
    writing = threading.Lock()

    def write(data: memoryview) -> None:
        assert writing.acquire(blocking=False), "two writes at once"
        content.extend(data)
        writing.release()

    assert decode_to(Output(write, None), worker_made(parts), threads=5)
    assert bytes(content) == b"".join(parts)


@pytest.mark.parametrize("threads", [1, 4])
def test_an_error_of_the_output_ends_it(threads: int) -> None:
    def write(data: memoryview) -> None:
        raise WorkerError(ErrorCode.FILE_WRITE_FAILED, "disk full")

    with pytest.raises(WorkerError, match="disk full"):
        decode_to(Output(write, None), worker_made([b"x"] * 50), threads=threads)
    with pytest.raises(WorkerError, match="disk full"):
        decode_to(Output(write, None), [unsized(TEXT)], threads=threads)


def test_an_error_of_the_chunks_ends_it() -> None:
    def chunks() -> object:
        yield SMALL[0]
        raise WorkerError(ErrorCode.CHUNK_NOT_FOUND, "gone")

    with pytest.raises(WorkerError, match="gone"):
        decode(chunks())  # type: ignore[arg-type]


@pytest.mark.parametrize("threads", [1, 3])
def test_a_slow_output_makes_the_reader_wait(threads: int) -> None:
    taken: list[int] = []
    gate = threading.Event()
    content = bytearray()
    frames = [frame(bytes(1000))] * 60

    def chunks() -> object:
        for number, data in enumerate(frames):
            taken.append(number)
            yield data

    def write(data: memoryview) -> None:
        assert gate.wait(TIMEOUT)
        content.extend(data)

    thread = beside(lambda: decode_to(Output(write, None), chunks(), threads=threads))  # type: ignore[arg-type]
    thread.join(0.2)
    # In hand, and the one at the door.
    assert len(taken) <= 2 * threads + 2
    gate.set()
    thread.join(TIMEOUT)
    assert len(content) == 60_000


# The codec's seam.


@pytest.mark.parametrize("content", [b"", b"x", TEXT])
def test_whole_frames_are_decoded_to_the_letter(content: bytes) -> None:
    decompress = frame_decompressor()
    buffer = memoryview(bytearray(len(content)))
    decompress(frame(content), buffer)
    assert buffer == content
    for damaged in (frame(content)[:-5], frame(content)[:-1] + b"!", frame(content) + b"!"):
        with pytest.raises(CodecError):
            decompress(damaged, buffer)
    for size in {len(content) + 1, max(0, len(content) - 1)} - {len(content)}:
        with pytest.raises(CodecError, match="length"):
            decompress(frame(content), memoryview(bytearray(size)))
    decompress(frame(content), buffer)
    assert buffer == content, "an error is not forgotten"


def test_blocks_are_decoded_as_they_come() -> None:
    decompress = stream_decompressor()
    stream = unsized(TEXT, write_checksum=True)
    pieces = [decompress(stream[start : start + 1]) for start in range(len(stream))]
    assert b"".join(pieces) == TEXT
    assert max(map(len, pieces)) <= 128 * 1024
