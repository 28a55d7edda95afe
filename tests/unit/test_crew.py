"""The threads of a run: the first failure ends it, is told once, and wakes all who wait."""

from __future__ import annotations

import threading
from queue import SimpleQueue

import pytest

from store_workers.crew import Abandoned, Crew
from tests.unit.in_process import TIMEOUT, beside


def test_what_a_thread_raises_fails_the_run() -> None:
    told: SimpleQueue[BaseException] = SimpleQueue()
    crew = Crew(told.put)
    failure = ValueError("x")

    def work() -> None:
        raise failure

    crew.start(work, "name")
    assert told.get(timeout=TIMEOUT) is failure
    assert crew.failure is failure
    with pytest.raises(Abandoned):
        crew.check()


def test_not_only_errors_fail_the_run() -> None:
    told: SimpleQueue[BaseException] = SimpleQueue()
    crew = Crew(told.put)

    def work() -> None:
        raise SystemExit(3)

    crew.start(work, "name")
    assert isinstance(told.get(timeout=TIMEOUT), SystemExit)


def test_only_the_first_failure_is_told() -> None:
    told: list[BaseException] = []
    crew = Crew(told.append)
    first = ValueError("first")
    crew.fail(first)
    crew.fail(ValueError("second"))
    assert told == [first]
    assert crew.failure is first


def test_of_many_failures_at_once_one_is_told() -> None:
    told: list[BaseException] = []
    crew = Crew(told.append)
    barrier = threading.Barrier(8)

    def fail() -> None:
        barrier.wait(TIMEOUT)
        crew.fail(ValueError())

    threads = [beside(fail) for _ in range(8)]
    for thread in threads:
        thread.join(TIMEOUT)
    assert told == [crew.failure]


def test_abandoned_is_no_failure() -> None:
    crew = Crew()
    done = threading.Event()

    def work() -> None:
        done.set()
        raise Abandoned

    crew.start(work, "name")
    assert done.wait(TIMEOUT)
    crew.check()


def test_waiters_at_every_guard_are_woken() -> None:
    crew = Crew()
    woken = threading.Semaphore(0)
    waiting = threading.Semaphore(0)

    def work(guard: object) -> None:
        with guard:  # type: ignore[attr-defined]
            waiting.release()
            try:
                guard.wait_while(lambda: True)  # type: ignore[attr-defined]
            except Abandoned:
                woken.release()
                raise

    guards = [crew.guard() for _ in range(3)]
    for guard in guards * 4:
        crew.start(lambda guard=guard: work(guard), "waits")  # type: ignore[misc]
    for _ in range(12):
        assert waiting.acquire(timeout=TIMEOUT)
    crew.fail(ValueError())
    for _ in range(12):
        assert woken.acquire(timeout=TIMEOUT)


def test_a_wait_ends_when_its_condition_does() -> None:
    crew = Crew()
    guard = crew.guard()
    state = {"waits": True, "ended": False}
    ended = threading.Event()

    def work() -> None:
        with guard:
            guard.wait_while(lambda: state["waits"])
        ended.set()

    crew.start(work, "waits")
    assert not ended.wait(0.05)
    with guard:
        state["waits"] = False
        guard.notify_all()
    assert ended.wait(TIMEOUT)


def test_a_run_that_is_over_lets_nobody_wait() -> None:
    crew = Crew()
    guard = crew.guard()
    crew.fail(ValueError())
    with guard, pytest.raises(Abandoned):
        guard.wait_while(lambda: False)
    with crew.guard() as _, pytest.raises(Abandoned):
        crew.check()


def test_threads_do_not_hold_the_exit_up() -> None:
    crew = Crew()
    found: SimpleQueue[threading.Thread] = SimpleQueue()
    crew.start(lambda: found.put(threading.current_thread()), "a name")
    thread = found.get(timeout=TIMEOUT)
    assert thread.daemon
    assert thread.name == "a name"
