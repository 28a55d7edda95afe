"""A store for many messages side by side: a chunk that is under way is not sent twice."""

from __future__ import annotations

import time

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

    from store_workers.stores.base import Chunk, Store
    from store_workers.threads import Condition

JUST_NOW = 10.0
"""Seconds for which a chunk that was stored is known to be there.

Longer than from asking for a chunk to sending it: another message may have stored it in between.
Not much longer, since others may remove what is in the store.
"""

MOST_KNOWN = 10_000
"""Chunks that are known to be there at most: some 1.5 MiB."""


class _Sending:
    """One chunk on its way to the store."""

    __slots__ = ("done", "stored")

    def __init__(self) -> None:
        self.done = False
        self.stored = False


class PutOnce:
    """A store in front of another one, which lets one thread at a time put a chunk.

    Those who want the same one wait until it is there, or try in their turn where that failed.
    `condition` belongs to a group above those of all who use the store.
    """

    def __init__(
        self, store: Store, condition: Condition, *, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._store = store
        self._condition = condition  # for all below
        self._clock = clock
        self._under_way: dict[str, _Sending] = {}
        self._stored: dict[str, float] = {}  # when, the oldest first
        self.properties = store.properties
        self.length = store.length
        self.get = store.get
        self.close = store.close
        self.remove_stale_files = store.remove_stale_files

    def has(self, hash: str, size: int) -> bool:
        """Is the chunk there? One that is on its way is, as soon as it has arrived."""
        with self._condition.lock:
            if self._is_there(hash):
                return True
        return self._store.has(hash, size)

    def put(self, chunk: Chunk, *, overwrite: bool = False) -> bool:
        """Store the chunk durably; False where it was there, or another thread stored it."""
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
        """Was the chunk stored just now, or by whoever is sending it, once that has ended?"""
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
