"""The number of requests in flight: simulated in virtual time, compared with all fixed numbers."""

from __future__ import annotations

from functools import cache
from typing import TYPE_CHECKING

import pytest
from hypothesis import given
from hypothesis import strategies as st

from store_workers.transfer.concurrency import FIRST, MOST_BYTES, Concurrency
from tests.unit.simulated_line import CHUNK, Line, Transfer

if TYPE_CHECKING:
    from collections.abc import Callable

MOST = 256
MBIT = 1e6 / 8
FIXED = (4, 6, 8, 16, 24, 32, 64, 128)
WITHIN = 1.15
FILE = 384
"""Chunks: 192 MiB."""


def found(line: Line, chunks: int = FILE) -> Transfer:
    transfer = Transfer(line, Concurrency(MOST, search=True), chunks)
    transfer.seconds()
    return transfer


@cache
def best_fixed(line: Line, chunks: int) -> float:
    """Return the shortest time of any fixed number."""
    return min(
        Transfer(line, Concurrency(number, search=False), chunks).seconds() for number in FIXED
    )


def assert_close_to_the_best(line: Line, chunks: int = FILE) -> Transfer:
    transfer = found(line, chunks)
    best = best_fixed(line, chunks)
    assert transfer.now <= WITHIN * best, (transfer.now / best, transfer.limits)
    return transfer


@pytest.mark.parametrize("megabits", [50, 200, 1000])
@pytest.mark.parametrize("milliseconds", [5, 20, 100])
def test_every_line_is_used_as_well_as_by_the_best_number(milliseconds: int, megabits: int) -> None:
    transfer = assert_close_to_the_best(Line(milliseconds / 1000, megabits * MBIT))
    assert transfer.retries == 0


def test_a_far_line_is_found_within_a_second() -> None:
    transfer = found(Line(0.1, 1000 * MBIT))
    assert max(limit for second, limit in transfer.limits if second <= 0.5) >= 64


def test_a_thin_line_is_not_flooded() -> None:
    transfer = found(Line(0.005, 50 * MBIT), 3 * FILE)
    assert transfer.peak <= 6 * FIRST
    assert transfer.controller.limit < 4 * FIRST


def test_a_store_that_refuses_more_than_six() -> None:
    for milliseconds in (5, 100):
        transfer = assert_close_to_the_best(Line(milliseconds / 1000, 1000 * MBIT, capacity=6))
        assert transfer.retries < FILE / 10
        assert 3 <= transfer.controller.limit <= 8


@pytest.mark.parametrize("asked", [8, 64, 256])
def test_a_number_that_was_asked_for_falls_to_what_the_store_takes(asked: int) -> None:
    transfer = Transfer(
        Line(0.02, 1000 * MBIT, capacity=6), Concurrency(asked, search=False), 4 * FILE
    )
    transfer.seconds()
    assert transfer.retries < asked + FILE / 10
    assert 3 <= transfer.controller.limit <= 8


@pytest.mark.parametrize("supply", [30, 100])
def test_a_slow_compressor_is_not_taken_for_a_full_line(supply: int) -> None:
    transfer = assert_close_to_the_best(Line(0.02, 1000 * MBIT, supply=supply))
    assert transfer.controller.limit == FIRST


def test_a_line_shared_with_others() -> None:
    assert_close_to_the_best(Line(0.1, 1000 * MBIT, others=8), 4 * FILE)


@pytest.mark.parametrize("milliseconds", [20, 100])
def test_a_line_that_comes_and_goes(milliseconds: int) -> None:
    def bandwidth(now: float) -> float:
        return (1000 if int(now / 0.7 + 1e-9) % 2 else 300) * MBIT

    assert_close_to_the_best(Line(milliseconds / 1000, bandwidth, every=0.7), 2 * FILE)


def test_a_line_that_becomes_faster() -> None:
    def bandwidth(now: float) -> float:
        return (1000 if now > 3 else 50) * MBIT

    assert_close_to_the_best(Line(0.1, bandwidth, every=1), 4 * FILE)


def test_large_chunks_are_not_held_by_the_hundred() -> None:
    controller = Concurrency(MOST, search=True)
    now = 0.0
    for _ in range(200):
        started = controller.limit
        for _ in range(started):
            controller.began(now)
        now += 1.0
        for _ in range(started):
            controller.succeeded(now, 16 * CHUNK)
    assert controller.limit <= max(FIRST, MOST_BYTES // (16 * CHUNK))


def test_one_accident_is_no_ceiling() -> None:
    controller = Concurrency(64, search=False)
    controller.began(0.0)
    controller.refused(0.1, 0.0)
    assert controller.limit == 32
    now = 1.0
    for _ in range(20):
        count = controller.limit
        for _ in range(count):
            controller.began(now)
        for _ in range(count):
            controller.succeeded(now + 0.1, CHUNK)
        now += 0.1
    assert controller.limit == 64


def test_refusals_that_belong_together_count_as_one_unless_they_are_most() -> None:
    controller = Concurrency(16, search=False)
    for _ in range(16):
        controller.began(0.0)
    limits = []
    for _ in range(12):
        controller.refused(0.1, 0.0)
        limits.append(controller.limit)
    assert limits == [8] * 8 + [7, 6, 5, 4]


@given(st.integers(1, 256), st.booleans(), st.lists(st.sampled_from("bsref"), max_size=300))
def test_it_stays_within_its_bounds(most: int, search: bool, happens: list[str]) -> None:
    controller = Concurrency(most, search=search)
    open_requests: list[float] = []
    steps: dict[str, Callable[[float, float], None]] = {
        "s": lambda now, _began: controller.succeeded(now, CHUNK),
        "r": controller.refused,
        "e": lambda now, _began: controller.ended(now),
    }
    for number, what in enumerate(happens):
        now = number / 50
        if what in steps and open_requests:
            steps[what](now, open_requests.pop(0))
        elif what not in steps and len(open_requests) < controller.limit:
            open_requests.append(now)
            controller.began(now)
        assert 1 <= controller.limit <= most
        assert controller.in_flight == len(open_requests)
