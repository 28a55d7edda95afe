"""A store for many messages side by side: a chunk that is under way is not sent twice."""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from store_workers.stores.base import Chunk, Store
    from store_workers.threads import Condition


class _Sending:
    """One chunk on its way to the store."""

    __slots__ = ("done", "stored")

    def __init__(self) -> None:
        self.done = False
        self.stored = False


class PutOnce:
    """A store in front of another one, which lets one thread at a time put a chunk.

    Those who want to put the same one wait until it is there, or try in their turn where that
    failed. `condition` belongs to a group above those of all who use the store.
    """

    def __init__(self, store: Store, condition: Condition) -> None:
        self._store = store
        self._condition = condition
        self.properties = store.properties
        self._under_way: dict[str, _Sending] = {}
        self.has = store.has
        self.length = store.length
        self.get = store.get
        self.get_range = store.get_range
        self.close = store.close
        self.remove_stale_files = store.remove_stale_files

    def put(self, chunk: Chunk, *, overwrite: bool = False) -> bool:
        """Store the chunk durably; False where it was there, or another thread stored it."""
        sending = self._begin(chunk.hash)
        if sending is None:
            return False
        try:
            new = self._store.put(chunk, overwrite=overwrite)
            sending.stored = True
            return new
        finally:
            with self._condition:
                sending.done = True
                del self._under_way[chunk.hash]
                self._condition.notify_all()

    def _begin(self, hash: str) -> _Sending | None:
        """Wait for the turn to send a chunk; None where another thread has stored it."""
        with self._condition:
            while (other := self._under_way.get(hash)) is not None:
                self._condition.wait_while(lambda other=other: not other.done)  # type: ignore[misc]
                if other.stored:
                    return None
            mine = self._under_way[hash] = _Sending()
            return mine
