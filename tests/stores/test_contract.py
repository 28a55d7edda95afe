"""The contract of every store."""

from __future__ import annotations

import hashlib
import threading
import time
from random import Random
from typing import TYPE_CHECKING

import pytest

from store_workers.errors import ErrorCode, StoreFailure
from store_workers.stores.base import LONGEST_ANSWER, Chunk
from store_workers.stream.chunking import LARGEST_CHUNK
from tests.stores.kinds import KINDS, Opened

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

TIMEOUT = 60
PATIENCE = 20
PAUSE = 0.005
"""Seconds by which each pause is longer than the one before."""


@pytest.fixture(params=list(KINDS))
def opened(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Opened]:
    """Each kind of store in turn, empty."""
    with KINDS[request.param](tmp_path) as made:
        yield made
        made.store.close()


def noise(size: int, seed: int = 1) -> bytes:
    return Random(seed).randbytes(size)


def digest(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


def chunk_of(data: bytes, step: int | None = None) -> Chunk:
    """A chunk of these bytes, in pieces of `step` bytes."""
    step = step or max(1, len(data))
    pieces = [memoryview(data)[start : start + step] for start in range(0, len(data), step)]
    return Chunk(digest(data), pieces)


def put(opened: Opened, data: bytes, step: int | None = None) -> str:
    chunk = chunk_of(data, step)
    assert opened.store.put(chunk) is True
    return chunk.hash


@pytest.mark.parametrize("size", [1, 1000, 4096, 65_536, LARGEST_CHUNK])
def test_what_was_put_is_there(opened: Opened, size: int) -> None:
    data = noise(size)
    hash = digest(data)
    assert opened.store.has(hash, size) is False
    assert put(opened, data) == hash
    assert opened.store.has(hash, size) is True
    assert opened.store.get(hash) == data
    assert opened.objects[hash] == data


@pytest.mark.parametrize("step", [1, 7, 100, 4096])
def test_a_chunk_in_any_number_of_pieces(opened: Opened, step: int) -> None:
    data = noise(1900 if step == 1 else 300_000)
    hash = put(opened, data, step)
    assert opened.store.get(hash) == data


def test_an_absent_chunk(opened: Opened) -> None:
    put(opened, b"another one")
    absent = digest(b"absent")
    assert opened.store.has(absent, 6) is False
    with pytest.raises(StoreFailure) as raised:
        opened.store.get(absent)
    assert raised.value.code is ErrorCode.CHUNK_NOT_FOUND
    assert not raised.value.transient


def test_a_chunk_of_another_length_is_not_there(opened: Opened) -> None:
    data = noise(5000)
    hash = put(opened, data)
    for size in (1, 4999, 5001, LARGEST_CHUNK):
        assert opened.store.has(hash, size) is False
    assert opened.store.has(hash, 5000) is True


@pytest.mark.parametrize("length", [0, 1, 4999])
def test_a_chunk_that_was_cut_short_is_replaced(opened: Opened, length: int) -> None:
    data = noise(5000)
    hash = digest(data)
    put(opened, b"so that there is a store")
    opened.objects[hash] = data[:length]
    assert opened.store.has(hash, 5000) is False
    assert opened.store.get(hash) == data[:length], (
        "what to think of it is not the store's business"
    )
    opened.store.put(chunk_of(data))
    assert opened.store.has(hash, 5000) is True
    assert opened.store.get(hash) == data


def test_an_oversized_object_is_cut_where_it_shows(opened: Opened) -> None:
    hash = digest(b"oversized")
    put(opened, b"so that there is a store")
    opened.objects[hash] = noise(3 * LARGEST_CHUNK)
    got = opened.store.get(hash)
    assert LARGEST_CHUNK < len(got) <= LONGEST_ANSWER
    assert opened.store.has(hash, LARGEST_CHUNK) is False
    # What is left of it spoils no later request.
    again = put(opened, b"after it")
    assert opened.store.get(again) == b"after it"


def test_putting_twice_changes_nothing(opened: Opened) -> None:
    data = noise(70_000)
    hash = put(opened, data)
    assert opened.store.put(chunk_of(data)) in {True, False}
    assert opened.store.get(hash) == data
    assert len(opened.objects) == 1


def test_only_chunks_are_stored(opened: Opened) -> None:
    hashes = {put(opened, noise(1000, seed)) for seed in range(20)}
    assert len(opened.objects) == 20
    assert all(hash in opened.objects for hash in hashes)


def test_calls_from_many_threads(opened: Opened) -> None:
    chunks = [noise(30_000 + seed, seed) for seed in range(24)]

    def work(data: bytes) -> None:
        hash = digest(data)
        until_it_works(lambda: opened.store.put(chunk_of(data, 10_000)))
        assert until_it_works(lambda: opened.store.has(hash, len(data)))
        assert until_it_works(lambda: opened.store.get(hash)) == data

    side_by_side([lambda data=data: work(data) for data in chunks])  # type: ignore[misc]
    assert len(opened.objects) == 24


def test_one_chunk_from_many_threads(opened: Opened) -> None:
    data = noise(200_000)

    stored = []

    def work() -> None:
        try:
            until_it_works(lambda: opened.store.put(chunk_of(data)))
        except StoreFailure as failure:
            assert failure.http_status in opened.busy_statuses  # noqa: PT017 - it may pass
            return
        stored.append(data)
        # A server that locks what is written shows the next writer's beginning meanwhile.
        if not opened.busy_statuses:
            assert until_it_works(lambda: opened.store.get(digest(data))) == data

    side_by_side([work] * 8)
    assert stored
    assert opened.objects[digest(data)] == data
    assert len(opened.objects) == 1


def test_closing_more_than_once(opened: Opened) -> None:
    put(opened, b"x")
    opened.store.close()
    opened.store.close()


@pytest.mark.parametrize("call", ["has", "put", "get"])
def test_a_store_that_goes_away_is_unavailable(opened: Opened, call: str) -> None:
    if opened.go_away is None:
        return  # what lies in memory or on a disk has no server
    hash = put(opened, b"data")
    opened.go_away()
    calls: dict[str, Callable[[], object]] = {
        "has": lambda: opened.store.has(hash, 4),
        "put": lambda: opened.store.put(chunk_of(b"data")),
        "get": lambda: opened.store.get(hash),
    }
    with pytest.raises(StoreFailure) as raised:
        calls[call]()
    assert raised.value.code is ErrorCode.STORE_UNAVAILABLE
    assert raised.value.transient


def test_what_asking_costs_is_told(opened: Opened) -> None:
    assert not (opened.go_away is not None and opened.store.properties.asking_is_free)


def test_the_length_of_a_chunk(opened: Opened) -> None:
    assert opened.store.length(put(opened, noise(5000))) == 5000
    with pytest.raises(StoreFailure) as raised:
        opened.store.length(digest(b"absent"))
    assert raised.value.code is ErrorCode.CHUNK_NOT_FOUND


def test_a_chunk_is_overwritten_where_that_is_asked_for(opened: Opened) -> None:
    """Damaged bytes of the right length are not detected by `has`."""
    data = noise(5000)
    hash = put(opened, data)
    opened.objects[hash] = bytes(5000)
    assert opened.store.put(chunk_of(data), overwrite=True) is True
    assert opened.store.get(hash) == data


def until_it_works(call: Callable[[], object]) -> object:
    """Try a call again as the retry layer does, since a real server can fail under load."""
    for number in range(PATIENCE):
        try:
            return call()
        except StoreFailure as failure:
            if not failure.transient:
                raise
        time.sleep(number * PAUSE)
    return call()


def side_by_side(works: list[Callable[[], None]]) -> None:
    """Run all in parallel, and check that all succeeded."""
    barrier = threading.Barrier(len(works))
    failures: list[BaseException] = []

    def run(work: Callable[[], None]) -> None:
        try:
            barrier.wait(TIMEOUT)
            work()
        except BaseException as failure:  # noqa: BLE001 - told by the test below
            failures.append(failure)

    threads = [threading.Thread(target=run, args=(work,), daemon=True) for work in works]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(TIMEOUT)
    assert not failures, failures
    assert not any(thread.is_alive() for thread in threads)
