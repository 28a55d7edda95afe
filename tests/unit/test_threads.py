"""The threads of a run: the first failure ends it, is reported once, and wakes all."""

from __future__ import annotations

import threading
from queue import SimpleQueue

import pytest

from store_workers.errors import ErrorCode, WorkerError
from store_workers.threads import Abandoned, ThreadGroup, ThreadPool
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


def test_a_thread_of_the_pool_serves_again() -> None:
    pool = ThreadPool()
    found: SimpleQueue[threading.Thread] = SimpleQueue()
    for number in range(20):
        group = ThreadGroup(pool=pool)
        group.start(lambda: found.put(threading.current_thread()), f"work-{number}")
        found.get(timeout=TIMEOUT)
        assert group.close(TIMEOUT)
    assert len(pool._threads) <= 2
    assert pool.close(TIMEOUT)


def test_what_is_closed_leaves_no_thread() -> None:
    before = set(threading.enumerate())
    group = ThreadGroup()
    guard = group.condition()

    def work() -> None:
        with guard:
            guard.wait_while(lambda: True)

    for _ in range(5):
        group.start(work, "waits")
    group.start(lambda: group.sleep(TIMEOUT), "sleeps")
    assert group.close(TIMEOUT)
    assert set(threading.enumerate()) <= before
    with pytest.raises(Abandoned):
        group.start(work, "too late")


def test_the_size_of_stacks_is_left_as_it_was() -> None:
    before = threading.stack_size()
    group = ThreadGroup()
    group.start(lambda: None, "a name")
    assert group.close(TIMEOUT)
    assert threading.stack_size() == before


def test_the_end_of_a_message_wakes_its_threads_where_all_messages_wait() -> None:
    run = ThreadGroup()
    shared = run.condition()
    ended: SimpleQueue[str] = SimpleQueue()

    def wait(name: str) -> None:
        try:
            with shared:
                shared.wait_while(lambda: True)
        except Abandoned:
            ended.put(name)
            raise

    one, other = ThreadGroup(parent=run), ThreadGroup(parent=run)
    one.start(lambda: wait("one"), "one")
    other.start(lambda: wait("other"), "other")
    one.fail(ValueError())
    assert ended.get(timeout=TIMEOUT) == "one"
    assert other.failure is None
    run.fail(ValueError())
    assert ended.get(timeout=TIMEOUT) == "other"
    late = ThreadGroup(parent=run)
    with pytest.raises(Abandoned):
        late.check()


def test_a_host_without_threads_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    def refused(_thread: threading.Thread) -> None:
        raise RuntimeError("can't start new thread")

    monkeypatch.setattr(threading.Thread, "start", refused)
    group = ThreadGroup()
    assert not group.start(lambda: None, "spare", spare=True)
    with pytest.raises(WorkerError) as told:
        group.start(lambda: None, "needed")
    assert told.value.code is ErrorCode.HOST_UNSUPPORTED
    assert group.close()


def test_memory_is_left_for_the_work(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("store_workers.threads.ROOM", 1 << 60)
    group = ThreadGroup()
    assert not group.start(lambda: None, "spare", spare=True)
    assert group.start(lambda: None, "needed")
    assert group.close(TIMEOUT)


def test_what_threads_use_is_undone_when_the_last_of_them_is_through() -> None:
    group = ThreadGroup()
    undone: list[str] = []
    go_on = threading.Event()
    group.start(lambda: bool(go_on.wait(TIMEOUT)), "works on")  # type: ignore[arg-type]
    group.when_over(lambda: undone.append("first"))
    group.when_over(lambda: undone.append("second"))
    group.fail(ValueError())
    assert undone == []
    go_on.set()
    assert group.close(TIMEOUT)
    assert undone == ["second", "first"]
    group.when_over(lambda: undone.append("late"))
    assert undone == ["second", "first", "late"]
