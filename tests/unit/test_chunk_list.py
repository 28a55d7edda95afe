"""Lists of chunks: content and memory."""

from __future__ import annotations

import tracemalloc
from hashlib import sha256

import pytest
from hypothesis import given
from hypothesis import strategies as st

from store_workers.stream.chunk_list import ChunkList, Found


def digest(number: int) -> bytes:
    return sha256(number.to_bytes(8, "little")).digest()


def test_places_are_filled_in_any_order() -> None:
    chunks = ChunkList()
    for place in (2, 0, 1):
        chunks.put(place, digest(place), 100 + place)
    assert list(chunks) == [digest(n).hex() for n in range(3)]
    assert list(chunks.sizes()) == [100, 101, 102]
    assert chunks.hexes(1, 3) == digest(1).hex() + digest(2).hex()
    assert (chunks[2], chunks.digest(1), chunks.size(0)) == (digest(2).hex(), digest(1), 100)
    with pytest.raises(IndexError):
        chunks[3]


def test_rows_are_appended() -> None:
    chunks = ChunkList()
    chunks.extend(digest(0) + digest(1), [1, 2])
    chunks.extend(digest(2), [3])
    assert list(chunks) == [digest(n).hex() for n in range(3)]
    assert list(chunks.sizes()) == [1, 2, 3]


@given(st.lists(st.integers(0, 300)), st.integers(0, 300))
def test_what_was_noted_is_found_and_nothing_else(noted: list[int], other: int) -> None:
    chunks = ChunkList()
    found = Found(chunks)
    for place, number in enumerate(noted):
        chunks.put(place, digest(number), 1)
        found.add(place)
        assert digest(number) in found
    assert (digest(other) in found) == (other in noted)


def test_a_chunk_takes_less_than_a_tenth_of_its_strings() -> None:
    count = 4000
    tracemalloc.start()
    chunks = ChunkList()
    found = Found(chunks)
    for place in range(count):
        chunks.put(place, digest(place), 524288)
        found.add(place)
    held, _ = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert len(chunks) == count
    assert held <= 60 * count
