"""Detects requests that take much longer than others and should be made a second time.

One stalled connection would delay the end of a download by a whole timeout. The limit is derived
from the duration of completed requests.
"""

from __future__ import annotations

import time

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

SHORTEST_PATIENCE = 1.0
"""Minimum seconds after which a request is late."""

TIMES_AS_LONG = 4
"""A late request takes at least so many times the mean duration."""

ONE_OF = 50
"""One of so many requests, and at least one, may be made a second time."""


class Stragglers:
    """The running requests, by their number. The caller guards it with a lock.

    `requests` is the total number.
    """

    def __init__(self, requests: int, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._left = max(1, requests // ONE_OF)
        self._begun: dict[int, float] = {}  # the oldest first
        self._repeated: set[int] = set()
        self._ended = 0
        self._seconds = 0.0

    def __len__(self) -> int:
        return len(self._begun)

    def __contains__(self, number: int) -> bool:
        return number in self._begun

    def begin(self, number: int) -> None:
        """Record the start of a request."""
        self._begun[number] = self._clock()

    def end(self, number: int) -> bool:
        """Record the end of a request. Return false if it was recorded before."""
        began = self._begun.pop(number, None)
        if began is None:
            return False
        self._ended += 1
        self._seconds += self._clock() - began
        return True

    def wait(self) -> float | None:
        """Return the seconds until the oldest request is late (0: now); None if none can be."""
        oldest = self._oldest()
        if oldest is None or not self._left or not self._ended:
            return None
        patience = max(SHORTEST_PATIENCE, TIMES_AS_LONG * self._seconds / self._ended)
        return max(0.0, self._begun[oldest] + patience - self._clock())

    def repeat(self) -> int:
        """Take the oldest request, which is late, for a second time. Return its number."""
        oldest = self._oldest()
        assert oldest is not None  # noqa: S101 - `wait` said so
        self._repeated.add(oldest)
        self._left -= 1
        return oldest

    def _oldest(self) -> int | None:
        return next((number for number in self._begun if number not in self._repeated), None)
