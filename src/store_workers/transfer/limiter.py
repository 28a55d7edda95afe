"""How many requests of a run are under way at once, and when none may start.

Additive increase, multiplicative decrease (as in TCP, RFC 5681): a store that answers "slow down"
halves the number once for all requests that were under way, and holds the whole run for the pause
that the retry policy found; each success then lets it grow again.
"""

from __future__ import annotations

import time

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

    from store_workers.threads import ThreadGroup


class Limiter:
    """A context manager around every request; entering waits for a place."""

    def __init__(
        self, concurrency: int, group: ThreadGroup, *, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._most = concurrency
        self._limit = float(concurrency)
        self._under_way = 0
        self._held_until = 0.0
        self._halved_at = float("-inf")
        self._clock = clock
        self._group = group
        self._changed = group.condition()

    @property
    def limit(self) -> int:
        """How many requests may be under way now."""
        return int(self._limit)

    def __enter__(self) -> None:
        with self._changed:
            while True:
                self._group.check()
                held = self._held_until - self._clock() if self._held_until else 0.0
                if held <= 0 and self._under_way < int(self._limit):
                    self._under_way += 1
                    return
                self._changed.wait(held if held > 0 else None)

    def __exit__(self, kind: object, error: object, trace: object) -> None:
        with self._changed:
            self._under_way -= 1
            if error is None and self._limit < self._most:
                self._limit = min(self._most, self._limit + 1 / self._limit)
            self._changed.notify_all()

    def slow_down(self, pause: float, began: float | None = None) -> None:
        """Halve the number of requests and start none for `pause` seconds.

        Failures of requests that were under way together count as one: `began` is the clock's
        time at which the one that failed was started.
        """
        with self._changed:
            now = self._clock()
            if now >= self._held_until and (began is None or began >= self._halved_at):
                self._limit = max(1.0, self._limit / 2)
                self._halved_at = now
            self._held_until = max(self._held_until, now + pause)
            self._changed.notify_all()
