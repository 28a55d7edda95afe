"""The limiter: no more requests than places, in turn, until the run ends."""

from __future__ import annotations

import threading
from queue import SimpleQueue

import pytest

from store_workers.errors import ErrorCode, StoreFailure
from store_workers.threads import Abandoned, ThreadGroup
from store_workers.transfer.limiter import Limiter, Places
from tests.stores.flaky_store import unavailable
from tests.support.waiting import wait_until
from tests.unit.in_process import TIMEOUT, beside


class Paced:
    """A limiter with a clock that is moved by hand."""

    def __init__(self, concurrency: int = 8) -> None:
        self.now = 100.0
        self.group = ThreadGroup()
        self.limiter = Limiter(concurrency, clock=lambda: self.now)
        self.places = self.limiter.places(self.group)

    def request(self, error: Exception | None = None) -> None:
        """One request from beginning to end."""
        place = self.places.one()
        place.__enter__()
        place.__exit__(type(error) if error else None, error, None)


def test_it_begins_with_all_that_was_asked_for() -> None:
    assert Paced(8).limiter.limit == 8
    assert Paced(1).limiter.limit == 1
    assert Limiter(64, most=20).limit == 20


def test_without_a_number_it_begins_with_few() -> None:
    assert Limiter(0).limit == 8
    assert Limiter(0, most=3).limit == 3


def test_a_store_that_wants_fewer_gets_fewer() -> None:
    paced = Paced(8)
    for _ in range(5):
        paced.request(unavailable())
        paced.now += 1
    assert paced.limiter.limit == 1
    paced.request()


@pytest.mark.parametrize(
    "error", [ValueError(), StoreFailure(ErrorCode.STORE_UNAVAILABLE, "broken", transient=True)]
)
def test_other_failures_do_not_change_it(error: Exception) -> None:
    paced = Paced(8)
    for _ in range(100):
        paced.request(error)
    assert paced.limiter.limit == 8


def test_no_more_than_the_limit_are_under_way() -> None:
    paced = Paced(3)
    lock = threading.Lock()
    state = {"now": 0, "peak": 0, "done": 0}

    def work() -> None:
        for _ in range(50):
            with paced.places.one():
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
    limiter = Limiter(8)
    places = limiter.places(group)
    places.hold(0.3)
    entered = threading.Event()

    def work() -> None:
        with places.one():
            entered.set()

    beside(work)
    assert not entered.wait(0.1)
    assert entered.wait(TIMEOUT)


def test_a_longer_hold_counts_and_a_shorter_one_does_not() -> None:
    paced = Paced(8)
    paced.places.hold(5.0)
    paced.places.hold(1.0)
    paced.now += 2.0
    entered = threading.Event()

    def work() -> None:
        with paced.places.one():
            entered.set()

    beside(work)
    assert not entered.wait(0.1), "the shorter hold replaced the longer one"
    paced.now += 3.0
    condition = paced.places._condition
    assert condition is not None
    with condition:
        condition.notify_all()
    assert entered.wait(TIMEOUT)


def test_a_store_that_is_held_keeps_no_other_one_back() -> None:
    group = ThreadGroup()
    limiter = Limiter(2)
    held, other = limiter.places(group, "held"), limiter.places(group, "other")
    held.hold(10 * TIMEOUT)
    group.start(held.one().__enter__, "waits")
    wait_until(lambda: held.waiting == 1)
    for _ in range(3):
        with other.one():
            pass
    group.fail(ValueError())
    assert group.close(TIMEOUT)


def test_a_silent_store_that_has_all_places_keeps_no_other_one_back() -> None:
    limiter = Limiter(0, most=1)
    group = ThreadGroup()
    silent, other = limiter.places(group, "silent"), limiter.places(group, "other")
    first = silent.one()
    first.__enter__()
    group.start(silent.one().__enter__, "waits")
    wait_until(lambda: silent.waiting == 1)
    with other.one():
        group.start(other.one().__enter__, "waits, too")
        wait_until(lambda: other.waiting == 1)
    wait_until(lambda: other.waiting == 0)
    assert silent.waiting == 1
    group.fail(ValueError())
    assert group.close(TIMEOUT)
    assert silent.waiting == 0


def test_a_given_number_of_places_is_not_exceeded_for_another_store() -> None:
    limiter = Limiter(1)
    group = ThreadGroup()
    silent, other = limiter.places(group, "silent"), limiter.places(group, "other")
    with silent.one():
        group.start(other.one().__enter__, "waits")
        wait_until(lambda: other.waiting == 1)
        limiter.admit()
        assert other.waiting == 1
    wait_until(lambda: other.waiting == 0)
    assert group.close(TIMEOUT)


@pytest.mark.parametrize("waits_for", ["a place", "the end of a hold"])
def test_the_end_of_the_run_wakes_who_waits(waits_for: str) -> None:
    group = ThreadGroup()
    limiter = Limiter(1)
    places = limiter.places(group)
    if waits_for == "a place":
        places.take()
    else:
        places.hold(10 * TIMEOUT)
    met: list[BaseException] = []

    def work() -> None:
        try:
            places.take()
        except Abandoned as abandoned:
            met.append(abandoned)

    thread = beside(work)
    thread.join(0.05)
    assert not met
    group.fail(ValueError())
    thread.join(TIMEOUT)
    assert met


def test_messages_take_turns() -> None:
    limiter = Limiter(1)
    first, second = limiter.places(ThreadGroup()), limiter.places(ThreadGroup())
    held = first.one()
    held.__enter__()
    order: SimpleQueue[str] = SimpleQueue()

    def work(places: Places, name: str) -> None:
        with places.one():
            order.put(name)

    for count, (places, name) in enumerate([(first, "first")] * 4 + [(second, "second")] * 2):
        beside(lambda places=places, name=name: work(places, name))  # type: ignore[misc]
        wait_until(lambda count=count: first.waiting + second.waiting > count)  # type: ignore[misc]
    held.__exit__(None, None, None)
    told = [order.get(timeout=TIMEOUT) for _ in range(6)]
    assert told == ["first", "second", "first", "second", "first", "first"]


def test_the_end_of_one_message_takes_no_place_from_another() -> None:
    limiter = Limiter(2)
    groups = [ThreadGroup(), ThreadGroup()]
    cancelled, other = (limiter.places(group) for group in groups)
    held = [cancelled.one(), cancelled.one()]
    for place in held:
        place.__enter__()

    def wait() -> None:
        cancelled.take()

    for number in range(3):
        groups[0].start(wait, f"waits {number}")
    wait_until(lambda: cancelled.waiting == 3)
    assert groups[0].close(TIMEOUT)
    for place in held:
        place.__exit__(None, None, None)
    other.take()
    other.take()
