"""Who may make a request now: one limiter for all that a process transfers.

Workers ask it for a place before each request and tell it afterwards what came of it; from that
`Concurrency` finds out how many places there are.
"""

from __future__ import annotations

import threading
import time
from collections import deque

from store_workers.errors import StoreFailure
from store_workers.threads import Abandoned
from store_workers.transfer.concurrency import Concurrency

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

    from store_workers.threads import Condition, ThreadGroup

SHORT = 0.002
"""Seconds of a request below which handing it to another thread costs more than it gains."""


NEAR = 0.02
"""Seconds of a chunk's way over a network below which the server is near.

A few in a row then take hardly longer than side by side, and no other thread has to be woken.
"""

FEW = 3
"""So many."""


class Limiter:
    """Places for requests, shared by all messages of a process. Safe from many threads.

    There are `concurrency` places, fewer where the store cannot cope with them; with 0, as many as
    pay, up to `most`. Messages take turns: one with many requests does not keep another one
    waiting.
    """

    def __init__(
        self, concurrency: int, *, most: int = 256, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self.most = min(concurrency, most) if concurrency else most
        self.clock = clock
        self.lock = threading.Lock()  # for all below, and what the `Places` hold
        self._concurrency = Concurrency(self.most, search=not concurrency)
        self._granted = 0  # places for threads that have not woken yet
        self._over_network = float("inf")  # seconds of a request, as a moving average
        self._held_until = 0.0
        self._turns: deque[Places] = deque()  # those for whom somebody waits

    @property
    def limit(self) -> int:
        """How many requests may be in flight now."""
        return self._concurrency.limit

    def places(self, group: ThreadGroup, *, quick: bool = False) -> Places:
        """The places as the threads of one message ask for them.

        `quick` says that its requests are expected to be short, as those to a directory are,
        before any was made.
        """
        return Places(self, group, quick)

    @property
    def is_near(self) -> bool:
        """Are the servers near, as far as requests over a network have shown?"""
        return self._over_network < NEAR

    def hold(self, seconds: float) -> None:
        """Let no request start for so long: the store has asked for it."""
        with self.lock:
            self._held_until = max(self._held_until, self.clock() + seconds)

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
        while self._turns and self._free() and self.held_for() <= 0:
            places = self._turns.popleft()
            self._granted += 1
            places.grant()
            if places.waiting:
                self._turns.append(places)

    def start_at_once(self) -> float | None:
        """Start a request where there is a place and nobody waits; the clock's time, or None."""
        if self._turns or not self._free() or self.held_for() > 0:
            return None
        now = self.clock()
        self._concurrency.began(now)
        return now

    def start(self) -> float:
        """Note that a request starts at a place that was granted; the clock's time."""
        now = self.clock()
        self._granted -= 1
        self._concurrency.began(now)
        return now

    def refuse(self) -> None:
        """Take back a place that was granted, and for which there is no request any more."""
        self._granted -= 1
        self.admit()

    def finish(self, began: float, moved: int, error: object) -> float:
        """Note how a request ended that was started at `began`; the clock's time."""
        now = self.clock()
        if error is None:
            self._concurrency.succeeded(now, moved)
        elif isinstance(error, StoreFailure) and error.slow_down:
            self._concurrency.refused(now, began)
        else:
            self._concurrency.ended(now)
        self.admit()
        return now

    def took(self, seconds: float) -> None:
        """Note how long a request over a network took that succeeded."""
        before = self._over_network
        self._over_network = seconds if before == float("inf") else (7 * before + seconds) / 8

    def _free(self) -> bool:
        return self._concurrency.in_flight + self._granted < self._concurrency.limit


class Places:
    """One message's view of the limiter: waiting for a place ends when the message does."""

    def __init__(self, limiter: Limiter, group: ThreadGroup, quick: bool) -> None:
        self.limiter = limiter
        self.waiting = 0
        self.succeeded = 0  # requests
        self._by_network = not quick
        # How long a request takes, as a moving average; over a network it is never quick.
        self._seconds = 0.0 if quick else float("inf")
        self._granted = 0  # places for threads that have not woken yet
        self._group = group
        self._condition: Condition | None = None  # made by the first thread that has to wait

    @property
    def limit(self) -> int:
        """How many requests may be in flight now."""
        return self.limiter.limit

    @property
    def is_quick(self) -> bool:
        """Are requests so short that handing one to another thread does not pay?"""
        return self._seconds < SHORT

    def are_quick_in_turn(self, requests: int) -> bool:
        """Would so many requests, one after the other, be as quick as on other threads?"""
        return self.is_quick or (requests <= FEW and self.limiter.is_near)

    def check(self) -> None:
        """Raise `Abandoned` where the message is over."""
        self._group.check()

    def one(self) -> Place:
        """A context manager around one request."""
        return Place(self)

    def take(self) -> float:
        """Wait for a place and take it; the clock's time. Raises `Abandoned` at the run's end."""
        limiter = self.limiter
        with limiter.lock:
            self._group.check()
            now = limiter.start_at_once()
            return self._wait_and_start() if now is None else now

    def _wait_and_start(self) -> float:
        limiter = self.limiter
        if self._condition is None:
            self._condition = self._group.condition(limiter.lock)
            self._group.check()  # what ended it just now did not know of the condition
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
        return limiter.start()

    def give_back(self, place: Place, error: object) -> None:
        """Give a place back, and say how the request ended."""
        with self.limiter.lock:
            now = self.limiter.finish(place.began, place.moved, error)
            if error is None:
                self.succeeded += 1
                self._seconds = (self._seconds + now - place.began) / 2
                if self._by_network:
                    self.limiter.took(now - place.began)

    def grant(self) -> None:
        """Let one of the threads that wait have a place; for the limiter, which holds the lock."""
        self.waiting -= 1
        self._granted += 1
        if self._condition is not None:
            self._condition.notify()

    def _withdraw(self) -> None:
        if self._granted:
            self._granted -= 1
            self.limiter.refuse()
        else:
            self.limiter.unqueue(self)


class Place:
    """Around one request: entering waits for a place.

    `began` is the clock's time behind that; `moved` is to be set to the bytes that were moved.
    """

    __slots__ = ("_places", "began", "moved")

    def __init__(self, places: Places) -> None:
        self._places = places
        self.began = 0.0
        self.moved = 0

    def __enter__(self) -> None:
        self.began = self._places.take()

    def __exit__(self, kind: object, error: object, trace: object) -> None:
        self._places.give_back(self, error)
