"""Which requests take so much longer than the others that they are worth making a second time.

One connection that stalls would hold up the end of a download for a whole timeout. How long is
too long is learned from the requests that came to an end.
"""

from __future__ import annotations

import time

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

SHORTEST_PATIENCE = 1.0
"""Seconds before which no request is late."""

TIMES_AS_LONG = 4
"""How many times as long as the mean of the others a late request takes."""

ONE_OF = 50
"""Of so many requests one may be made a second time; of fewer, one as well."""


class Stragglers:
    """The requests under way, by their number. Whoever shares it guards it.

    `requests` is how many there will be.
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
        """Note that a request begins."""
        self._begun[number] = self._clock()

    def end(self, number: int) -> bool:
        """Note that a request has come to an end; False where that is no news."""
        began = self._begun.pop(number, None)
        if began is None:
            return False
        self._ended += 1
        self._seconds += self._clock() - began
        return True

    def wait(self) -> float | None:
        """The seconds until the oldest request is late, 0 if it is; None where none may be."""
        oldest = self._oldest()
        if oldest is None or not self._left or not self._ended:
            return None
        patience = max(SHORTEST_PATIENCE, TIMES_AS_LONG * self._seconds / self._ended)
        return max(0.0, self._begun[oldest] + patience - self._clock())

    def repeat(self) -> int:
        """Take the oldest request, which is late, to make it a second time: its number."""
        oldest = self._oldest()
        assert oldest is not None  # noqa: S101 - `wait` said so
        self._repeated.add(oldest)
        self._left -= 1
        return oldest

    def _oldest(self) -> int | None:
        return next((number for number in self._begun if number not in self._repeated), None)
