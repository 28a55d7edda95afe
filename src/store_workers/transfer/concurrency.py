"""Adapts the number of requests in flight to the measured throughput and to refusals.

More requests in flight give more bytes per second only until the connection is saturated. So the
number is raised as long as a round of requests has clearly more throughput than the previous one,
and then held. Now and then a few less and a few more are tried, since conditions change. If a store
refuses requests, resets them or does not answer, the number is halved, as in TCP (RFC 5681), and
the number that caused this is remembered.

The duration of a request has no influence: on a saturated connection every request takes longer,
and on a shared one those of others do, too. Rounds in which places were free do not count: then a
disk, the compression or the end of the file was the limit.

Nothing here waits or reads a clock: times are seconds that the caller gives.
"""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

FIRST = 8
"""Requests in flight at the start."""

MOST_BYTES = 40 * 1024 * 1024
"""Maximum bytes of chunks in flight in a search."""

REQUEST_COST = 16 * 1024
"""Bytes that a request counts for in addition to its own: an answer is progress, too."""

SHORTEST_ROUND = 0.03
"""Minimum seconds of a measurement of throughput."""

BUSY = 0.85
"""The share of all places that must be in use in a round that counts."""

CLEARLY_MORE = 1.25
"""Required gain of twice as many requests, or more."""

SLIGHTLY_MORE = 1.1
"""Required gain of one and a half times as many requests."""

AS_GOOD = 0.97
"""Required throughput of three quarters of the requests."""

FAR = 250.0
"""If the first round has fewer requests per second, the first step is larger: a factor of 4."""

WIDE = 8_000_000.0
"""And of 8 if it has more bytes per second: many transfers end before a search by doubling.

Less than that can be all that the line carries, which would then be flooded.
"""

ENOUGH = 500.0
"""At more requests per second, this process is the limit, not the connection."""

CALM = 3
"""How often all places must be used in a calm round, for more accuracy."""

PATIENCE, LONGEST_PATIENCE = 3, 48
"""Calm rounds between two trials of other numbers: at the start, and at most."""

CLEAN = 5
"""Calm rounds without a refusal before the remembered number is tried again, at the start."""


class Round:
    """The throughput since all places were taken; times in seconds."""

    __slots__ = ("area", "began", "count", "moved", "seen")

    def __init__(self, now: float) -> None:
        self.began = self.seen = now
        self.area = 0.0  # requests in flight, times seconds
        self.moved = 0
        self.count = 0


class Concurrency:
    """The number of requests that may be in flight: `limit`, from 1 to `most`.

    With `search` the number is adapted, starting at `FIRST`; without, it is `most` unless the store
    refuses requests. Report `began` for every request, and then `succeeded`, `refused` or `ended`.
    """

    def __init__(self, most: int, *, search: bool) -> None:
        self.limit = min(FIRST, most) if search else most
        self.in_flight = 0
        self._most = most
        self._search = search
        self._largest = 1  # bytes of a chunk
        self._round: Round | None = None
        self._step: Callable[[float, float], None] = self._climb if search else self._hold
        self._rounds = 0  # of this step
        self._turns = 1  # requests of each place in a round
        self._level = 0.0  # known bytes per second with this limit
        self._patience = PATIENCE
        self._base = self.limit  # the limit before the trial
        self._looks_down = True  # the next trial, or the current one
        self._ceiling = 0  # the last number that caused refusals, 0 for none
        self._believed = False  # true if a ceiling caused refusals twice
        self._clean = CLEAN
        self._cut_at = float("-inf")
        self._cut_from = 0
        self._refused = 0

    def began(self, now: float) -> None:
        """Record the start of a request."""
        self._elapse(now)
        self.in_flight += 1
        if self._round is None and self.in_flight >= self.limit:
            self._round = Round(now)

    def ended(self, now: float) -> None:
        """Record the end of a request that does not count."""
        self._elapse(now)
        self.in_flight -= 1

    def succeeded(self, now: float, moved: int) -> None:
        """Record the success of a request with so many bytes."""
        self.ended(now)
        self._largest = max(self._largest, moved)
        this = self._round
        if this is None:
            return
        this.moved += moved + REQUEST_COST
        this.count += 1
        seconds = now - this.began
        if this.count < self.limit * self._turns or seconds < SHORTEST_ROUND:
            return
        self._round = Round(now) if self.in_flight + 1 >= self.limit else None
        if this.area >= BUSY * self.limit * seconds:
            self._rounds += 1
            self._step(this.moved / seconds, this.count / seconds)

    def refused(self, now: float, began: float) -> None:
        """Record that the store was overloaded by a request started at `began`.

        Refusals of requests that were in flight together halve the number once. If more than half
        of them were refused, the number becomes that of the accepted ones.
        """
        self.ended(now)
        if began < self._cut_at:
            self._refused += 1
            self.limit = max(1, min(self.limit, self._cut_from - self._refused))
            return
        self._cut_at, self._cut_from, self._refused = now, self.in_flight + 1, 1
        # Once can be an accident: the search begins again. Twice is a ceiling.
        self._believed = self._ceiling > 0
        self._clean = min(2 * self._clean, LONGEST_PATIENCE) if self._believed else CLEAN
        self._ceiling = max(2, min(self.limit, self._cut_from))
        self._level = 0.0
        self._go(self._climb if self._search and not self._believed else self._recover)
        self._set(self.limit // 2)

    def _elapse(self, now: float) -> None:
        if self._round is not None:
            self._round.area += self.in_flight * (now - self._round.seen)
            self._round.seen = now

    # The steps. Each is called at the end of a round that counts, with its bytes and requests per
    # second.

    def _climb(self, rate: float, requests: float) -> None:
        """Double as long as that pays."""
        first = not self._level and not self._ceiling
        pays = rate >= CLEARLY_MORE * self._level
        self._level = max(rate, self._level)
        if pays and self.limit < self._highest() and requests < ENOUGH:
            self._set(self.limit * (_first_step(rate, requests) if first else 2))
        else:
            self._go(self._hold)

    def _hold(self, rate: float, requests: float) -> None:
        """Hold the number, and try others now and then."""
        if not self._search or self._believed:
            self._try_ceiling()
            return
        if self._rounds > 1 and rate > CLEARLY_MORE * self._level:  # the connection is faster now
            self._go(self._climb)
            self._climb(rate, requests)
            return
        self._level += (rate - self._level) / 4
        if self._rounds >= self._patience:
            self._base = self.limit
            self._go(self._look)
            self._set(self.limit * 3 // 4 if self._looks_down else self.limit * 3 // 2)

    def _look(self, rate: float, requests: float) -> None:
        """Keep the trial if fewer requests suffice or more are faster; otherwise return."""
        if self._rounds == 1:
            return  # a change takes that long to show its effect
        if self._looks_down and rate >= AS_GOOD * self._level:
            self._patience = PATIENCE
            self._go(self._hold)
        elif not self._looks_down and rate > SLIGHTLY_MORE * self._level:
            self._level = rate
            self._patience = PATIENCE
            self._go(self._climb)
        else:
            self._patience = min(2 * self._patience, LONGEST_PATIENCE)
            self._looks_down = not self._looks_down
            self._go(self._hold)
            self._set(self._base)

    def _recover(self, rate: float, requests: float) -> None:
        """Raise the number slowly, up to the ceiling."""
        if self.limit < self._highest():
            self._set(self.limit + 1 + self.limit // 8)
        else:
            self._go(self._hold)

    def _try_ceiling(self) -> None:
        """Try the ceiling again after many rounds without a refusal."""
        if self._believed and self._rounds >= self._clean and self._ceiling <= self._most:
            self._ceiling += 1
            self._go(self._hold)
            self._set(self.limit + 1)

    def _highest(self) -> int:
        highest = self._most
        if self._search:
            highest = min(highest, max(FIRST, MOST_BYTES // self._largest))
        return min(highest, self._ceiling - 1) if self._believed else highest

    def _go(self, step: Callable[[float, float], None]) -> None:
        self._step = step
        self._rounds = 0
        self._turns = CALM if step in (self._hold, self._look) else 1

    def _set(self, limit: int) -> None:
        self.limit = max(1, min(limit, self._highest()))
        self._round = None


def _first_step(rate: float, requests: float) -> int:
    """Return the factor of the first step, from the first round's bytes and requests per second."""
    if requests >= FAR:
        return 2
    return 8 if rate >= WIDE else 4
