"""Which chunks of an upload are worth asking the store for, before they are sent.

Asking costs a round trip, so on a first upload it must be rare; but what the store has must not be
sent twice. Both hold because the first eight chunks, the leaders, go before all others: these wait
until the store has said of every leader whether it has it, and has one of them. So

- a store that has no leader has none of an earlier, interrupted upload, and no earlier version of
  the file that begins alike. From then on only chunks 15, 31 and then every 32nd are asked for, in
  case the file shares later parts with others or the store lost its first chunks;
- with fixed boundaries the chunks behind any hit are asked for, as far as an interrupted run can
  have left chunks open (those in flight) and this run can be ahead of its answers (the same once
  more, and what its threads hold), twice over. It is counted in places of the stream and not in
  misses: chunks are taken by several threads, and those far behind the end of the interrupted run
  may miss before those that are in the store were asked for;
- with content boundaries hits and misses alternate: each edit since the version that the store has
  makes a few new chunks, anywhere. It hardly touches all leaders, and after any hit every chunk is
  asked for, until far more were missed than found.
"""

from __future__ import annotations

ASK_AT_LEAST_EVERY = 32

SHORTEST_REACH = 64
"""Chunks behind a hit that are asked for at least."""

LEADERS = 8
"""Chunks that go first: as many as are sent at once to begin with, for they cost no time then."""

MISSES_FOR_EACH_HIT = 4
"""Chunks that are asked for in vain, beside those of one reach, before asking does not pay."""


class Probing:
    """Decides whether to ask for a chunk, from the answers so far. Whoever shares it guards it.

    `always` says that every chunk is asked for, whatever the answers are.
    """

    def __init__(self, asking_is_free: bool, concurrency: int, *, by_content: bool = False) -> None:
        self.always = asking_is_free
        self._by_content = by_content
        self._reach = max(SHORTEST_REACH, 4 * concurrency)
        self._leaders = 0 if asking_is_free else LEADERS
        self._unsettled = set(range(self._leaders))  # leaders of which the store said nothing yet
        self._has_leader = not self._leaders
        self._within_reach = 0  # the chunks before this one are behind a hit, or near it
        self._hits = 0
        self._misses = 0

    def may_go(self, index: int) -> bool:
        """Is it chunk number `index`'s turn, as far as leaders are concerned?"""
        return index < self._leaders or (self._has_leader and not self._unsettled)

    def should_ask(self, index: int) -> bool:
        """Is chunk number `index` worth asking for?"""
        return self.always or _is_milestone(index) or self._is_likely(index)

    def answered(self, index: int, hit: bool) -> None:
        """Note what the store said of chunk number `index`."""
        self._unsettled.discard(index)
        if hit:
            self._hits += 1
            self._within_reach = max(self._within_reach, index + self._reach)
        else:
            self._misses += 1

    def stored(self, index: int) -> None:
        """Note that the store has chunk number `index` now, whoever sent it."""
        self._unsettled.discard(index)
        self._has_leader = True

    def _is_likely(self, index: int) -> bool:
        if not self._by_content:
            return index < max(self._leaders, self._within_reach)
        enough = self._reach + MISSES_FOR_EACH_HIT * self._hits
        return index < self._leaders or (self._hits > 0 and self._misses < enough)


def _is_milestone(index: int) -> bool:
    place = index + 1
    return place % ASK_AT_LEAST_EVERY == 0 or (
        place < ASK_AT_LEAST_EVERY and place & (place - 1) == 0
    )
