"""How many requests may be in flight at once: one limiter for all that a process transfers.

Workers ask it for a place before each request and tell it afterwards what came of it. Additive
increase, multiplicative decrease (as in TCP, RFC 5681): a store that answers "slow down" halves
the number once for all requests that were in flight, and holds all for the pause that the retry
policy found; each success then lets it grow again.
"""

from __future__ import annotations

import threading
import time
from collections import deque

from store_workers.threads import Abandoned

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

    from store_workers.threads import ThreadGroup

SHORT = 0.002
"""Seconds of a request below which handing it to another thread costs more than it gains."""


class Limiter:
    """Places for requests, shared by all messages of a process. Safe from many threads.

    `concurrency` is the most that may be in flight. Messages take turns: one with many requests
    does not keep another one waiting.
    """

    def __init__(self, concurrency: int, *, clock: Callable[[], float] = time.monotonic) -> None:
        self.most = concurrency
        self.clock = clock
        self.lock = threading.Lock()  # for all below, and what the `Places` hold
        self._limit = float(concurrency)
        self._in_flight = 0
        self._held_until = 0.0
        self._halved_at = float("-inf")
        self._turns: deque[Places] = deque()  # those for whom somebody waits

    @property
    def limit(self) -> int:
        """How many requests may be in flight now."""
        return int(self._limit)

    def places(self, group: ThreadGroup, *, quick: bool = False) -> Places:
        """The places as the threads of one message ask for them.

        `quick` says that its requests are expected to be short, as those to a directory are,
        before any was made.
        """
        return Places(self, group, quick)

    def slow_down(self, pause: float, began: float | None = None) -> None:
        """Halve the number of requests and start none for `pause` seconds.

        Failures of requests that were in flight together count as one: `began` is the clock's
        time at which the one that failed was started.
        """
        with self.lock:
            now = self.clock()
            if now >= self._held_until and (began is None or began >= self._halved_at):
                self._limit = max(1.0, self._limit / 2)
                self._halved_at = now
            self._held_until = max(self._held_until, now + pause)

    # What follows is for `Places`, which hold the lock.

    def held_for(self) -> float:
        """The seconds for which no request may start."""
        return self._held_until - self.clock() if self._held_until else 0.0

    def queue(self, places: Places) -> None:
        """Note that a thread waits for one of `places`."""
        places.waiting += 1
        if places.waiting == 1:
            self._turns.append(places)

    def unqueue(self, places: Places) -> None:
        """Note that a thread waits no longer, without a place."""
        places.waiting -= 1
        if not places.waiting:
            self._turns.remove(places)

    def admit(self) -> None:
        """Give free places to those who wait, one message after the other."""
        while self._turns and self._in_flight < int(self._limit) and self.held_for() <= 0:
            places = self._turns.popleft()
            self._in_flight += 1
            places.grant()
            if places.waiting:
                self._turns.append(places)

    def release(self) -> None:
        """Take a place back."""
        self._in_flight -= 1
        self.admit()

    def succeeded(self) -> None:
        """Note that a request succeeded."""
        self._limit = min(float(self.most), self._limit + 1 / self._limit)


class Places:
    """One message's view of the limiter: waiting for a place ends when the message does."""

    def __init__(self, limiter: Limiter, group: ThreadGroup, quick: bool) -> None:
        self.limiter = limiter
        self.waiting = 0
        # How long a request takes, as a moving average; over a network it is never quick.
        self._seconds = 0.0 if quick else float("inf")
        self._granted = 0  # places for threads that have not woken yet
        self._group = group
        self._condition = group.condition(limiter.lock)

    @property
    def limit(self) -> int:
        """How many requests may be in flight now."""
        return self.limiter.limit

    @property
    def is_quick(self) -> bool:
        """Are requests so short that handing one to another thread does not pay?"""
        return self._seconds < SHORT

    def one(self) -> Place:
        """A context manager around one request."""
        return Place(self)

    def take(self) -> float:
        """Wait for a place and take it; the clock's time. Raises `Abandoned` at the run's end."""
        limiter = self.limiter
        with self._condition:
            self._group.check()
            limiter.queue(self)
            limiter.admit()
            while not self._granted:
                held = limiter.held_for()
                self._condition.wait(held if held > 0 else None)
                try:
                    self._group.check()
                except Abandoned:
                    self._withdraw()
                    raise
                limiter.admit()
            self._granted -= 1
            return limiter.clock()

    def give_back(self, began: float, *, succeeded: bool) -> None:
        """Give a place back that was taken at `began`, and say how the request ended."""
        limiter = self.limiter
        with self._condition:
            if succeeded:
                self._seconds = (self._seconds + limiter.clock() - began) / 2
                limiter.succeeded()
            limiter.release()

    def grant(self) -> None:
        """Let one of the threads that wait have a place; for the limiter, which holds the lock."""
        self.waiting -= 1
        self._granted += 1
        self._condition.notify()

    def _withdraw(self) -> None:
        if self._granted:
            self._granted -= 1
            self.limiter.release()
        else:
            self.limiter.unqueue(self)


class Place:
    """Around one request: entering waits for a place. `began` is the clock's time behind that."""

    __slots__ = ("_places", "began")

    def __init__(self, places: Places) -> None:
        self._places = places
        self.began = 0.0

    def __enter__(self) -> None:
        self.began = self._places.take()

    def __exit__(self, kind: object, error: object, trace: object) -> None:
        self._places.give_back(self.began, succeeded=error is None)
