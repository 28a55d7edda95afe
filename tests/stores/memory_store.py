"""A complete store in memory that records its calls."""

from __future__ import annotations

import threading
import time
from typing import TYPE_CHECKING

from store_workers.errors import ErrorCode, StoreFailure
from store_workers.stores.base import LONGEST_ANSWER, Properties

if TYPE_CHECKING:
    from collections.abc import Iterator

    from store_workers.stores.base import Chunk


class MemoryStore:
    """Chunks in a dictionary.

    Args:
        asking_is_free: what the store says of its `has`.
        delay: seconds that each call takes.

    `asked`, `sent` and `fetched` are the hashes in the order of the calls; `peak` is how many
    calls were under way at once at most. While `gate` is cleared calls wait in the store.
    """

    def __init__(self, *, asking_is_free: bool = False, delay: float = 0.0) -> None:
        self.properties = Properties(asking_is_free=asking_is_free)
        self.chunks: dict[str, bytes] = {}
        self.asked: list[str] = []
        self.sent: list[str] = []
        self.fetched: list[str] = []
        self.under_way = 0
        self.peak = 0
        self.closed = 0
        self.gate = threading.Event()
        self.gate.set()
        self._delay = delay
        self._lock = threading.Lock()

    def has(self, hash: str, size: int) -> bool:
        with _Call(self, self.asked, hash):
            return len(self.chunks.get(hash, b"")) == size

    def length(self, hash: str) -> int | None:
        with _Call(self, self.asked, hash):
            return len(self._found(hash))

    def put(self, chunk: Chunk, *, overwrite: bool = False) -> bool:
        with _Call(self, self.sent, chunk.hash):
            self.chunks[chunk.hash] = b"".join(chunk.pieces)
            return True

    def get(self, hash: str) -> bytes:
        with _Call(self, self.fetched, hash):
            return self._found(hash)[:LONGEST_ANSWER]

    def remove_stale_files(self) -> int:
        return 0

    def close(self) -> None:
        self.closed += 1

    def stream(self, hashes: Iterator[str] | list[str] | tuple[str, ...]) -> bytes:
        """The bytes of chunks, one after the other."""
        return b"".join(self.chunks[hash] for hash in hashes)

    def _found(self, hash: str) -> bytes:
        if hash not in self.chunks:
            raise StoreFailure(ErrorCode.CHUNK_NOT_FOUND, "the store does not have this chunk")
        return self.chunks[hash]

    def _enter(self, calls: list[str], hash: str) -> None:
        with self._lock:
            calls.append(hash)
            self.under_way += 1
            self.peak = max(self.peak, self.under_way)
        if self._delay:
            time.sleep(self._delay)
        self.gate.wait()

    def _leave(self) -> None:
        with self._lock:
            self.under_way -= 1


class _Call:
    """One call of the store, counted while it lasts."""

    def __init__(self, store: MemoryStore, calls: list[str], hash: str) -> None:
        self._store = store
        self._calls = calls
        self._hash = hash

    def __enter__(self) -> None:
        self._store._enter(self._calls, self._hash)

    def __exit__(self, *_error: object) -> None:
        self._store._leave()
