"""The chunk rule, compared with a table and with an independent reference."""

from __future__ import annotations

import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st

from store_workers.stream.chunking import LARGEST_CHUNK, SMALLEST_HALVING, Cutter, next_chunk_size
from store_workers.wire.messages import CHUNK_SIZES

KIB = 1024
FULL = 512 * KIB
TEMPLATE = bytes(range(251)) * (4 * FULL // 251 + 1)  # 251: no power of two repeats it


def test_the_numbers_of_the_contract() -> None:
    assert CHUNK_SIZES == (FULL, 2 * FULL, 4 * FULL, 8 * FULL, 16 * FULL)
    assert (LARGEST_CHUNK, SMALLEST_HALVING) == (8 << 20, 4096)


@pytest.mark.parametrize(
    ("buffered", "going_on", "ended"),
    [
        (0, 0, 0),
        (1, 0, 1),
        (1000, 0, 1000),
        (4095, 0, 4095),
        (4096, 0, 4096),
        (4097, 0, 4096),
        (8191, 0, 4096),
        (8192, 0, 8192),
        (16383, 0, 8192),
        (16384, 0, 16384),
        (24 * KIB, 0, 16 * KIB),
        (32 * KIB - 1, 0, 16 * KIB),
        (64 * KIB, 0, 64 * KIB),
        (88 * KIB, 0, 64 * KIB),
        (128 * KIB, 0, 128 * KIB),
        (256 * KIB - 1, 0, 128 * KIB),
        (256 * KIB, 0, 256 * KIB),
        (FULL - 1, 0, 256 * KIB),
        (FULL, FULL, FULL),
        (FULL + 1, FULL, FULL),
        (600 * KIB, FULL, FULL),
        (4 * FULL, FULL, FULL),
        (1 << 50, FULL, FULL),
    ],
)
def test_values(buffered: int, going_on: int, ended: int) -> None:
    assert next_chunk_size(buffered, ended=False, chunk_size=FULL) == going_on
    assert next_chunk_size(buffered, ended=True, chunk_size=FULL) == ended


@pytest.mark.parametrize(
    ("length", "sizes"),
    [
        (0, []),
        (1000, [1000]),
        (600 * KIB, [512 * KIB, 64 * KIB, 16 * KIB, 8 * KIB]),
        (514 * KIB, [512 * KIB, 2 * KIB]),
        (2 * FULL, [FULL, FULL]),
        (FULL - 1, [KIB << n for n in range(8, 1, -1)] + [4 * KIB - 1]),
    ],
)
def test_whole_streams(length: int, sizes: list[int]) -> None:
    assert reference(length) == sizes
    assert [len(chunk) for chunk in cut([TEMPLATE[:length]])] == sizes


SIZES = st.sampled_from(CHUNK_SIZES)


@given(st.integers(0, 1 << 62) | st.integers(0, 1 << 24), SIZES)
def test_a_size_never_exceeds_what_is_there(buffered: int, full: int) -> None:
    going_on = next_chunk_size(buffered, ended=False, chunk_size=full)
    at_end = next_chunk_size(buffered, ended=True, chunk_size=full)
    assert going_on in {0, full}
    assert going_on <= buffered
    assert (at_end == 0) == (buffered == 0)
    assert at_end <= min(buffered, full)
    assert at_end == next(iter(reference(min(buffered, 1 << 24), full)), 0)
    if going_on:
        assert at_end == going_on


def feedings() -> st.SearchStrategy[list[int]]:
    """The lengths of the pieces that a stream arrives in."""
    length = st.one_of(
        st.integers(0, 5000),
        st.integers(0, 700 * KIB),
        st.sampled_from([0, 1, 4095, 4096, FULL - 1, FULL, FULL + 1]),
    )
    return st.lists(length, max_size=12)


@given(feedings(), SIZES)
def test_any_way_of_feeding_gives_the_same_cuts(lengths: list[int], full: int) -> None:
    stream = (TEMPLATE * (sum(lengths) // len(TEMPLATE) + 1))[: sum(lengths)]
    ends = list(itertools.accumulate(lengths))
    pieces = [stream[end - length : end] for end, length in zip(ends, lengths, strict=True)]
    chunks = cut(pieces, full)
    assert b"".join(chunks) == stream
    assert [len(chunk) for chunk in chunks] == reference(len(stream), full)


@given(feedings())
def test_no_chunk_but_the_last_ones_is_short(lengths: list[int]) -> None:
    cutter = Cutter(FULL)
    fed = came = 0
    for length in lengths:
        cutter.feed(bytes(length))
        fed += length
        for pieces in cutter.cut(ended=False):
            assert sum(map(len, pieces)) == FULL
            came += FULL
        assert fed - came < FULL, "a whole chunk is held back"


def test_nothing_is_copied() -> None:
    data = bytes(FULL + 10)
    cutter = Cutter(FULL)
    cutter.feed(data)
    (pieces,) = cutter.cut(ended=False)
    assert [piece.obj for piece in pieces] == [data]
    (rest,) = cutter.cut(ended=True)
    assert [piece.obj for piece in rest] == [data]


def cut(pieces: list[bytes], full: int = FULL) -> list[bytes]:
    """Feed a stream piece by piece, and cut as early as can be."""
    cutter = Cutter(full)
    chunks = []
    for piece in pieces:
        cutter.feed(piece)
        chunks += [b"".join(chunk) for chunk in cutter.cut(ended=False)]
    return chunks + [b"".join(chunk) for chunk in cutter.cut(ended=True)]


def reference(length: int, full: int = FULL) -> list[int]:
    """The cuts of a stream according to the contract."""
    sizes = []
    while length >= full:
        sizes.append(full)
        length -= full
    size = full
    while length >= 4 * KIB:
        while size > length:
            size //= 2
        sizes.append(size)
        length -= size
    return [*sizes, length] if length else sizes
