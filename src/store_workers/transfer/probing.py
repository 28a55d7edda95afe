"""Which chunks of an upload are worth asking the store for, before they are sent.

Asking costs a round trip, so on a first upload it must be rare; but what an interrupted upload
left in the store must not be sent twice. Both hold because of the order in which chunks are
stored: while the first chunk of a file is not in the store, no other is sent. So

- a store that does not have the first chunk has none of an earlier, interrupted upload. From then
  on only chunks 1, 3, 7, 15, 31 and then every 32nd are asked for, in case the file shares later
  parts with others or the store lost its first chunk;
- after any hit the chunks behind it are asked for, as far as an interrupted run can have left
  chunks open (those in flight) and this run can be ahead of its answers (the same once more, and
  what its threads hold), twice over. It is counted in places of the stream and not in misses:
  chunks are taken by several threads, and those far behind the end of the interrupted run may miss
  before those that are in the store were asked for.
"""

from __future__ import annotations

import threading

ASK_AT_LEAST_EVERY = 32

SHORTEST_REACH = 64
"""Chunks behind a hit that are asked for at least."""


class Probing:
    """Decides whether to ask for a chunk, from the answers so far. Safe from many threads."""

    def __init__(self, asking_is_free: bool, concurrency: int) -> None:
        self._always = asking_is_free
        self._reach = max(SHORTEST_REACH, 4 * concurrency)
        self._within_reach = 0  # the chunks before this one are behind a hit, or near it
        self._lock = threading.Lock()

    def first_goes_alone(self) -> bool:
        """Must the first chunk be in the store before any other is sent?"""
        return not self._always

    def should_ask(self, index: int) -> bool:
        """Is chunk number `index` worth asking for?"""
        return self._always or index < self._within_reach or _is_milestone(index)

    def answered(self, index: int, hit: bool) -> None:
        """Note what the store said of chunk number `index`."""
        if hit:
            with self._lock:
                self._within_reach = max(self._within_reach, index + self._reach)


def _is_milestone(index: int) -> bool:
    place = index + 1
    return place % ASK_AT_LEAST_EVERY == 0 or (
        place < ASK_AT_LEAST_EVERY and place & (place - 1) == 0
    )
