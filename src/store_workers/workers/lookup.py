"""Checks presence and length of chunks in a store, in parallel."""

from __future__ import annotations

from functools import partial

from store_workers.errors import ChunkFailure, ErrorCode, StoreFailure
from store_workers.stream.chunking import LARGEST_CHUNK
from store_workers.workers.fetcher import is_bad

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

    from store_workers.stream.chunk_list import ChunkList
    from store_workers.workers.context import Context
    from store_workers.workers.fetcher import Hashes


class Lookup:
    """Checks every chunk of a list without fetching it (unless only that tells its length).

    `sizes` are the required lengths, None if not known. A chunk that is missing or has another
    length is reported to `on_bad`. `fetched_chunks` counts the correct chunks, `fetched_bytes`
    their bytes.
    """

    def __init__(
        self,
        hashes: Hashes,
        sizes: ChunkList | None,
        context: Context,
        on_bad: Callable[[ChunkFailure], None],
    ) -> None:
        self._hashes = hashes
        self._sizes = sizes
        self._context = context
        self._on_bad = on_bad
        self._changed = context.group.condition()  # guards the attributes below
        self._threads = 0
        self._claimed = 0
        self._unfinished = len(hashes)
        self.fetched_bytes = 0
        self.fetched_chunks = 0

    def run(self) -> None:
        """Check all chunks."""
        self._add_thread()
        if not self._threads:
            self._work()
        with self._changed:
            self._changed.wait_while(lambda: self._unfinished > 0)

    def _add_thread(self) -> None:
        """Start one more thread, if there is a place for it and a chunk left."""
        with self._changed:
            left = len(self._hashes) - self._claimed
            if self._threads < self._context.places.limit and left > 0:
                name = f"look-{self._threads + 1}"
                group = self._context.group
                self._threads += group.try_start(self._work, name, spare=self._threads > 0)

    def _work(self) -> None:
        while (index := self._claim()) is not None:
            length = self._try(index)
            with self._changed:
                self.fetched_bytes += length
                self.fetched_chunks += bool(length)
                self._unfinished -= 1
                self._changed.notify_all()
            self._add_thread()

    def _claim(self) -> int | None:
        with self._changed:
            if self._claimed == len(self._hashes):
                return None
            self._claimed += 1
            return self._claimed - 1

    def _try(self, index: int) -> int:
        """Return the length of a chunk, 0 if it is bad."""
        hash = self._hashes[index]
        expected = self._sizes.size(index) if self._sizes else None
        try:
            length, _ = self._context.retrier.run(index, hash, partial(self._look, hash, expected))
        except ChunkFailure as failure:
            if not is_bad(failure):
                raise
            self._on_bad(failure)
            return 0
        return length

    def _look(self, hash: str, expected: int | None) -> int:
        """One try."""
        length = self._context.store.length(hash)
        if length is None:
            length = len(self._context.store.get(hash))
        if expected is not None and length != expected:
            raise StoreFailure(
                ErrorCode.CHUNK_CORRUPT, f"it has {length} bytes in the store, expected {expected}"
            )
        if not 0 < length <= LARGEST_CHUNK:
            raise StoreFailure(
                ErrorCode.CHUNK_CORRUPT,
                f"it has {length} bytes in the store, which is not a valid chunk size",
            )
        return length
