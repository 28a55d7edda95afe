"""Stores for many messages in parallel: a chunk that is being sent is not sent twice."""

from __future__ import annotations

import time

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

    from store_workers.stores.base import Chunk, Store
    from store_workers.threads import Condition

    Key = tuple[object, str]  # the place of a store, and a chunk's hash

JUST_NOW = 10.0
"""Seconds for which a stored chunk is remembered.

Longer than the time between the lookup of a chunk and its PUT, in which another message can store
it.
"""

MOST_KNOWN = 10_000
"""Maximum number of remembered chunks: some 2 MiB of memory."""


class Sending:
    """A chunk that is being sent to a store. `known`: another thread stored it just now."""

    __slots__ = ("done", "known", "stored")

    def __init__(self, known: bool) -> None:
        self.known = known
        self.done = False
        self.stored = False


class Puts:
    """The chunks that messages are sending, and those that they stored just now.

    `condition` belongs to an ancestor of the groups of all messages.
    """

    def __init__(
        self, condition: Condition, *, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._condition = condition  # guards the attributes below
        self._clock = clock
        self._under_way: dict[Key, Sending] = {}
        self._stored: dict[Key, float] = {}  # key to time, the oldest first

    def wait(self, key: Key, longest: float) -> bool:
        """Wait while another thread sends the chunk. Return whether one has stored it.

        `longest`, in seconds, bounds the wait: a thread that takes so long is waiting for a silent
        store, perhaps with a longer timeout.
        """
        with self._condition.lock:
            return self._wait(key, longest)

    def begin(self, key: Key, longest: float, *, always: bool) -> Sending | None:
        """Begin to send a chunk, alone unless another thread takes too long.

        Return None if another thread has stored it meanwhile, unless it is to be sent `always`.
        """
        with self._condition.lock:
            if self._wait(key, longest) and not always:
                return None
            stored_at = self._stored.get(key)
            known = stored_at is not None and self._clock() - stored_at < JUST_NOW
            sending = self._under_way[key] = Sending(known)
            return sending

    def end(self, key: Key, sending: Sending) -> None:
        """Let others send the chunk, if it was not stored."""
        with self._condition.lock:
            sending.done = True
            if self._under_way.get(key) is sending:
                del self._under_way[key]
            self._condition.notify_all()
            if sending.stored:
                self._remember(key)

    def _wait(self, key: Key, longest: float) -> bool:
        other = self._under_way.get(key)
        if other is None:
            return False
        deadline = self._clock() + longest
        while other is not None and not other.stored and (left := deadline - self._clock()) > 0:
            self._condition.wait_unless_over(left)
            if other.done and not other.stored:
                other = self._under_way.get(key)
        return other is not None and other.stored

    def _remember(self, key: Key) -> None:
        now = self._clock()
        self._stored.pop(key, None)
        self._stored[key] = now
        while self._stored:
            oldest = next(iter(self._stored))
            if len(self._stored) <= MOST_KNOWN and now - self._stored[oldest] < JUST_NOW:
                break
            del self._stored[oldest]


class PutOnce:
    """A wrapper of a store that lets only one thread at a time put a chunk.

    Other threads with the same chunk wait until it is stored, or try it themselves if that failed.
    `place` is the same for all wrappers of one store; `timeout`, in seconds, is that of this one.

    The store itself is asked about chunks that were stored before a call began: others can have
    removed or damaged them.
    """

    def __init__(self, store: Store, puts: Puts, timeout: float, place: object = None) -> None:
        self._store = store
        self._puts = puts
        self._place = place
        self._timeout = timeout
        self.properties = store.properties
        self.length = store.length
        self.get = store.get
        self.close = store.close
        self.remove_stale_files = store.remove_stale_files

    def has(self, hash: str, size: int) -> bool:
        """Return whether the chunk is present; wait for one that is being sent."""
        return self._puts.wait((self._place, hash), self._timeout) or self._store.has(hash, size)

    def put(self, chunk: Chunk, *, overwrite: bool = False) -> bool:
        """Store the chunk durably. Return false if it was present or another thread stored it."""
        key = (self._place, chunk.hash)
        sending = self._puts.begin(key, self._timeout, always=overwrite)
        if sending is None:
            return False
        try:
            known = sending.known and not overwrite
            new = not (known and self._store.has(chunk.hash, chunk.size))
            if new:
                new = self._store.put(chunk, overwrite=overwrite)
            sending.stored = True
            return new
        finally:
            self._puts.end(key, sending)
