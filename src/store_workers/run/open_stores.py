"""The open stores of a session: each is opened once for all messages that use it."""

from __future__ import annotations

from store_workers.stores.once import PutOnce, Puts

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

    from store_workers.stores.base import Store
    from store_workers.threads import ThreadGroup

    Key = tuple[object, ...]

MOST_IDLE = 8
"""Number of unused stores that are kept open, with connections and credentials."""


class Borrowed:
    """A store, the number of messages that use it, and whether further messages may use it.

    `fresh`: no message has used it before.
    """

    __slots__ = ("fit", "fresh", "key", "store", "users")

    def __init__(self, key: Key) -> None:
        self.key = key
        self.store: Store | None = None  # None while it is being opened
        self.users = 1
        self.fit = True
        self.fresh = True


class OpenStores:
    """Stores by their key. Safe from many threads.

    A key is the place of a store with the credentials for it, and the settings of the connection.
    Stores with one place are one store: a chunk that one of them is sending is not sent by another.

    Messages wait for a store that another message is opening. A store that could not be opened, or
    that a message found unavailable, is not used again.
    """

    def __init__(self, group: ThreadGroup) -> None:
        self._condition = group.condition()  # guards the attributes below
        self._puts = Puts(group.condition())
        self._all: dict[Key, Borrowed] = {}
        self._idle: dict[Key, Borrowed] = {}  # unused stores, the longest unused first
        self._closed = False

    def borrow(self, key: Key, open_store: Callable[[], Store], timeout: float) -> Borrowed:
        """Return the store for a key, opened by `open_store` if necessary, which can raise.

        `timeout`, in seconds, is that of the store.
        """
        with self._condition.lock:
            while (found := self._all.get(key)) is not None:
                if found.store is not None:
                    self._idle.pop(key, None)
                    found.users += 1
                    return found
                self._condition.wait_while(lambda: self._is_opening(key))
            mine = self._all[key] = Borrowed(key)
        try:
            mine.store = PutOnce(open_store(), self._puts, timeout, place=key[0])
        finally:
            with self._condition.lock:
                if mine.store is None:
                    del self._all[key]
                self._condition.notify_all()
        return mine

    def give_back(self, borrowed: Borrowed, *, fit: bool) -> None:
        """Release a store after use; `fit` is false if the message found it unavailable."""
        unused = []
        with self._condition.lock:
            borrowed.users -= 1
            if not fit and borrowed.fit:
                borrowed.fit = False
                del self._all[borrowed.key]
            if not borrowed.users:
                if borrowed.fit and not self._closed:
                    self._idle[borrowed.key] = borrowed
                else:
                    unused.append(borrowed)
                while len(self._idle) > MOST_IDLE:
                    oldest = self._idle.pop(next(iter(self._idle)))
                    del self._all[oldest.key]
                    unused.append(oldest)
        for each in unused:
            if each.store is not None:
                each.store.close()

    def close(self) -> None:
        """Close every store, also those in use."""
        with self._condition.lock:
            self._closed = True
            borrowed = tuple(self._all.values())
            self._idle.clear()
        for each in borrowed:
            if each.store is not None:
                each.store.close()

    def _is_opening(self, key: Key) -> bool:
        found = self._all.get(key)
        return found is not None and found.store is None
