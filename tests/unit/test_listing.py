"""Lookups in a store's list: when they pay, their cost, and invalid lists."""

from __future__ import annotations

import hashlib
import threading
from random import Random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from store_workers.errors import ErrorCode, StoreFailure
from store_workers.stores.base import Chunk
from store_workers.stores.listing import ListedStore
from store_workers.threads import Abandoned, ThreadGroup
from store_workers.transfer.listing import (
    HITS_BEFORE_LISTING,
    MISSES_BEFORE_LISTING,
    TRUSTED_FOR,
    Listing,
    Page,
)
from tests.stores.memory_store import MemoryStore

PAGE = 1000


def hashes(count: int, seed: int = 1) -> list[str]:
    chance = Random(seed)
    return [chance.randbytes(32).hex() for _ in range(count)]


class Listed:
    """A store in memory that lists, `page` names at a time; `listed` are the pages asked for."""

    def __init__(self, stored: list[str], page: int = PAGE) -> None:
        self.memory = MemoryStore()
        self.memory.chunks = dict.fromkeys(stored, b"12345")
        self.names = sorted(stored)
        self.listed: list[str] = []
        self.now = 0.0
        self._page = page
        self.store = ListedStore(self.memory, self.list_page, lambda: self.now)

    def list_page(self, after: str) -> Page:
        self.listed.append(after)
        names = [name for name in self.names if name > after]
        cut = names[: self._page]
        chunks = [(name, 5) for name in cut if len(name) == 64]
        return Page(after, chunks, cut[-1] if cut else after, more=len(names) > len(cut))

    @property
    def requests(self) -> int:
        return len(self.listed) + len(self.memory.asked)


def test_a_repeat_of_a_large_upload_costs_few_requests() -> None:
    mine = hashes(80)
    listed = Listed(mine + hashes(900, seed=2))
    assert all(listed.store.has(hash, 5) for hash in mine)
    assert listed.requests == HITS_BEFORE_LISTING + 1
    assert not any(listed.store.has(hash, 5) for hash in hashes(50, seed=3))
    assert listed.requests == HITS_BEFORE_LISTING + 1, "what is not there is known as well"


def test_a_store_of_many_pages_is_listed_as_far_as_it_pays() -> None:
    mine = hashes(3000)
    listed = Listed(mine + hashes(17_000, seed=2))
    assert all(listed.store.has(hash, 5) for hash in mine)
    assert len(listed.listed) == 20
    assert listed.requests < len(mine) // 2


def test_a_vast_store_costs_one_page_more() -> None:
    mine = hashes(200)
    listed = Listed(mine + hashes(20_000, seed=2), page=20)
    assert all(listed.store.has(hash, 5) for hash in mine)
    assert len(listed.listed) == 1
    assert listed.requests <= len(mine) + 1


def test_a_first_upload_of_one_file_lists_nothing() -> None:
    listed = Listed(hashes(2000, seed=2))
    assert not any(listed.store.has(hash, 5) for hash in hashes(MISSES_BEFORE_LISTING))
    assert listed.listed == []


def test_a_first_upload_of_many_files_lists_a_small_store() -> None:
    mine = hashes(1000)
    listed = Listed(hashes(800, seed=2))
    assert not any(listed.store.has(hash, 5) for hash in mine)
    assert listed.requests == MISSES_BEFORE_LISTING + 1


def test_a_first_upload_of_many_files_to_a_vast_store_costs_one_page_more() -> None:
    mine = hashes(500)
    listed = Listed(hashes(50_000, seed=2), page=100)
    assert not any(listed.store.has(hash, 5) for hash in mine)
    assert len(listed.listed) == 1
    assert listed.requests <= len(mine) + 1


@given(st.integers(0, 400), st.integers(0, 400), st.integers(1, 100), st.integers(0, 1000))
@settings(max_examples=50)
def test_answers_are_those_of_the_store(mine: int, others: int, page: int, seed: int) -> None:
    stored = hashes(mine, seed)
    foreign = ["0", "7z.txt", "f" * 63, "manifest"]
    listed = Listed([*stored, *hashes(others, seed + 1), *foreign], page)
    asked = [*stored, *hashes(100, seed + 2)]
    Random(seed).shuffle(asked)
    there = set(stored)
    for hash in asked:
        assert listed.store.has(hash, 5) is (hash in there)
        assert listed.store.has(hash, 6) is False


def begun(listed: Listed, mine: list[str]) -> None:
    """Look up chunks until there is a page."""
    assert all(listed.store.has(hash, 5) for hash in mine[: HITS_BEFORE_LISTING + 1])
    assert listed.listed == [""]


def test_what_was_listed_is_not_believed_for_long() -> None:
    mine = hashes(20)
    listed = Listed(mine)
    begun(listed, mine)
    listed.memory.chunks.pop(mine[15])
    listed.names.remove(mine[15])
    assert listed.store.has(mine[15], 5) is True
    listed.now += TRUSTED_FOR + 1
    assert listed.store.has(mine[15], 5) is False
    assert listed.listed == ["", ""]


def test_what_was_listed_before_a_message_arrived_is_not_believed() -> None:
    """Others can have removed it in between. A new list is fetched as soon as it pays."""
    mine = hashes(40)
    listed = Listed(mine)
    listed.now = 10.0
    begun(listed, mine)
    asked = len(listed.memory.asked)
    listed.memory.chunks.pop(mine[15])
    listed.names.remove(mine[15])

    def has(hash: str, arrived: float) -> bool:
        found: list[bool] = []
        message = ThreadGroup()
        message.began = arrived
        message.run(lambda: found.append(listed.store.has(hash, 5)))
        return found[0]

    assert has(mine[15], 5.0)
    assert has(hashes(1, seed=3)[0], 20.0) is False
    assert len(listed.memory.asked) == asked
    assert has(mine[15], 20.0) is False
    listed.now = 30.0
    assert all(has(hash, 20.0) for hash in mine[:10] + mine[20:])
    assert len(listed.memory.asked) < asked + 20
    assert listed.listed == ["", ""]


def test_a_cancelled_message_ends_no_listing() -> None:
    mine = hashes(20)
    listed = Listed(mine)
    assert all(listed.store.has(hash, 5) for hash in mine[:HITS_BEFORE_LISTING])
    list_page = listed.store._list_page

    def cancelled(_after: str) -> Page:
        raise Abandoned

    listed.store._list_page = cancelled
    with pytest.raises(Abandoned):
        listed.store.has(mine[10], 5)
    listed.store._list_page = list_page
    asked = len(listed.memory.asked)
    assert all(listed.store.has(hash, 5) for hash in mine)
    assert len(listed.memory.asked) == asked


def test_a_chunk_that_was_stored_meanwhile_is_asked_for() -> None:
    mine = hashes(20)
    listed = Listed(mine)
    begun(listed, mine)
    data = b"new to the store"
    new = Chunk(hashlib.sha256(data).hexdigest(), [memoryview(data)])
    assert listed.store.has(new.hash, new.size) is False
    listed.store.put(new)
    assert listed.store.has(new.hash, new.size) is True


def test_a_list_that_lacks_what_was_found_is_not_believed() -> None:
    mine = hashes(40)
    listed = Listed(mine)
    listed.names = sorted(mine[10:])
    assert all(listed.store.has(hash, 5) for hash in mine)
    assert listed.listed == [""]


def test_a_list_that_does_not_move_on_is_given_up() -> None:
    listing = Listing()
    for hash in hashes(8):
        listing.answered(hash, hit=True)
    listing.add(Page("", [], "", more=True), 0.0)
    assert not listing.pays()
    assert listing.length(hashes(1)[0], 0.0) is None


def test_a_page_of_what_was_forgotten_is_left_out() -> None:
    listing = Listing()
    listing.add(Page("", [("1" * 64, 5)], "1" * 64, more=True), 0.0)
    assert listing.length("0" * 64, TRUSTED_FOR + 1) is None
    listing.add(Page("1" * 64, [], "2" * 64, more=False), TRUSTED_FOR + 2)
    assert listing.length("0" * 64, TRUSTED_FOR + 2) is None


def test_who_may_not_list_still_asks() -> None:
    mine = hashes(30)
    listed = Listed(mine)
    calls: list[str] = []

    def denied(after: str) -> Page:
        calls.append(after)
        raise StoreFailure(ErrorCode.STORE_ACCESS_DENIED, "no")

    listed.store._list_page = denied
    assert all(listed.store.has(hash, 5) for hash in mine)
    assert calls == [""]
    assert len(listed.memory.asked) == 30


def test_those_who_come_while_the_first_page_is_under_way_wait_for_it() -> None:
    mine = hashes(40)
    listed = Listed(mine)
    assert all(listed.store.has(hash, 5) for hash in mine[:HITS_BEFORE_LISTING])
    inside, go_on = threading.Event(), threading.Event()
    real = listed.list_page

    def slow(after: str) -> Page:
        inside.set()
        assert go_on.wait(60)
        return real(after)

    listed.store._list_page = slow
    threads = [
        threading.Thread(target=listed.store.has, args=(hash, 5), daemon=True)
        for hash in mine[HITS_BEFORE_LISTING:]
    ]
    for thread in threads:
        thread.start()
    assert inside.wait(60)
    go_on.set()
    for thread in threads:
        thread.join(60)
    assert listed.requests == HITS_BEFORE_LISTING + 1
