"""Limits the bytes per second to and from the store, all requests together: a token bucket."""

from __future__ import annotations

import threading
import time

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

BURST = 0.1
"""Idle seconds that may be compensated at once."""

PIECE = 0.05
"""Maximum size of a transfer at once, in seconds of the rate."""

LARGEST_PIECE, SMALLEST_PIECE = 64 * 1024, 256

LEAST_EACH = 16 * 1024
"""Minimum rate of each request in bytes per second."""


class RateLimit:
    """Limits to `rate` bytes per second. Safe from many threads.

    `sleep` takes seconds, and raises if the work ends meanwhile.
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
        """Bytes to move at once."""
        self._clock = clock
        self._sleep = sleep
        self._lock = threading.Lock()
        self._passed = float("-inf")  # the time at which all granted bytes have passed at this rate

    @property
    def most_requests(self) -> int:
        """The maximum number of useful requests at once."""
        return max(1, self._rate // LEAST_EACH)

    @property
    def least_each(self) -> float:
        """Return the bytes per second below which a request is too slow, if many share the rate."""
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
        """Return the allowance of bytes that did not pass."""
        with self._lock:
            self._passed -= count / self._rate

    def pieces(self, views: list[memoryview]) -> Iterator[memoryview]:
        """Yield the bytes in pieces, each when it may pass."""
        for view in views:
            for begin in range(0, len(view), self.piece):
                piece = view[begin : begin + self.piece]
                self.take(len(piece))
                yield piece
