"""When a failed try is made again: the decision, and the loop that obeys it.

There is no other retry layer: the HTTP library's own is off, so that the attempts that are reported
are the attempts that were made.
"""

from __future__ import annotations

import time

from store_workers.errors import ChunkFailure, StoreFailure, Try

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import TypeVar

    from store_workers.transfer.limiter import Place, Places
    from store_workers.wire.messages import Settings

    T = TypeVar("T")


class RetryPolicy:
    """How often and how long: a pure decision, with neither clock nor I/O. Times in seconds."""

    def __init__(self, max_attempts: int, delay: float, longest_delay: float) -> None:
        self.max_attempts = max_attempts
        self.delay = delay
        self.longest_delay = longest_delay

    @classmethod
    def of(cls, settings: Settings) -> RetryPolicy:
        """The policy that a message asks for."""
        return cls(
            settings.max_attempts,
            settings.retry_delay_ms / 1000,
            settings.retry_max_delay_ms / 1000,
        )

    def pause_after(
        self, failure: ChunkFailure, fraction: float, counted: int | None = None
    ) -> float | None:
        """The pause before the next try, or None where there is none.

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
    """Tries what a store is asked for until it succeeds or the policy gives up.

    Each try takes one of the message's `places`, and gives it back for the pause before the next.
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
        """Do `work` for one chunk: (its result, the number of tries).

        `moved` tells from a result how many bytes went to or from the store.

        Raises the `ChunkFailure` of the last try. Every failure that is tried again is reported
        before the pause. A store that says when to come back holds the whole run. `on_try`
        is called with each try.

        A try that had no answer at all does not count against the attempts where other chunks
        went through meanwhile: the store lives, and serves fewer connections than it was asked
        for. Fewer at once is then the answer, and not giving up.
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
                # A run that is over closes its store, which is no failure to speak of.
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
                self.places.limiter.hold(pause)
            self._on_retry(failure, pause)
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
