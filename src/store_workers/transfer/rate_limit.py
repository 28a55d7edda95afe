"""How many bytes per second go to and from the store, all requests together: a token bucket."""

from __future__ import annotations

import threading
import time

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

BURST = 0.1
"""Seconds for which nothing was moved that may be made up for at once."""

PIECE = 0.05
"""Seconds' worth of bytes that are moved at once at most."""

LARGEST_PIECE, SMALLEST_PIECE = 64 * 1024, 256

LEAST_EACH = 16 * 1024
"""Bytes per second that each request has to be worth."""


class RateLimit:
    """Lets `rate` bytes pass a second. Safe from many threads.

    `sleep` takes seconds, and raises where the work is over meanwhile.
    """

    def __init__(
        self,
        rate: int,
        *,
        clock: Callable[[], float] = time.monotonic,
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        self._rate = rate
        self.piece = max(SMALLEST_PIECE, min(LARGEST_PIECE, int(rate * PIECE)))
        """Bytes that should be moved at once."""
        self._clock = clock
        self._sleep = sleep
        self._lock = threading.Lock()
        self._passed = float("-inf")  # when all that was let through has passed, at this rate

    @property
    def most_requests(self) -> int:
        """How many requests at once can be worth it."""
        return max(1, self._rate // LEAST_EACH)

    @property
    def least_each(self) -> float:
        """Bytes per second below which a request is too slow, when many share the rate."""
        return min(1024.0, self._rate / 512)

    def take(self, count: int) -> None:
        """Wait until `count` bytes may pass."""
        with self._lock:
            now = self._clock()
            self._passed = max(self._passed, now - BURST) + count / self._rate
            ahead = self._passed - now
        if ahead > 0:
            self._sleep(ahead)

    def give_back(self, count: int) -> None:
        """Let others have what was taken for bytes that did not pass."""
        with self._lock:
            self._passed -= count / self._rate

    def pieces(self, views: list[memoryview]) -> Iterator[memoryview]:
        """The bytes in pieces, each when it may pass."""
        for view in views:
            for begin in range(0, len(view), self.piece):
                piece = view[begin : begin + self.piece]
                self.take(len(piece))
                yield piece
