"""A simulated connection and store in virtual time: transfers without sockets and sleeps."""

from __future__ import annotations

import heapq
from random import Random
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable

    from store_workers.transfer.concurrency import Concurrency

CHUNK = 512 * 1024
PAUSE = 0.2


class Line:
    """A connection that all transfers share about evenly, like TCP connections.

    `delay` is the round trip in seconds, `bandwidth` in bytes per second: a number, or a function
    of the time that changes by steps of `every` seconds. `others` are transfers of others that
    never end. The server behind it answers "503" to what comes while `capacity` requests are
    being served. The compressor makes `supply` chunks per second.
    """

    def __init__(
        self,
        delay: float,
        bandwidth: float | Callable[[float], float],
        *,
        every: float = float("inf"),
        others: int = 0,
        capacity: int | None = None,
        supply: float = float("inf"),
    ) -> None:
        self.delay = delay
        self.bandwidth = bandwidth
        self.every = every
        self.others = others
        self.capacity = capacity
        self.supply = supply


class Transfer:
    """One run of `chunks` chunks over a simulated connection, with a controller."""

    def __init__(self, line: Line, controller: Concurrency, chunks: int) -> None:
        self.line = line
        self.controller = controller
        self.now = 0.0
        self.retries = 0
        self.peak = 0
        self.limits: list[tuple[float, int]] = []
        self._chunks = chunks
        self._started = 0
        self._done = 0
        self._awaited = -1  # the chunk that the compressor is working at
        self._again = 0  # refused chunks that wait for a place
        self._serving = 0
        self._order = 0
        self._chance = Random(chunks)
        self._events: list[tuple[float, int, Callable[[], None]]] = []
        # Fair sharing in virtual time: `_served` is what each transfer has got since the start.
        self._served = 0.0
        self._active: list[tuple[float, int, float]] = []

    def seconds(self) -> float:
        """Run to the end. Return the virtual time."""
        self._start_what_may()
        while self._done < self._chunks:
            self._advance()
            self._start_what_may()
            if not self.limits or self.limits[-1][1] != self.controller.limit:
                self.limits.append((round(self.now, 3), self.controller.limit))
        return self.now

    def _rate(self) -> float:
        bandwidth = self.line.bandwidth
        total = bandwidth(self.now) if callable(bandwidth) else bandwidth
        return total / (len(self._active) + self.line.others)

    def _advance(self) -> None:
        """Advance to the next event."""
        event = self._events[0][0] if self._events else float("inf")
        if not self._active:
            self._pass(event)
            self._happen()
            return
        rate = self._rate()
        until = min(event, ((self.now + 1e-9) // self.line.every + 1) * self.line.every)
        delivered = self.now + max(0.0, self._active[0][0] - self._served) / rate
        if delivered <= until:
            self._pass(delivered, rate)
            _, _, began = heapq.heappop(self._active)
            self._later(self.line.delay / 2, lambda: self._finish(began))
        else:
            self._pass(until, rate)
            if until == event:
                self._happen()

    def _pass(self, until: float, rate: float = 0.0) -> None:
        self._served += (until - self.now) * rate
        self.now = until

    def _happen(self) -> None:
        _, _, action = heapq.heappop(self._events)
        action()

    def _later(self, seconds: float, action: Callable[[], None]) -> None:
        self._order += 1
        heapq.heappush(self._events, (self.now + seconds, self._order, action))

    def _start_what_may(self) -> None:
        while self.controller.in_flight < self.controller.limit:
            if self._again:
                self._again -= 1
            elif self._started < self._chunks:
                ready = self._started / self.line.supply
                if ready > self.now:
                    if self._awaited != self._started:
                        self._awaited = self._started
                        self._later(ready - self.now, lambda: None)
                    return
                self._started += 1
            else:
                return
            began = self.now
            self.controller.began(began)
            self.peak = max(self.peak, self.controller.in_flight)
            delay = self.line.delay * self._chance.uniform(0.5, 0.6)
            self._later(delay, lambda began=began: self._arrive(began))  # type: ignore[misc]

    def _arrive(self, began: float) -> None:
        if self.line.capacity is not None and self._serving >= self.line.capacity:
            self._later(self.line.delay / 2, lambda: self._refuse(began))
            return
        self._serving += 1
        self._order += 1
        share = CHUNK * self._chance.uniform(0.8, 1.2)  # no two connections get quite the same
        heapq.heappush(self._active, (self._served + share, self._order, began))

    def _finish(self, began: float) -> None:
        self._serving -= 1
        self._done += 1
        self.controller.succeeded(self.now, CHUNK)

    def _refuse(self, began: float) -> None:
        self.retries += 1
        self.controller.refused(self.now, began)

        def again() -> None:
            self._again += 1

        self._later(PAUSE, again)
