"""How many requests go side by side: halved at a request for calm, held, and grown again."""

from __future__ import annotations

import threading

import pytest
from hypothesis import given
from hypothesis import strategies as st

from store_workers.threads import Abandoned, ThreadGroup
from store_workers.transfer.limiter import Limiter
from tests.unit.in_process import TIMEOUT, beside


class Paced:
    """A pace with a clock that stands still until it is moved."""

    def __init__(self, concurrency: int = 8) -> None:
        self.now = 100.0
        self.group = ThreadGroup()
        self.limiter = Limiter(concurrency, self.group, clock=lambda: self.now)

    def request(self, error: Exception | None = None) -> None:
        """One request from beginning to end."""
        self.limiter.__enter__()
        self.limiter.__exit__(type(error) if error else None, error, None)


def test_it_begins_with_all() -> None:
    assert Paced(8).limiter.limit == 8
    assert Paced(1).limiter.limit == 1


def test_it_halves_once_for_all_that_were_under_way() -> None:
    paced = Paced(8)
    for _ in range(5):
        paced.limiter.slow_down(1.0)
    assert paced.limiter.limit == 4
    paced.now += 1.0
    paced.limiter.slow_down(1.0)
    assert paced.limiter.limit == 2


def test_it_halves_once_where_there_is_no_pause() -> None:
    paced = Paced(8)
    began = paced.now
    for _ in range(5):
        paced.now += 0.01
        paced.limiter.slow_down(0.0, began)
    assert paced.limiter.limit == 4
    paced.limiter.slow_down(0.0, paced.now)
    assert paced.limiter.limit == 2


def test_it_never_falls_below_one() -> None:
    paced = Paced(8)
    for _ in range(10):
        paced.limiter.slow_down(0.5)
        paced.now += 1
    assert paced.limiter.limit == 1
    paced.request()


def test_it_grows_by_one_for_as_many_successes_as_go_side_by_side() -> None:
    paced = Paced(8)
    paced.limiter.slow_down(1.0)
    paced.now += 1.0
    successes = 0
    limits = []
    while paced.limiter.limit < 8:
        paced.request()
        successes += 1
        limits.append(paced.limiter.limit)
        assert successes < 100
    assert limits == sorted(limits)
    assert 4 + 5 + 6 + 7 - 4 <= successes <= 4 + 5 + 6 + 7 + 4
    for _ in range(100):
        paced.request()
    assert paced.limiter.limit == 8


def test_failures_do_not_let_it_grow() -> None:
    paced = Paced(8)
    paced.limiter.slow_down(1.0)
    paced.now += 1.0
    for _ in range(100):
        paced.request(ValueError())
    assert paced.limiter.limit == 4


@given(st.integers(1, 256), st.lists(st.sampled_from(["ok", "fails", "slow"]), max_size=60))
def test_it_stays_within_its_bounds(concurrency: int, outcomes: list[str]) -> None:
    paced = Paced(concurrency)
    for outcome in outcomes:
        if outcome == "slow":
            paced.limiter.slow_down(1.0)
            paced.now += 1.0
        else:
            paced.request(ValueError() if outcome == "fails" else None)
        assert 1 <= paced.limiter.limit <= concurrency


def test_no_more_than_the_limit_are_under_way() -> None:
    paced = Paced(3)
    lock = threading.Lock()
    state = {"now": 0, "peak": 0, "done": 0}

    def work() -> None:
        for _ in range(50):
            with paced.limiter:
                with lock:
                    state["now"] += 1
                    state["peak"] = max(state["peak"], state["now"])
                with lock:
                    state["now"] -= 1
                    state["done"] += 1

    threads = [beside(work) for _ in range(10)]
    for thread in threads:
        thread.join(TIMEOUT)
    assert state["done"] == 500
    assert state["peak"] <= 3


def test_a_hold_keeps_all_back_until_it_has_passed() -> None:
    group = ThreadGroup()
    limiter = Limiter(8, group)
    limiter.slow_down(0.3)
    entered = threading.Event()

    def work() -> None:
        with limiter:
            entered.set()

    beside(work)
    assert not entered.wait(0.1)
    assert entered.wait(TIMEOUT)


def test_a_longer_hold_counts_and_a_shorter_one_does_not() -> None:
    paced = Paced(8)
    paced.limiter.slow_down(5.0)
    paced.limiter.slow_down(1.0)
    paced.now += 2.0
    entered = threading.Event()

    def work() -> None:
        with paced.limiter:
            entered.set()

    beside(work)
    assert not entered.wait(0.1), "the shorter hold replaced the longer one"
    paced.now += 3.0
    with paced.limiter._changed:
        paced.limiter._changed.notify_all()
    assert entered.wait(TIMEOUT)


@pytest.mark.parametrize("waits_for", ["a place", "the end of a hold"])
def test_the_end_of_the_run_wakes_who_waits(waits_for: str) -> None:
    group = ThreadGroup()
    limiter = Limiter(1, group)
    if waits_for == "a place":
        limiter.__enter__()
    else:
        limiter.slow_down(10 * TIMEOUT)
    met: list[BaseException] = []

    def work() -> None:
        try:
            limiter.__enter__()
        except Abandoned as abandoned:
            met.append(abandoned)

    thread = beside(work)
    thread.join(0.05)
    assert not met
    group.fail(ValueError())
    thread.join(TIMEOUT)
    assert met
