"""Spans of fixed length, and spans with content-defined boundaries."""

from __future__ import annotations

import hashlib
import sys
from functools import cache
from random import Random
from typing import TYPE_CHECKING

import pytest
from hypothesis import given
from hypothesis import strategies as st

from store_workers.errors import ErrorCode, WorkerError
from store_workers.stream import boundaries, spans
from store_workers.stream.boundaries import LONGEST, SHORTEST, boundary_finder
from store_workers.stream.frames import LARGEST_WHOLE
from store_workers.stream.spans import LONGEST_SPAN, ContentSpans, FixedSpans, spans_of

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

KIB, MIB = 1024, 1024 * 1024


@cache
def noise() -> bytes:
    return Random(21).randbytes(24 * MIB)


class Memory:
    """A source of bytes in memory."""

    def __init__(self, content: bytes) -> None:
        self._left = memoryview(content)

    def fill(self, buffer: memoryview) -> int:
        count = min(len(buffer), len(self._left))
        buffer[:count] = self._left[:count]
        self._left = self._left[count:]
        return count


def read(made: FixedSpans | ContentSpans) -> list[bytes]:
    """All spans, as a thread reads them."""
    found = []
    buffer = made.buffer()
    while not made.ended:
        found.append(bytes(made.read(buffer)))
    assert all(found[:-1]), "only the last span may be empty"
    return found if found[-1] else found[:-1]


def by_content(content: bytes) -> list[bytes]:
    return read(ContentSpans(Memory(content), boundary_finder()))


@pytest.mark.parametrize("size", [0, 1, 9999, 10_000, 10_001, 30_000])
def test_fixed_spans(size: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(spans, "FRAME_SPAN", 10_000)
    content = noise()[:size]
    found = read(FixedSpans(Memory(content)))
    assert found == [content[start : start + 10_000] for start in range(0, size, 10_000)]
    assert len(found) == (spans_of(size) if size else 0)
    assert spans_of(None) is None


def test_the_bounds_suit_those_who_use_them() -> None:
    assert LONGEST <= LARGEST_WHOLE, "it would not be decoded as a whole"
    assert LONGEST <= LONGEST_SPAN


@pytest.mark.parametrize("size", [0, 1, SHORTEST, 3 * MIB, 24 * MIB])
def test_spans_by_content_are_the_content(size: int) -> None:
    found = by_content(noise()[:size])
    assert b"".join(found) == noise()[:size]
    assert all(SHORTEST <= len(span) <= LONGEST for span in found[:-1])


@cache
def lines() -> bytes:
    return b"".join(b"line %d\n" % number for number in range(700_000))


@pytest.mark.parametrize(
    "content",
    [noise, lambda: bytes(20 * MIB), lines, lambda: noise()[:70_001] * 200],
    ids=["noise", "zeros", "lines", "repeated noise"],
)
def test_how_much_is_read_at_once_decides_nothing(
    content: Callable[[], bytes], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Every boundary equals that of the library applied to the whole input."""
    from pyfastcdc.cy.fastcdc import FastCDC

    kernel = FastCDC(
        boundaries.CENTER,
        min_size=SHORTEST,
        max_size=LONGEST,
        normalized_chunking=boundaries.NORMALIZATION,
    )
    whole = [span.length for span in kernel.cut_buf(content())]
    for enough in (1, MIB, LONGEST, 3 * LONGEST + 1):
        monkeypatch.setattr(spans, "FRAME_SPAN", enough)
        monkeypatch.setattr(spans, "LONGEST_SPAN", max(enough, LONGEST))
        assert list(map(len, by_content(content()))) == whole


@pytest.mark.parametrize("expected", [0, 1, 3 * MIB, 24 * MIB, 48 * MIB])
def test_spans_by_content_are_the_same_in_buffers_of_several_threads(expected: int) -> None:
    """Also if the stream is longer than expected: a span must not change when others are read."""
    made = ContentSpans(Memory(noise()), boundary_finder(), expected)
    buffers = [made.buffer() for _ in range(3)]
    held: list[memoryview] = []
    found: list[bytes] = []
    while not made.ended:
        held.append(made.read(buffers[len(held) % 3]))
        if len(held) >= 3:
            found.append(bytes(held[-3]))
    found.extend(map(bytes, held[-2:]))
    assert found == by_content(noise())


def test_boundaries_stay_where_they_are() -> None:
    """They decide every hash: with other values, no stored chunk would be found again."""
    lengths = [len(span) for span in by_content(noise())]
    digest = hashlib.sha256(repr(lengths).encode()).hexdigest()
    assert (lengths[:4], digest[:16]) == GOLDEN_NOISE
    assert [len(span) for span in by_content(lines())] == GOLDEN_LINES


GOLDEN_NOISE = ([824382, 698445, 854605, 1917001], "f78424e466253582")
GOLDEN_LINES = [1138946, 525971, 1076170, 1914035, 1584772, 1664934, 384062]


# After an edit the old boundaries are found again.


@pytest.fixture
def small(monkeypatch: pytest.MonkeyPatch) -> None:
    """Spans of a thousandth of the length: a million bytes are as a gigabyte."""
    monkeypatch.setattr(boundaries, "SHORTEST", 256)
    monkeypatch.setattr(boundaries, "CENTER", 768)
    monkeypatch.setattr(boundaries, "LONGEST", 4096)
    monkeypatch.setattr(spans, "LONGEST_SPAN", 8192)


@st.composite
def edits(draw: st.DrawFn) -> Callable[[bytes], bytes]:
    """Insert, delete, overwrite or move: somewhere, of some length."""
    place, other = draw(st.floats(0, 1)), draw(st.floats(0, 1))
    count = draw(st.integers(0, 5000))
    kind = draw(st.sampled_from(["insert", "delete", "overwrite", "move"]))
    new = Random(draw(st.integers(0, 99))).randbytes(count)

    def edit(data: bytes) -> bytes:
        start = int(place * len(data))
        head, cut, tail = data[:start], data[start : start + count], data[start + count :]
        if kind == "insert":
            return head + new + cut + tail
        if kind == "delete":
            return head + tail
        if kind == "overwrite":
            return head + new[: len(cut)] + tail
        rest = head + tail
        to = int(other * len(rest))
        return rest[:to] + cut + rest[to:]

    return edit


MOST_TOUCHED = 12
"""Spans around each place that an edit touches, beyond those that it makes new altogether."""


@pytest.mark.usefixtures("small")
@given(seed=st.integers(0, 99), changes=st.lists(edits(), min_size=1, max_size=3))
def test_after_an_edit_nearly_all_spans_are_the_same(
    seed: int, changes: list[Callable[[bytes], bytes]]
) -> None:
    before = after = Random(seed).randbytes(150_000)
    for edit in changes:
        after = edit(after)
    known = set(by_content(before))
    new = [span for span in by_content(after) if span not in known]
    # What is inserted or overwritten is at most 5000 bytes: some ten spans.
    assert len(new) <= len(changes) * (2 * MOST_TOUCHED)


def test_an_insertion_touches_two_spans_of_real_length() -> None:
    edited = noise()[: 9 * MIB] + b"x" * 100 + noise()[9 * MIB :]
    known = set(by_content(noise()))
    assert 1 <= sum(span not in known for span in by_content(edited)) <= 3


# Degenerate data.


DEGENERATE = {
    "zeros": lambda: bytes(20 * MIB),
    "ones": lambda: b"\xff" * (20 * MIB),
    "one block repeated": lambda: noise()[:4096] * (20 * 256),
    "a short period": lambda: b"abcdefg" * (3 * MIB),
}


@pytest.mark.parametrize("name", DEGENERATE)
def test_degenerate_data_has_few_distinct_spans(name: str) -> None:
    found = by_content(DEGENERATE[name]())
    assert len(set(found)) <= 3 or len(found) <= 8


# A host without the library.


def test_a_host_without_the_library(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "pyfastcdc.cy.fastcdc", None)
    with pytest.raises(WorkerError, match='"fixed" works here') as refused:
        boundary_finder()
    assert refused.value.code is ErrorCode.HOST_UNSUPPORTED


def test_a_host_that_cannot_load_the_library(monkeypatch: pytest.MonkeyPatch) -> None:
    """A limit of the host is not reported as a library that does not exist."""

    class Loader:
        def find_spec(self, name: str, _path: object, _target: object = None) -> None:
            if name == "pyfastcdc.cy.fastcdc":
                raise ImportError("failed to map segment", name=name)
            if name == "pyfastcdc.py":  # which is not bundled
                raise ModuleNotFoundError(name=name)

    for name in [name for name in sys.modules if name.startswith("pyfastcdc")]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setattr(sys, "meta_path", [Loader(), *sys.meta_path])
    with pytest.raises(ImportError, match="failed to map segment"):
        boundary_finder()


def test_boundaries_are_found_beside_other_threads() -> None:
    """Nothing of the kernel is shared between calls."""
    find = boundary_finder()
    data = memoryview(noise())
    alone = find(data)

    def lengths() -> Iterator[int]:
        for start in range(0, 4 * MIB, MIB):
            yield find(data[start:])

    assert (find(data), list(lengths()), find(data)) == (alone, list(lengths()), alone)
    assert find(memoryview(b"")) == 0
