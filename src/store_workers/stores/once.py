"""A store for many messages in parallel: a chunk that is being sent is not sent twice."""

from __future__ import annotations

import time

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

    from store_workers.stores.base import Chunk, Store
    from store_workers.threads import Condition

JUST_NOW = 10.0
"""Seconds for which a stored chunk is known to be present.

Longer than the time between the lookup of a chunk and its PUT, in which another message can store
it. Not much longer, since others can remove chunks from the store.
"""

MOST_KNOWN = 10_000
"""Maximum number of chunks known to be present: some 1.5 MiB of memory."""


class _Sending:
    """A chunk that is being sent to the store."""

    __slots__ = ("done", "stored")

    def __init__(self) -> None:
        self.done = False
        self.stored = False


class PutOnce:
    """A wrapper of a store that lets only one thread at a time put a chunk.

    Other threads with the same chunk wait until it is stored, or try it themselves if that failed.
    `condition` belongs to an ancestor of the groups of all messages that use the store.
    """

    def __init__(
        self, store: Store, condition: Condition, *, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._store = store
        self._condition = condition  # guards the attributes below
        self._clock = clock
        self._under_way: dict[str, _Sending] = {}
        self._stored: dict[str, float] = {}  # hash to time, the oldest first
        self.properties = store.properties
        self.length = store.length
        self.get = store.get
        self.close = store.close
        self.remove_stale_files = store.remove_stale_files

    def has(self, hash: str, size: int) -> bool:
        """Return whether the chunk is present; wait for one that is being sent."""
        with self._condition.lock:
            if self._is_there(hash):
                return True
        return self._store.has(hash, size)

    def put(self, chunk: Chunk, *, overwrite: bool = False) -> bool:
        """Store the chunk durably. Return false if it was present or another thread stored it."""
        with self._condition.lock:
            if self._is_there(chunk.hash):
                return False
            sending = self._under_way[chunk.hash] = _Sending()
        try:
            new = self._store.put(chunk, overwrite=overwrite)
            sending.stored = True
            return new
        finally:
            with self._condition.lock:
                self._end(chunk.hash, sending)

    def _is_there(self, hash: str) -> bool:
        """Return whether the chunk was stored recently; wait for a thread that is sending it."""
        while (other := self._under_way.get(hash)) is not None:
            self._condition.wait_while(lambda other=other: not other.done)  # type: ignore[misc]
            if other.stored:
                return True
        stored_at = self._stored.get(hash)
        return stored_at is not None and self._clock() - stored_at < JUST_NOW

    def _end(self, hash: str, sending: _Sending) -> None:
        sending.done = True
        del self._under_way[hash]
        self._condition.notify_all()
        if not sending.stored:
            return
        now = self._clock()
        self._stored.pop(hash, None)
        self._stored[hash] = now
        while self._stored:
            oldest = next(iter(self._stored))
            if len(self._stored) <= MOST_KNOWN and now - self._stored[oldest] < JUST_NOW:
                break
            del self._stored[oldest]
