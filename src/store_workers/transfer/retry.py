"""Retries: the policy, and the loop that applies it.

There is no other retry layer, so the reported attempts are the real ones.
"""

from __future__ import annotations

import time

from store_workers.errors import ChunkFailure, StoreFailure, Try, forget_frames

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import TypeVar

    from store_workers.transfer.limiter import Place, Places
    from store_workers.wire.messages import Settings

    T = TypeVar("T")


class RetryPolicy:
    """The policy: number of tries and pauses, without clock or I/O. Times are in seconds."""

    def __init__(self, max_attempts: int, delay: float, longest_delay: float) -> None:
        self.max_attempts = max_attempts
        self.delay = delay
        self.longest_delay = longest_delay

    @classmethod
    def of(cls, settings: Settings) -> RetryPolicy:
        """Return the policy of a message."""
        return cls(
            settings.max_attempts,
            settings.retry_delay_ms / 1000,
            settings.retry_max_delay_ms / 1000,
        )

    def pause_after(
        self, failure: ChunkFailure, fraction: float, counted: int | None = None
    ) -> float | None:
        """Return the pause before the next try, or None if there is no further try.

        A part of a ceiling that doubles from try to try, at least its half, so that many workers
        come back neither together nor too soon; `fraction`, from 0 to 1, is the caller's random
        number. A store's `Retry-After` is a lower bound to that. Neither exceeds the longest
        delay. `counted` is how many tries use up the attempts, where not all do.
        """
        tries = failure.attempt if counted is None else counted
        most = min(self.max_attempts, failure.cause.most_tries or self.max_attempts)
        if not failure.cause.transient or tries >= most:
            return None
        doublings = max(0, min(tries - 1, 60))
        pause = (0.5 + fraction / 2) * min(self.delay * (1 << doublings), self.longest_delay)
        asked = failure.cause.retry_after
        return pause if asked is None else max(pause, min(asked, self.longest_delay))


class Retrier:
    """Repeats a request to a store until it succeeds or the policy gives up.

    Each try takes one of the message's `places`, and returns it during the pause.
    """

    def __init__(
        self,
        policy: RetryPolicy,
        places: Places,
        on_retry: Callable[[ChunkFailure, float], None],
        *,
        on_try: Callable[[Try], None] = lambda _result: None,
        clock: Callable[[], float] = time.monotonic,
        sleep: Callable[[float], None] = time.sleep,
        fraction: Callable[[], float] | None = None,
    ) -> None:
        self._policy = policy
        self.places = places
        self._on_retry = on_retry
        self._on_try = on_try
        self._clock = clock
        self._sleep = sleep
        self._fraction = fraction or _random_fraction

    def run(
        self,
        index: int,
        hash: str,
        work: Callable[[], T],
        moved: Callable[[T], int] = lambda _result: 0,
    ) -> tuple[T, int]:
        """Do `work` for one chunk. Return (its result, the number of tries).

        `moved` returns the bytes transferred, from a result.

        Raises the `ChunkFailure` of the last try. Every failure that is tried again is reported
        before the pause. A store that says when to come back gets no request before that.
        `on_try` is called with each try.

        A try without any answer does not count if other chunks succeeded meanwhile: the store then
        works, but serves fewer connections than requested, and gets fewer requests.
        """
        attempt, counted = 1, 0
        while True:
            place = self.places.one()
            succeeded = self.places.succeeded
            try:
                with place:
                    result = work()
                    place.moved = moved(result)
            except StoreFailure as cause:
                self._report(index, hash, attempt, place, cause)
                failure = ChunkFailure(cause, index, hash, attempt)
                # A run that has ended closes its store, which is not a failure to report.
                self.places.check()
            else:
                self._report(index, hash, attempt, place)
                return result, attempt
            if not (failure.cause.unanswered and self.places.succeeded > succeeded):
                counted += 1
            pause = self._policy.pause_after(failure, self._fraction(), counted)
            if pause is None:
                raise failure from failure.cause
            if failure.cause.retry_after is not None:
                self.places.hold(pause)
            self._on_retry(failure, pause)
            forget_frames(failure.cause)
            self._sleep(pause)
            attempt += 1

    def _report(
        self,
        index: int,
        hash: str,
        attempt: int,
        place: Place,
        failure: StoreFailure | None = None,
    ) -> None:
        seconds = self._clock() - place.began
        self._on_try(Try(index, hash, attempt, seconds=seconds, moved=place.moved, failure=failure))


def _random_fraction() -> float:
    from random import random

    return random()  # noqa: S311 - jitter needs no secrecy
