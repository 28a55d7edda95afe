"""When the store is asked before a chunk is sent: seldom at first, always where it can pay."""

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

    def __init__(self, count: int, stored: set[int], concurrency: int, held: int = 1) -> None:
        self.probing = Probing(asking_is_free=False, concurrency=concurrency)
        self.stored = stored
        self.asked: list[int] = []
        self.sent: list[int] = []
        self._count = count
        self._concurrency = concurrency
        self._held = held

    def run(self, chance: Random | None = None) -> None:
        assert self.probing.first_goes_alone()
        under_way: list[tuple[int, bool]] = []
        coming = list(range(self._count))
        while coming or under_way:
            full = len(under_way) >= self._concurrency or self._waits_for_first(coming, under_way)
            if coming and not full:
                index = coming.pop(self._any_of(coming[: self._held], chance) if coming[0] else 0)
                under_way.append((index, self.probing.should_ask(index)))
            else:
                self._finish(*under_way.pop(self._any_of(under_way, chance)))

    def _waits_for_first(self, coming: list[int], under_way: list[tuple[int, bool]]) -> bool:
        return bool(under_way) and under_way[0][0] == 0 and len(coming) == self._count - 1

    def _any_of(self, choices: Sequence[object], chance: Random | None) -> int:
        return chance.randrange(len(choices)) if chance else 0

    def _finish(self, index: int, ask: bool) -> None:
        if ask:
            self.asked.append(index)
            hit = index in self.stored
            self.probing.answered(index, hit)
            if hit:
                return
        self.sent.append(index)


@pytest.mark.parametrize(
    ("count", "most"), [(1, 1), (2, 2), (10, 4), (100, 8), (1000, 36), (10_000, 318)]
)
def test_a_first_upload_asks_seldom(count: int, most: int) -> None:
    first = Simulation(count, set(), concurrency=8)
    first.run()
    assert first.sent == list(range(count))
    assert len(first.asked) <= most


def test_the_chunks_that_a_first_upload_asks_for() -> None:
    first = Simulation(130, set(), concurrency=8)
    first.run()
    assert first.asked == [0, 1, 3, 7, 15, 31, 63, 95, 127]


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
    """Whatever was in flight when it was stopped, in whatever order it is done now."""
    in_flight = data.draw(st.sets(st.integers(1, max(1, reached)), max_size=concurrency - 1))
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
    assert not probing.first_goes_alone()
    for index in range(1000):
        assert probing.should_ask(index)
        probing.answered(index, hit=False)


def test_chunks_beyond_the_end_that_miss_first_hide_nothing() -> None:
    """A thread that is held up has chunks that are there, while the others run far ahead."""
    probing = Probing(asking_is_free=False, concurrency=8)
    probing.answered(0, hit=True)
    for index in range(30, 130):
        if probing.should_ask(index):
            probing.answered(index, hit=False)
    assert all(probing.should_ask(index) for index in range(1, 30))
