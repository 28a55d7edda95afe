"""Retries: the policy by table and property tests, and the loop that applies it."""

from __future__ import annotations

import gc
import weakref

import pytest
from hypothesis import given
from hypothesis import strategies as st

from store_workers.errors import ChunkFailure, ErrorCode, StoreFailure, Try
from store_workers.threads import Abandoned, ThreadGroup
from store_workers.transfer.limiter import Limiter
from store_workers.transfer.retry import Retrier, RetryPolicy
from store_workers.wire.messages import Settings

HASH = "ab" * 32


def failure(
    attempt: int,
    *,
    transient: bool = True,
    retry_after: float | None = None,
    slow_down: bool = False,
) -> ChunkFailure:
    cause = StoreFailure(
        ErrorCode.STORE_UNAVAILABLE,
        "no",
        transient=transient,
        retry_after=retry_after,
        slow_down=slow_down,
    )
    return ChunkFailure(cause, 0, HASH, attempt)


def test_the_policy_of_the_default_settings() -> None:
    policy = RetryPolicy.of(Settings())
    assert (policy.max_attempts, policy.delay, policy.longest_delay) == (10, 0.2, 10.0)


@pytest.mark.parametrize(
    ("attempt", "fraction", "pause"),
    [
        (1, 0.0, 0.1),
        (1, 0.5, 0.15),
        (1, 1.0, 0.2),
        (2, 1.0, 0.4),
        (3, 1.0, 0.8),
        (3, 0.0, 0.4),
        (4, 1.0, 1.0),
        (8, 1.0, 1.0),
        (99, 0.0, 0.5),
        (100, 1.0, None),
        (101, 1.0, None),
    ],
)
def test_pauses_double_up_to_the_longest(
    attempt: int, fraction: float, pause: float | None
) -> None:
    policy = RetryPolicy(100, 0.2, 1.0)
    assert policy.pause_after(failure(attempt), fraction) == pytest.approx(pause)


@pytest.mark.parametrize(
    ("retry_after", "fraction", "pause"),
    [
        (0.0, 0.5, 0.15),
        (0.05, 0.0, 0.1),
        (0.5, 0.5, 0.5),
        (0.5, 1.0, 0.5),
        (1.0, 0.0, 1.0),
        (999_999_999.0, 0.0, 1.0),
    ],
)
def test_the_store_may_ask_for_more_but_not_for_more_than_the_longest(
    retry_after: float, fraction: float, pause: float
) -> None:
    policy = RetryPolicy(5, 0.2, 1.0)
    assert policy.pause_after(failure(1, retry_after=retry_after), fraction) == pytest.approx(pause)


def test_what_cannot_change_is_not_tried_again() -> None:
    policy = RetryPolicy(5, 0.2, 1.0)
    assert policy.pause_after(failure(1, transient=False), 0.5) is None
    assert policy.pause_after(failure(1, transient=False, retry_after=0.1), 0.5) is None
    assert RetryPolicy(1, 0.2, 1.0).pause_after(failure(1), 0.5) is None


@pytest.mark.parametrize(("most", "tries"), [(2, 2), (3, 3), (10, 3)])
def test_failure_may_be_worth_fewer_tries(most: int, tries: int) -> None:
    policy = RetryPolicy(most, 0.2, 1.0)
    damage = StoreFailure(ErrorCode.CHUNK_CORRUPT, "no", transient=True, most_tries=3)
    pauses = [policy.pause_after(ChunkFailure(damage, 0, HASH, n), 0.5) for n in (tries - 1, tries)]
    assert [pause is None for pause in pauses] == [False, True]


@given(
    st.integers(1, 100),
    st.floats(0, 86_400),
    st.floats(0, 86_400),
    st.integers(1, 100),
    st.floats(0, 1),
    st.none() | st.floats(0, 1e9),
)
def test_no_pause_is_longer_than_the_longest(
    most: int, delay: float, longest: float, attempt: int, fraction: float, asked: float | None
) -> None:
    policy = RetryPolicy(most, delay, longest)
    pause = policy.pause_after(failure(attempt, retry_after=asked), fraction)
    if attempt >= most:
        assert pause is None
        return
    assert pause is not None
    assert 0 <= pause <= longest
    if asked is None:
        ceiling = min(delay * 2 ** min(attempt - 1, 60), longest)
        assert ceiling / 2 * (1 - 1e-9) <= pause <= ceiling * (1 + 1e-9)
    else:
        assert pause >= min(asked, longest)


class Loop:
    """A retrier that records its pauses and does not sleep."""

    def __init__(self, max_attempts: int = 5, concurrency: int = 8) -> None:
        self.slept: list[float] = []
        self.told: list[tuple[int, str, int, float]] = []
        self.tries: list[tuple[int, int, str | None]] = []
        self.group = ThreadGroup()
        self.now = 0.0
        self.limiter = Limiter(concurrency, clock=lambda: self.now)
        self.retrier = Retrier(
            RetryPolicy(max_attempts, 0.2, 10.0),
            self.limiter.places(self.group),
            lambda failed, pause: self.told.append(
                (failed.index or 0, failed.hash or "", failed.attempt, pause)
            ),
            on_try=self._note,
            clock=lambda: self.now,
            sleep=self._sleep,
            fraction=lambda: 1.0,
        )

    def _note(self, made: Try) -> None:
        code = made.failure.code.value if made.failure else None
        self.tries.append((made.attempt, made.moved, code))

    def _sleep(self, seconds: float) -> None:
        self.slept.append(seconds)
        self.now += seconds


class Failing:
    """Work that fails as specified, then succeeds."""

    def __init__(self, *failures: Exception) -> None:
        self.left = list(failures)
        self.calls = 0

    def __call__(self) -> str:
        self.calls += 1
        if self.left:
            raise self.left.pop(0)
        return "done"


def test_a_success_is_told_with_its_tries() -> None:
    loop = Loop()
    assert loop.retrier.run(3, HASH, Failing()) == ("done", 1)
    assert (loop.slept, loop.told) == ([], [])
    work = Failing(failure(1).cause, failure(1).cause)
    assert loop.retrier.run(3, HASH, work) == ("done", 3)
    assert loop.slept == [0.2, 0.4]
    assert loop.told == [(3, HASH, 1, 0.2), (3, HASH, 2, 0.4)]


def test_each_try_is_reported_with_its_outcome() -> None:
    loop = Loop()
    loop.retrier.run(3, HASH, Failing(failure(1).cause), len)
    assert loop.tries == [(1, 0, "STORE_UNAVAILABLE"), (2, 4, None)]


def test_a_try_that_failed_does_not_keep_its_work_alive() -> None:
    """A failure whose traceback holds it in turn would stay until a collection of garbage."""
    loop, work = Loop(), Failing(failure(1).cause)
    left = weakref.ref(work)
    gc.disable()
    try:
        loop.retrier.run(3, HASH, work)
        del work
        assert left() is None
    finally:
        gc.enable()


def test_the_last_try_is_raised_and_not_told_as_a_retry() -> None:
    loop = Loop(max_attempts=3)
    work = Failing(*[failure(1).cause for _ in range(9)])
    with pytest.raises(ChunkFailure) as raised:
        loop.retrier.run(7, HASH, work)
    assert work.calls == 3
    assert raised.value.evidence() == {"index": 7, "hash": HASH, "attempts": 3}
    assert isinstance(raised.value.__cause__, StoreFailure)
    assert [attempt for _, _, attempt, _ in loop.told] == [1, 2]


def test_a_permanent_failure_ends_it_at_once() -> None:
    loop = Loop()
    work = Failing(failure(1).cause, failure(1, transient=False).cause)
    with pytest.raises(ChunkFailure) as raised:
        loop.retrier.run(7, HASH, work)
    assert (raised.value.attempt, work.calls, len(loop.told)) == (2, 2, 1)


def test_a_bug_is_not_tried_again() -> None:
    loop = Loop()
    work = Failing(ZeroDivisionError())
    with pytest.raises(ZeroDivisionError):
        loop.retrier.run(0, HASH, work)
    assert work.calls == 1


def test_a_store_that_asks_for_it_slows_the_run_down() -> None:
    loop = Loop()
    loop.retrier.run(0, HASH, Failing(failure(1).cause))
    assert loop.limiter.limit == 8
    loop.retrier.run(0, HASH, Failing(failure(1, slow_down=True).cause))
    assert loop.limiter.limit < 8


def test_a_store_that_says_when_to_come_back_gets_no_request_before() -> None:
    loop = Loop()
    places = loop.retrier.places
    loop.retrier.run(0, HASH, Failing(failure(1, retry_after=3.0).cause))
    assert loop.limiter.held_for(places.store) == 0
    assert loop.slept == [3.0]
    places.hold(2.0)
    assert loop.limiter.held_for(places.store) == 2.0
    assert loop.limiter.held_for("another store") <= 0


def test_nothing_is_tried_once_the_run_is_over() -> None:
    loop = Loop()
    loop.group.fail(ValueError())
    work = Failing()
    with pytest.raises(Abandoned):
        loop.retrier.run(0, HASH, work)
    assert work.calls == 0


def test_a_run_that_ends_in_a_pause_makes_no_further_try() -> None:
    loop = Loop()
    work = Failing(failure(1).cause)
    loop.retrier._sleep = lambda _seconds: loop.group.fail(ValueError())
    with pytest.raises(Abandoned):
        loop.retrier.run(0, HASH, work)
    assert work.calls == 1


def test_jitter_is_spread_over_the_upper_half() -> None:
    group = ThreadGroup()
    pauses: list[float] = []
    retrier = Retrier(
        RetryPolicy(2, 1.0, 1.0),
        Limiter(8).places(group),
        lambda _failed, pause: pauses.append(pause),
        sleep=lambda _seconds: None,
    )
    for _ in range(300):
        retrier.run(0, HASH, Failing(failure(1).cause))
    assert all(0.5 <= pause < 1 for pause in pauses)
    assert min(pauses) < 0.6
    assert max(pauses) > 0.9
