"""Which chunks of an upload are worth asking the store for, before they are sent.

Asking costs a round trip, so on a first upload it must be rare; but what an interrupted upload
left in the store must not be sent twice. Both hold because of the order in which chunks are
stored: while the first chunk of a file is not in the store, no other is sent. So

- a store that does not have the first chunk has none of an earlier, interrupted upload. From then
  on only chunks 1, 3, 7, 15, 31 and then every 32nd are asked for, in case the file shares later
  parts with others or the store lost its first chunk;
- after any hit every chunk is asked for, until a run of misses longer than what an interrupted
  run can have left open (its chunks in flight, twice over) shows that its end was passed.
"""

from __future__ import annotations

import threading

ASK_AT_LEAST_EVERY = 32


class Probing:
    """Decides whether to ask for a chunk, from the answers so far. Safe from many threads."""

    def __init__(self, asking_is_free: bool, concurrency: int) -> None:
        self._always = asking_is_free
        self._patience = max(16, 2 * concurrency)
        self._misses_left = 0
        self._lock = threading.Lock()

    def first_goes_alone(self) -> bool:
        """Must the first chunk be in the store before any other is sent?"""
        return not self._always

    def should_ask(self, index: int) -> bool:
        """Is chunk number `index` worth asking for?"""
        return self._always or self._misses_left > 0 or _is_milestone(index)

    def answered(self, hit: bool) -> None:
        """Note what the store said."""
        with self._lock:
            if hit:
                self._misses_left = self._patience
            elif self._misses_left:
                self._misses_left -= 1


def _is_milestone(index: int) -> bool:
    place = index + 1
    return place % ASK_AT_LEAST_EVERY == 0 or (
        place < ASK_AT_LEAST_EVERY and place & (place - 1) == 0
    )
