"""The threads of a run: the first failure ends it, is told once, and wakes all who wait."""

from __future__ import annotations

import threading
from queue import SimpleQueue

import pytest

from store_workers.threads import Abandoned, ThreadGroup
from tests.unit.in_process import TIMEOUT, beside


def test_what_a_thread_raises_fails_the_run() -> None:
    told: SimpleQueue[BaseException] = SimpleQueue()
    group = ThreadGroup(told.put)
    failure = ValueError("x")

    def work() -> None:
        raise failure

    group.start(work, "name")
    assert told.get(timeout=TIMEOUT) is failure
    assert group.failure is failure
    with pytest.raises(Abandoned):
        group.check()


def test_not_only_errors_fail_the_run() -> None:
    told: SimpleQueue[BaseException] = SimpleQueue()
    group = ThreadGroup(told.put)

    def work() -> None:
        raise SystemExit(3)

    group.start(work, "name")
    assert isinstance(told.get(timeout=TIMEOUT), SystemExit)


def test_only_the_first_failure_is_told() -> None:
    told: list[BaseException] = []
    group = ThreadGroup(told.append)
    first = ValueError("first")
    group.fail(first)
    group.fail(ValueError("second"))
    assert told == [first]
    assert group.failure is first


def test_of_many_failures_at_once_one_is_told() -> None:
    told: list[BaseException] = []
    group = ThreadGroup(told.append)
    barrier = threading.Barrier(8)

    def fail() -> None:
        barrier.wait(TIMEOUT)
        group.fail(ValueError())

    threads = [beside(fail) for _ in range(8)]
    for thread in threads:
        thread.join(TIMEOUT)
    assert told == [group.failure]


def test_abandoned_is_no_failure() -> None:
    group = ThreadGroup()
    done = threading.Event()

    def work() -> None:
        done.set()
        raise Abandoned

    group.start(work, "name")
    assert done.wait(TIMEOUT)
    group.check()


def test_waiters_at_every_guard_are_woken() -> None:
    group = ThreadGroup()
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

    guards = [group.condition() for _ in range(3)]
    for guard in guards * 4:
        group.start(lambda guard=guard: work(guard), "waits")  # type: ignore[misc]
    for _ in range(12):
        assert waiting.acquire(timeout=TIMEOUT)
    group.fail(ValueError())
    for _ in range(12):
        assert woken.acquire(timeout=TIMEOUT)


def test_a_wait_ends_when_its_condition_does() -> None:
    group = ThreadGroup()
    guard = group.condition()
    state = {"waits": True, "ended": False}
    ended = threading.Event()

    def work() -> None:
        with guard:
            guard.wait_while(lambda: state["waits"])
        ended.set()

    group.start(work, "waits")
    assert not ended.wait(0.05)
    with guard:
        state["waits"] = False
        guard.notify_all()
    assert ended.wait(TIMEOUT)


def test_a_run_that_is_over_lets_nobody_wait() -> None:
    group = ThreadGroup()
    guard = group.condition()
    group.fail(ValueError())
    with guard, pytest.raises(Abandoned):
        guard.wait_while(lambda: False)
    with group.condition() as _, pytest.raises(Abandoned):
        group.check()


def test_threads_do_not_hold_the_exit_up() -> None:
    group = ThreadGroup()
    found: SimpleQueue[threading.Thread] = SimpleQueue()
    group.start(lambda: found.put(threading.current_thread()), "a name")
    thread = found.get(timeout=TIMEOUT)
    assert thread.daemon
    assert thread.name == "a name"
