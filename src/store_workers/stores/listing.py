"""A store whose chunks are looked up in its list if that costs fewer requests."""

from __future__ import annotations

import threading
import time

from store_workers.errors import StoreFailure
from store_workers.threads import own_work_began
from store_workers.transfer.listing import Listing

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

    from store_workers.stores.base import Chunk, Store
    from store_workers.transfer.listing import Page


class ListedStore:
    """A wrapper whose `has` uses pages of the store's list if they pay (`transfer/listing.py`).

    `list_page` returns the page that begins after a name, or raises `StoreFailure`: then each chunk
    is looked up in the store.
    """

    def __init__(
        self,
        store: Store,
        list_page: Callable[[str], Page],
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.properties = store.properties
        self.store = store
        self._list_page = list_page
        self._clock = clock
        # Guards the attributes below; never held during a request.
        self._changed = threading.Condition()
        self._listing = Listing()
        self._under_way = False

    def has(self, hash: str, size: int) -> bool:
        length = self._listed_length(hash)
        if length is not None and length in (0, size):
            return length == size
        # Not in a page, or with another length, which the store has to record.
        found = self.store.has(hash, size)
        with self._changed:
            self._listing.answered(hash, found)
        return found

    def put(self, chunk: Chunk, *, overwrite: bool = False) -> bool:
        with self._changed:
            self._listing.stored(chunk.hash)
        return self.store.put(chunk, overwrite=overwrite)

    def length(self, hash: str) -> int | None:
        return self.store.length(hash)

    def get(self, hash: str) -> bytes:
        return self.store.get(hash)

    def remove_stale_files(self) -> int:
        return self.store.remove_stale_files()

    def close(self) -> None:
        self.store.close()

    def _listed_length(self, hash: str) -> int | None:
        """Return what the list says of a chunk, after another page if that pays; None: nothing."""
        since = own_work_began()
        with self._changed:
            # Threads that come while the first page is fetched would ask for chunks that it lists.
            self._changed.wait_for(lambda: self._listing.last or not self._under_way)
            began = self._clock()
            length = self._listing.length(hash, began, since)
            lists = length is None and not self._under_way and self._listing.pays()
            if not lists:
                return length
            self._under_way = True
            last = self._listing.last
        page, refused = None, False
        try:
            page = self._list_page(last)
        except StoreFailure:
            refused = True  # lookups can be permitted even if listing is not
        finally:  # also if the message was cancelled
            with self._changed:
                self._under_way = False
                if page is not None:
                    self._listing.add(page, began)
                elif refused:
                    self._listing.give_up()
                self._changed.notify_all()
        with self._changed:
            return self._listing.length(hash, self._clock(), since)
