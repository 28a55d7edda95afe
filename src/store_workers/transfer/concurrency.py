"""How many requests at once a line and a store are worth: found out from what gets through.

More requests in flight bring more bytes per second only as long as the line is not full. So the
number is raised as long as a round of requests brings clearly more than the one before, and held
where it does not; now and then a few less and a few more are tried, for lines change. A store that
refuses requests, resets them or leaves them waiting has the number halved, as in TCP (RFC 5681),
and the number that hurt is remembered.

How long a request takes decides nothing: on a full line every request takes longer, and on a
shared one those of others do, too. Rounds in which places were left free say nothing of the line:
there a disk, a compressor or the end of the file was the limit.

Nothing here waits or reads a clock: times are seconds that the caller gives.
"""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

FIRST = 8
"""Requests in flight to begin with."""

MOST_BYTES = 40 * 1024 * 1024
"""Bytes of chunks in flight that a search goes up to."""

REQUEST_COST = 16 * 1024
"""Bytes that a request counts for beside those that it moves: an answer alone is progress, too."""

SHORTEST_ROUND = 0.03
"""Seconds over which throughput is measured at least."""

BUSY = 0.85
"""The part of all places that has to be in use in a round that counts."""

CLEARLY_MORE = 1.25
"""What twice as many requests, or more, have to bring."""

SLIGHTLY_MORE = 1.1
"""What half as many requests again have to bring."""

AS_GOOD = 0.97
"""What three quarters of the requests have to bring."""

FAR = 250.0
"""Requests per second, of the first round, below which the first step is twice as long."""

ENOUGH = 500.0
"""Requests per second beyond which this process is the limit, and not the line."""

CALM = 3
"""How often all places have to be used in a round while there is no hurry: it errs less."""

PATIENCE, LONGEST_PATIENCE = 3, 48
"""Calm rounds between two looks aside: to begin with, and at most."""

CLEAN = 5
"""Calm rounds without a refusal before the number that hurt is tried again, to begin with."""


class Round:
    """What got through since all places were taken: times in seconds."""

    __slots__ = ("area", "began", "count", "moved", "seen")

    def __init__(self, now: float) -> None:
        self.began = self.seen = now
        self.area = 0.0  # requests in flight, times seconds
        self.moved = 0
        self.count = 0


class Concurrency:
    """The number of requests that may be in flight: `limit`, from 1 to `most`.

    With `search` the number is found out, from `FIRST` on; without, it is `most` unless the store
    asks for less. Every request `began`, and then has `succeeded`, was `refused`, or `ended` in
    some other way.
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
        self._level = 0.0  # bytes per second that this limit brings, as known so far
        self._patience = PATIENCE
        self._base = self.limit  # where the look aside began
        self._looks_down = True  # the next one, or this one
        self._ceiling = 0  # the number that hurt last, 0 for none
        self._believed = False  # has a ceiling hurt twice?
        self._clean = CLEAN
        self._cut_at = float("-inf")
        self._cut_from = 0
        self._refused = 0

    def began(self, now: float) -> None:
        """Note that a request starts."""
        self._elapse(now)
        self.in_flight += 1
        if self._round is None and self.in_flight >= self.limit:
            self._round = Round(now)

    def ended(self, now: float) -> None:
        """Note that a request has ended in a way that says nothing about their number."""
        self._elapse(now)
        self.in_flight -= 1

    def succeeded(self, now: float, moved: int) -> None:
        """Note that a request has ended that moved so many bytes."""
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
        """Note that the store could not cope with a request that was started at `began`.

        Those that were in flight together are one reason to halve; but where more than half of
        them are refused, only as many go on as were not.
        """
        self.ended(now)
        if began < self._cut_at:
            self._refused += 1
            self.limit = max(1, min(self.limit, self._cut_from - self._refused))
            return
        self._cut_at, self._cut_from, self._refused = now, self.in_flight + 1, 1
        # Once may be an accident: then the search begins again. Twice is a ceiling.
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

    # The steps. Each is called at the end of a round that counts, with the bytes and the requests
    # per second that it brought.

    def _climb(self, rate: float, requests: float) -> None:
        """Double as long as that pays."""
        first = not self._level and not self._ceiling
        pays = rate >= CLEARLY_MORE * self._level
        self._level = max(rate, self._level)
        if pays and self.limit < self._highest() and requests < ENOUGH:
            self._set(self.limit * (4 if first and requests < FAR else 2))
        else:
            self._go(self._hold)

    def _hold(self, rate: float, requests: float) -> None:
        """Stay, and look aside now and then."""
        if not self._search or self._believed:
            self._try_ceiling()
            return
        if self._rounds > 1 and rate > CLEARLY_MORE * self._level:  # the line gives more now
            self._go(self._climb)
            self._climb(rate, requests)
            return
        self._level += (rate - self._level) / 4
        if self._rounds >= self._patience:
            self._base = self.limit
            self._go(self._look)
            self._set(self.limit * 3 // 4 if self._looks_down else self.limit * 3 // 2)

    def _look(self, rate: float, requests: float) -> None:
        """Judge whether fewer requests do as well, or more do better; else go back."""
        if self._rounds == 1:
            return  # it takes that long until what the change brings is seen
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
        """Let the number grow little by little, up to the ceiling."""
        if self.limit < self._highest():
            self._set(self.limit + 1 + self.limit // 8)
        else:
            self._go(self._hold)

    def _try_ceiling(self) -> None:
        """See whether what hurt still does, after many rounds in which nothing did."""
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
