"""When the store is asked before a chunk is sent: seldom at first, always where it can pay."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from store_workers.probing import Probing


class Simulation:
    """An upload of `count` chunks into a store that has some of them.

    At most `concurrency` chunks are under way; in which order they are done is drawn.
    """

    def __init__(self, count: int, stored: set[int], concurrency: int) -> None:
        self.probing = Probing(asking_is_free=False, concurrency=concurrency)
        self.stored = stored
        self.asked: list[int] = []
        self.sent: list[int] = []
        self._count = count
        self._concurrency = concurrency

    def run(self, draw: st.DataObject | None = None) -> None:
        assert self.probing.first_goes_alone()
        under_way: list[tuple[int, bool]] = []
        for index in range(self._count):
            while len(under_way) >= (1 if index == 1 else self._concurrency):
                self._finish(under_way, draw)
            under_way.append((index, self.probing.should_ask(index)))
        while under_way:
            self._finish(under_way, draw)

    def _finish(self, under_way: list[tuple[int, bool]], draw: st.DataObject | None) -> None:
        place = draw.draw(st.integers(0, len(under_way) - 1)) if draw else 0
        index, ask = under_way.pop(place)
        if ask:
            self.asked.append(index)
            hit = index in self.stored
            self.probing.answered(hit)
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
)
@settings(max_examples=200)
def test_an_interrupted_upload_sends_only_what_is_missing(
    data: st.DataObject, concurrency: int, reached: int, beyond: int
) -> None:
    """Whatever was in flight when it was stopped, in whatever order it is done now."""
    in_flight = data.draw(st.sets(st.integers(1, max(1, reached)), max_size=concurrency - 1))
    stored = set(range(reached)) - in_flight
    again = Simulation(reached + beyond, stored, concurrency)
    again.run(data)
    assert sorted(again.sent) == sorted(set(range(reached + beyond)) - stored)


@given(st.data(), st.integers(1, 256))
@settings(max_examples=50)
def test_the_same_with_any_concurrency(data: st.DataObject, concurrency: int) -> None:
    reached = data.draw(st.integers(1, 600))
    in_flight = data.draw(st.sets(st.integers(1, reached), max_size=concurrency - 1))
    stored = set(range(reached)) - in_flight
    again = Simulation(reached + 50, stored, concurrency)
    again.run(data)
    assert set(again.sent).isdisjoint(stored)


def test_a_complete_upload_repeated_sends_nothing() -> None:
    again = Simulation(1000, set(range(1000)), concurrency=8)
    again.run()
    assert again.sent == []


def test_after_the_end_of_an_interrupted_upload_it_asks_seldom_again() -> None:
    again = Simulation(1000, set(range(100)), concurrency=8)
    again.run()
    assert again.sent == list(range(100, 1000))
    assert len(again.asked) < 100 + 16 + 8 + 1000 // 32


def test_a_later_part_that_is_known_is_found_by_its_milestones() -> None:
    again = Simulation(1000, set(range(500, 1000)), concurrency=8)
    again.run()
    assert len([index for index in again.sent if index >= 500]) < 32 + 8


def test_a_store_that_answers_at_once_is_always_asked() -> None:
    probing = Probing(asking_is_free=True, concurrency=8)
    assert not probing.first_goes_alone()
    for index in range(1000):
        assert probing.should_ask(index)
        probing.answered(hit=False)
