"""Decides which chunks of an upload to look up in the store before sending them.

A lookup costs a round trip, so in a first upload it must be rare; but chunks that the store has
must not be sent again. For both, the first eight chunks, the leaders, are sent before all others,
which wait until all leaders were looked up and one of them is stored. So

- a store without a leader has no chunks of an earlier, interrupted upload, and no earlier version
  of the file with the same beginning. From then on, only chunks 15, 31 and then every 32nd are
  looked up, in case the file shares later parts with others or the store lost its first chunks;
- with fixed boundaries, the chunks after any hit are looked up, as far as an interrupted run can
  have left gaps (the chunks in flight) and this run can be ahead of its answers (the same again,
  and what its threads hold), times two. This is counted in indexes of the stream and not in
  misses: several threads take chunks, and chunks far after the end of the interrupted run can miss
  before those in the store were looked up;
- with content boundaries, hits and misses alternate: each edit since the stored version makes a few
  new chunks, anywhere. Edits hardly change all leaders, and after any hit every chunk is looked up,
  until far more were missing than found.

A file of a few chunks, which are sent one after the other, needs only one lookup: if its first
chunk is missing, an interrupted upload did not come to the others.
"""

from __future__ import annotations

ASK_AT_LEAST_EVERY = 32

SHORTEST_REACH = 64
"""Minimum number of chunks that are looked up after a hit."""

LEADERS = 8
"""Number of leaders: as many as are sent in parallel at the start, so they cost no extra time."""

MISSES_FOR_EACH_HIT = 4
"""Number of misses, beside those of one reach, after which lookups no longer pay."""


class Probing:
    """Decides whether to look up a chunk, from the results so far. The caller holds a lock.

    `always`: look up every chunk, whatever the results.
    """

    def __init__(self, asking_is_free: bool, concurrency: int, *, by_content: bool = False) -> None:
        self.always = asking_is_free
        self._by_content = by_content
        self._reach = max(SHORTEST_REACH, 4 * concurrency)
        self._leaders = 0 if asking_is_free else LEADERS
        self._unsettled = set(range(self._leaders))  # leaders without a result
        self._has_leader = not self._leaders
        self._within_reach = 0  # the chunks before this index are near a hit
        self._hits = 0
        self._misses = 0
        self._first_decides = False

    def let_first_decide(self) -> None:
        """Look up the first chunk, and the others only if it is there: they are sent after it."""
        self._first_decides = True

    def may_go(self, index: int) -> bool:
        """Return whether chunk `index` may be sent, with regard to the leaders."""
        return index < self._leaders or (self._has_leader and not self._unsettled)

    def should_ask(self, index: int) -> bool:
        """Return whether to look up chunk `index`."""
        if self._first_decides and not self.always:
            return index == 0 or self._hits > 0
        return self.always or _is_milestone(index) or self._is_likely(index)

    def answered(self, index: int, hit: bool) -> None:
        """Record the result of looking up chunk `index`."""
        self._unsettled.discard(index)
        if hit:
            self._hits += 1
            self._within_reach = max(self._within_reach, index + self._reach)
        else:
            self._misses += 1

    def stored(self, index: int) -> None:
        """Record that the store has chunk `index` now."""
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
