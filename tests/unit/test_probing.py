"""Lookups before a PUT: rare at first, and always if they can pay."""

from __future__ import annotations

from random import Random
from typing import TYPE_CHECKING

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from store_workers.transfer.probing import Probing

if TYPE_CHECKING:
    from collections.abc import Sequence


class Simulation:
    """An upload of `count` chunks into a store that has some of them.

    Threads hold up to `held` chunks, of which any may be taken next; at most `concurrency` are
    under way then, of which any may be done next. What happens next is left to chance.
    """

    def __init__(
        self,
        count: int,
        stored: set[int],
        concurrency: int,
        held: int = 1,
        *,
        by_content: bool = False,
    ) -> None:
        self.probing = Probing(False, concurrency, by_content=by_content)
        self.stored = stored
        self.asked: list[int] = []
        self.sent: list[int] = []
        self._count = count
        self._concurrency = concurrency
        self._held = held

    def run(self, chance: Random | None = None) -> None:
        under_way: list[tuple[int, bool]] = []
        coming = list(range(self._count))
        while coming or under_way:
            free = len(under_way) < self._concurrency
            may_go = list(filter(self.probing.may_go, coming[: self._held])) if free else []
            if may_go:
                index = may_go[self._any_of(may_go, chance)]
                coming.remove(index)
                under_way.append((index, self.probing.should_ask(index)))
            else:
                self._finish(*under_way.pop(self._any_of(under_way, chance)))

    def _any_of(self, choices: Sequence[object], chance: Random | None) -> int:
        return chance.randrange(len(choices)) if chance else 0

    def _finish(self, index: int, ask: bool) -> None:
        if ask:
            self.asked.append(index)
            hit = index in self.stored
            self.probing.answered(index, hit)
            if hit:
                self.probing.stored(index)
                return
        self.sent.append(index)
        self.probing.stored(index)


@pytest.mark.parametrize(
    ("count", "most"), [(1, 1), (2, 2), (10, 8), (100, 12), (1000, 40), (10_000, 322)]
)
def test_a_first_upload_asks_seldom(count: int, most: int) -> None:
    first = Simulation(count, set(), concurrency=8)
    first.run()
    assert first.sent == list(range(count))
    assert len(first.asked) <= most


def test_the_chunks_that_a_first_upload_asks_for() -> None:
    first = Simulation(130, set(), concurrency=8)
    first.run()
    assert first.asked == [*range(8), 15, 31, 63, 95, 127]


@given(
    st.data(),
    st.integers(1, 8),
    st.integers(0, 300),
    st.integers(0, 60),
    st.integers(1, 24),
)
@settings(max_examples=100)
def test_an_interrupted_upload_sends_only_what_is_missing(
    data: st.DataObject, concurrency: int, reached: int, beyond: int, held: int
) -> None:
    """For any chunks in flight when it was stopped, and any order afterwards."""
    in_flight = data.draw(st.sets(st.integers(0, max(1, reached)), max_size=concurrency - 1))
    stored = set(range(reached)) - in_flight
    again = Simulation(reached + beyond, stored, concurrency, held)
    again.run(Random(data.draw(st.integers(0, 1 << 32))))
    assert sorted(again.sent) == sorted(set(range(reached + beyond)) - stored)


@given(st.data(), st.integers(1, 256))
@settings(max_examples=50)
def test_the_same_with_any_concurrency(data: st.DataObject, concurrency: int) -> None:
    reached = data.draw(st.integers(1, 600))
    in_flight = data.draw(st.sets(st.integers(1, reached), max_size=concurrency - 1))
    stored = set(range(reached)) - in_flight
    again = Simulation(reached + 50, stored, concurrency)
    again.run(Random(data.draw(st.integers(0, 1 << 32))))
    assert set(again.sent).isdisjoint(stored)


def test_a_complete_upload_repeated_sends_nothing() -> None:
    again = Simulation(1000, set(range(1000)), concurrency=8)
    again.run()
    assert again.sent == []


def test_after_the_end_of_an_interrupted_upload_it_asks_seldom_again() -> None:
    again = Simulation(1000, set(range(100)), concurrency=8)
    again.run()
    assert again.sent == list(range(100, 1000))
    assert len(again.asked) < 100 + 64 + 8 + 1000 // 32


def test_a_later_part_that_is_known_is_found_by_its_milestones() -> None:
    again = Simulation(1000, set(range(500, 1000)), concurrency=8)
    again.run()
    assert len([index for index in again.sent if index >= 500]) < 32 + 8


def test_a_store_that_answers_at_once_is_always_asked() -> None:
    probing = Probing(asking_is_free=True, concurrency=8)
    assert probing.may_go(5)
    for index in range(1000):
        assert probing.should_ask(index)
        probing.answered(index, hit=False)


def test_chunks_beyond_the_end_that_miss_first_hide_nothing() -> None:
    """A delayed thread has chunks that are present, while the others are far ahead."""
    probing = Probing(asking_is_free=False, concurrency=8)
    probing.answered(0, hit=True)
    for index in range(30, 130):
        if probing.should_ask(index):
            probing.answered(index, hit=False)
    assert all(probing.should_ask(index) for index in range(1, 30))


@pytest.mark.parametrize("by_content", [False, True])
def test_leaders_are_all_asked_for_before_others_go(by_content: bool) -> None:
    probing = Probing(asking_is_free=False, concurrency=8, by_content=by_content)
    assert [probing.may_go(index) for index in range(9)] == [True] * 8 + [False]
    assert all(probing.should_ask(index) for index in range(8))
    for index in range(7):
        probing.answered(index, hit=False)
    probing.stored(3)
    assert not probing.may_go(8)
    probing.stored(7)  # the same chunk as another leader: it is not asked for twice
    assert probing.may_go(8)
    few = Probing(asking_is_free=False, concurrency=8, by_content=by_content)
    for index in range(8):
        few.answered(index, hit=False)
    assert not few.may_go(8), "the store has none of them yet"


# Content boundaries.


@pytest.mark.parametrize(("count", "most"), [(1, 1), (8, 8), (100, 13), (1000, 42)])
def test_a_first_upload_by_content_asks_seldom(count: int, most: int) -> None:
    first = Simulation(count, set(), concurrency=8, by_content=True)
    first.run()
    assert sorted(first.sent) == list(range(count))
    assert len(first.asked) <= most


@settings(max_examples=50)
@given(
    st.data(),
    st.lists(st.tuples(st.integers(0, 990), st.integers(1, 5)), max_size=12),
    st.sampled_from([1, 8, 64, 256]),
)
def test_after_edits_all_that_is_there_is_found(
    data: st.DataObject, edits: list[tuple[int, int]], concurrency: int
) -> None:
    new = {index for start, length in edits for index in range(start, start + length)}
    stored = set(range(1000)) - new
    again = Simulation(1000, stored, concurrency, held=8, by_content=True)
    again.run(Random(data.draw(st.integers(0, 1 << 32))))
    if stored.isdisjoint(range(8)):
        # Only leaders and milestones can tell; what was in flight until then was sent.
        assert len(set(again.sent) - new) <= 32 + concurrency
    else:
        assert set(again.sent) == new
        assert len(again.asked) + len(again.sent) <= 1000 + len(new)


def test_every_second_chunk_is_found() -> None:
    again = Simulation(1000, set(range(1, 1000, 2)), concurrency=32, by_content=True)
    again.run(Random(1))
    assert sorted(again.sent) == list(range(0, 1000, 2))


def test_asking_stops_where_hardly_anything_is_found() -> None:
    again = Simulation(10_000, {0}, concurrency=8, by_content=True)
    again.run()
    assert len(again.asked) < 64 + 8 + 10_000 // 32 + 8


@given(st.data(), st.integers(1, 256))
@settings(max_examples=50)
def test_an_interrupted_upload_by_content(data: st.DataObject, concurrency: int) -> None:
    reached = data.draw(st.integers(9, 600))
    leaders = data.draw(st.sets(st.integers(0, 7), max_size=7))
    in_flight = data.draw(st.sets(st.integers(8, reached), max_size=concurrency - 1))
    stored = set(range(reached)) - in_flight - leaders
    again = Simulation(reached + 50, stored, concurrency, by_content=True)
    again.run(Random(data.draw(st.integers(0, 1 << 32))))
    assert set(again.sent).isdisjoint(stored)


# A few chunks, one after the other.


def few_in_turn(stored: set[int], count: int = 3) -> tuple[list[int], list[int]]:
    """Send a small file's chunks in turn. Return (the chunks looked up, the chunks sent)."""
    probing = Probing(asking_is_free=False, concurrency=8)
    probing.let_first_decide()
    asked, sent = [], []
    for index in range(count):
        assert probing.may_go(index)
        if probing.should_ask(index):
            asked.append(index)
            probing.answered(index, index in stored)
        if index not in asked or index not in stored:
            sent.append(index)
        probing.stored(index)
    return asked, sent


def test_a_missing_first_chunk_decides_for_a_small_file() -> None:
    assert few_in_turn(set()) == ([0], [0, 1, 2])


@pytest.mark.parametrize("stored", [{0}, {0, 1}, {0, 1, 2}])
def test_what_an_interrupted_upload_of_a_small_file_stored_is_not_sent(stored: set[int]) -> None:
    assert few_in_turn(stored) == ([0, 1, 2], [index for index in range(3) if index not in stored])


def test_a_few_chunks_are_all_looked_up_where_that_is_free() -> None:
    probing = Probing(asking_is_free=True, concurrency=8)
    probing.let_first_decide()
    probing.answered(0, hit=False)
    assert probing.should_ask(1)
