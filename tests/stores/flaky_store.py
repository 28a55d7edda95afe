"""A wrapper of a store with a given number of faults."""

from __future__ import annotations

import threading
from collections import Counter
from typing import TYPE_CHECKING

from store_workers.errors import ErrorCode, StoreFailure

if TYPE_CHECKING:
    from collections.abc import Callable, Container
    from typing import TypeVar

    from store_workers.stores.base import Chunk, Store

    T = TypeVar("T")


def unavailable() -> StoreFailure:
    """Return a transient failure."""
    return StoreFailure(
        ErrorCode.STORE_UNAVAILABLE, "flaky", transient=True, slow_down=True, http_status=503
    )


class FlakyStore:
    """Fails the first calls of each verb for each chunk, then does what the store behind it does.

    Args:
        store: the store behind it.
        failures: how often each call fails.
        fault: makes what is raised.
        verbs: which calls fail.
        after: do the work, and fail to say so.
        only: the hashes that it strikes, None for all.
    """

    def __init__(
        self,
        store: Store,
        failures: int,
        fault: Callable[[], StoreFailure] = unavailable,
        *,
        verbs: Container[str] = ("has", "put", "get"),
        after: bool = False,
        only: Container[str] | None = None,
    ) -> None:
        self.properties = store.properties
        self.failed: Counter[tuple[str, str]] = Counter()
        self._store = store
        self._failures = failures
        self._fault = fault
        self._verbs = verbs
        self._after = after
        self._only = only
        self._lock = threading.Lock()

    def has(self, hash: str, size: int) -> bool:
        return self._do("has", hash, lambda: self._store.has(hash, size))

    def length(self, hash: str) -> int | None:
        return self._do("has", hash, lambda: self._store.length(hash))

    def put(self, chunk: Chunk, *, overwrite: bool = False) -> bool:
        return self._do("put", chunk.hash, lambda: self._store.put(chunk, overwrite=overwrite))

    def get(self, hash: str) -> bytes:
        return self._do("get", hash, lambda: self._store.get(hash))

    def remove_stale_files(self) -> int:
        return self._store.remove_stale_files()

    def close(self) -> None:
        self._store.close()

    def _do(self, verb: str, hash: str, work: Callable[[], T]) -> T:
        if not self._strikes(verb, hash):
            return work()
        if self._after:
            work()
        raise self._fault()

    def _strikes(self, verb: str, hash: str) -> bool:
        if verb not in self._verbs or (self._only is not None and hash not in self._only):
            return False
        with self._lock:
            if self.failed[verb, hash] >= self._failures:
                return False
            self.failed[verb, hash] += 1
            return True
