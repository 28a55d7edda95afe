"""Limits the requests in flight: one limiter for all transfers of a process.

Workers take a place before each request and report the result afterwards. `Concurrency` uses the
results to choose the number of places.
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
"""For shorter requests, passing one to another thread costs more than it gains (seconds)."""


NEAR = 0.02
"""A server is near if a chunk takes fewer seconds over the network.

A few in succession then take hardly longer than in parallel, without waking another thread.
"""

FEW = 3
"""The number of these."""


class Limiter:
    """Places for requests, shared by all messages of a process. Safe from many threads.

    There are `concurrency` places, or fewer if the store is overloaded; with 0, as many as pay, up
    to `most`. Messages take turns, so that one with many requests does not block another. With 0, a
    store without a request in flight gets a place even if there is none left, so that a silent
    store, which keeps all of them until its timeout, does not block another.
    """

    def __init__(
        self, concurrency: int, *, most: int = 256, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self.most = min(concurrency, most) if concurrency else most
        self.clock = clock
        self.lock = threading.Lock()  # guards the attributes below, and those of `Places`
        self._concurrency = Concurrency(self.most, search=not concurrency)
        self._granted = 0  # places for threads that have not woken yet
        self._over_network = float("inf")  # seconds of a request, as a moving average
        self._used: dict[str, int] = {}  # by store: the places that are granted or in use
        self._store: str | None = None  # the first one
        self._chosen_here = not concurrency
        self._gives_more = False  # true if a store may get a place when there is none left
        self._held: dict[str, float] = {}  # by store: the time before which no request may start
        self._turns: deque[Places] = deque()  # those for which a thread waits

    @property
    def limit(self) -> int:
        """Return how many requests may be in flight now."""
        return self._concurrency.limit

    def places(self, group: ThreadGroup, store: str = "", *, quick: bool = False) -> Places:
        """Return the places for the threads of one message, which uses the store of that name.

        `quick`: its requests are expected to be short, as those to a directory are.
        """
        if self._store is None:
            self._store = store
        if self._chosen_here and store != self._store:
            self._gives_more = True
        return Places(self, group, store, quick)

    @property
    def is_near(self) -> bool:
        """Are the servers near, as far as requests over a network have shown?"""
        return self._over_network < NEAR

    # The following methods are for `Places`, which hold the lock.

    def hold(self, store: str, seconds: float) -> None:
        """Start no request to a store for so many seconds, as it requested."""
        now = self.clock()
        self._held = {name: until for name, until in self._held.items() if until > now}
        self._held[store] = max(self._held.get(store, 0.0), now + seconds)

    def held_for(self, store: str) -> float:
        """Return the seconds for which no request to a store may start."""
        return self._held.get(store, 0.0) - self.clock() if self._held else 0.0

    def queue(self, places: Places) -> None:
        """Record that a thread waits for one of `places`."""
        places.waiting += 1
        if places.waiting == 1:
            self._turns.append(places)

    def unqueue(self, places: Places) -> None:
        """Record that a thread stopped waiting without a place."""
        places.waiting -= 1
        if not places.waiting:
            self._turns.remove(places)

    def admit(self) -> None:
        """Give free places to waiting threads, one message after the other."""
        passed = 0  # so many in succession get no place
        while passed < len(self._turns) and (self._gives_more or self._free()):
            places = self._turns.popleft()
            if self._may_start(places.store):
                passed = 0
                self._granted += 1
                self._use(places.store)
                places.grant()
            else:
                passed += 1
            if places.waiting:
                self._turns.append(places)

    def start_at_once(self, store: str) -> float | None:
        """Start a request if there is a place and nobody waits. Return the time, or None."""
        if self._turns or not self._may_start(store):
            return None
        now = self.clock()
        self._use(store)
        self._concurrency.began(now)
        return now

    def start(self) -> float:
        """Record the start of a request at a granted place. Return the time."""
        now = self.clock()
        self._granted -= 1
        self._concurrency.began(now)
        return now

    def refuse(self, store: str) -> None:
        """Take back a granted place without a request."""
        self._granted -= 1
        self._release(store)
        self.admit()

    def finish(self, store: str, began: float, moved: int, error: object) -> float:
        """Record the end of a request that was started at `began`. Return the time."""
        now = self.clock()
        self._release(store)
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

    def _may_start(self, store: str) -> bool:
        more = self._gives_more and store not in self._used
        return (self._free() or more) and self.held_for(store) <= 0

    def _use(self, store: str) -> None:
        self._used[store] = self._used.get(store, 0) + 1

    def _release(self, store: str) -> None:
        self._used[store] -= 1
        if not self._used[store]:
            del self._used[store]

    def _free(self) -> bool:
        return self._concurrency.in_flight + self._granted < self._concurrency.limit


class Places:
    """One message's view of the limiter: waiting for a place ends with the message."""

    def __init__(self, limiter: Limiter, group: ThreadGroup, store: str, quick: bool) -> None:
        self.limiter = limiter
        self.store = store
        self.waiting = 0
        self.succeeded = 0  # requests
        self._by_network = not quick
        # The duration of a request, as a moving average.
        self._seconds = 0.0 if quick else float("inf")
        self._granted = 0  # places for threads that have not woken yet
        self._group = group
        self._condition: Condition | None = None  # created by the first thread that waits

    @property
    def limit(self) -> int:
        """Return how many requests may be in flight now."""
        return self.limiter.limit

    @property
    def is_quick(self) -> bool:
        """Return whether requests are so short that passing one to another thread does not pay."""
        return self._seconds < SHORT

    def are_quick_in_turn(self, requests: int) -> bool:
        """Would so many requests, one after the other, be as quick as on other threads?"""
        return self.is_quick or (requests <= FEW and self.limiter.is_near)

    def check(self) -> None:
        """Raise `Abandoned` if the message is over."""
        self._group.check()

    def hold(self, seconds: float) -> None:
        """Start no request to the message's store for so many seconds, as it requested."""
        with self.limiter.lock:
            self.limiter.hold(self.store, seconds)

    def one(self) -> Place:
        """Return a context manager around one request."""
        return Place(self)

    def take(self) -> float:
        """Wait for a place and take it. Return the time. Raises `Abandoned` at the run's end."""
        limiter = self.limiter
        with limiter.lock:
            self._group.check()
            now = limiter.start_at_once(self.store)
            return self._wait_and_start() if now is None else now

    def _wait_and_start(self) -> float:
        limiter = self.limiter
        if self._condition is None:
            self._condition = self._group.condition(limiter.lock)
            self._group.check()  # the group ended before the condition existed
        limiter.queue(self)
        limiter.admit()
        while not self._granted:
            held = limiter.held_for(self.store)
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
        """Give a place back, with the result of the request."""
        with self.limiter.lock:
            now = self.limiter.finish(self.store, place.began, place.moved, error)
            if error is None:
                self.succeeded += 1
                self._seconds = (self._seconds + now - place.began) / 2
                if self._by_network:
                    self.limiter.took(now - place.began)

    def grant(self) -> None:
        """Give a place to a waiting thread; for the limiter, which holds the lock."""
        self.waiting -= 1
        self._granted += 1
        if self._condition is not None:
            self._condition.notify()

    def _withdraw(self) -> None:
        if self._granted:
            self._granted -= 1
            self.limiter.refuse(self.store)
        else:
            self.limiter.unqueue(self)


class Place:
    """A context around one request: entering waits for a place.

    `began` is the time after that; set `moved` to the transferred bytes.
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
