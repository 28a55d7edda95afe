"""Fetches chunks in parallel, checks each, and yields them in the order of a list."""

from __future__ import annotations

from functools import partial
from hashlib import sha256

from store_workers.errors import ChunkFailure, ErrorCode, StoreFailure
from store_workers.stores.base import TRIES_OF_LASTING_DAMAGE
from store_workers.stream.chunking import LARGEST_CHUNK
from store_workers.transfer.stragglers import Stragglers

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from typing import Protocol

    from store_workers.workers.context import Context

    class Hashes(Protocol):
        """A sequence of hashes."""

        def __len__(self) -> int: ...
        def __getitem__(self, index: int, /) -> str: ...


BAD = frozenset({ErrorCode.CHUNK_NOT_FOUND, ErrorCode.CHUNK_CORRUPT})
"""The codes of failures of a chunk, not of its store."""


def is_bad(failure: ChunkFailure) -> bool:
    """Return whether a chunk failed, and not its store."""
    return failure.code in BAD or failure.cause.one_chunk


FIRST_THREADS = 2
MORE_THREADS_AFTER = 0.005
"""The number of fetching threads doubles after the consumer waited that many seconds.

Two threads suffice for a near store, and leave the cores to the decompressor. A distant store gets
all that the limiter allows within a few round trips.
"""


FEW = 8
"""A list of at most that many chunks of a fast store is fetched on the calling thread."""


class Fetcher:
    """Fetches chunks in parallel, and yields them in order.

    Holds half as many chunks again as may be in flight, those that are being fetched included.
    `of_manifest`: are they a manifest's own chunks, and so none of the file's? With `on_bad` a
    chunk that is missing or damaged fails nothing: it is reported there, and empty in its place.
    `wanted` are the places of the list that are fetched, all of them by default. `get` is asked
    for them instead of the store. A chunk that keeps all waiting for far longer than the others
    took is fetched a second time, beside.
    """

    def __init__(
        self,
        hashes: Hashes,
        context: Context,
        *,
        of_manifest: bool = False,
        on_bad: Callable[[ChunkFailure], None] | None = None,
        wanted: range | None = None,
        get: Callable[[str], bytes] | None = None,
    ) -> None:
        self._of_manifest = of_manifest
        self._on_bad = on_bad
        self._hashes = hashes
        self._wanted = range(len(hashes)) if wanted is None else wanted
        self._under_way = Stragglers(len(self._wanted))
        self._places = context.places
        self._get = get or context.store.get
        lasting = context.store.properties.damage_lasts
        self._most_tries = TRIES_OF_LASTING_DAMAGE if lasting else None
        self._retrier = context.retrier
        self._group = context.group
        self._arrived = context.group.condition()  # its lock guards the attributes below
        self._room = context.group.condition(self._arrived.lock)
        self._threads = 0
        self._claimed = self._handed_out = self._wanted.start
        self._ready: dict[int, bytes] = {}
        self.fetched_bytes = 0
        self.fetched_chunks = 0

    def chunks(self) -> Iterator[bytes]:
        """Yield the chunks, verified, in the order of their hashes."""
        for index in self._wanted:
            if not self._threads and self._pays_to_fetch_here():
                yield self._fetch_here(index)
                continue
            if not self._threads:
                self._start(FIRST_THREADS)
            yield self._next(index) if self._threads else self._fetch_here(index)

    def _pays_to_fetch_here(self) -> bool:
        """Return whether passing the next chunk to another thread costs more than it gains."""
        wanted = len(self._wanted)
        return wanted == 1 or (wanted <= FEW and self._places.are_quick_in_turn(wanted))

    def _fetch_here(self, index: int) -> bytes:
        """Fetch the next chunk on this thread, if there is no other."""
        self._group.check()
        self._claimed = self._handed_out = index + 1
        self._under_way.begin(index)
        chunk = self._try(index) or b""
        self._under_way.end(index)
        self.fetched_bytes += len(chunk)
        self.fetched_chunks += bool(chunk)
        return chunk

    def _next(self, index: int) -> bytes:
        with self._arrived:
            self._handed_out = index
            self._room.notify(max(0, self._window() - self._ahead()))
            while index not in self._ready and self._threads < self._most_threads():
                if not self._arrived.wait(MORE_THREADS_AFTER):
                    self._start(self._threads)
                self._group.check()
            self._arrived.wait_while(lambda: index not in self._ready)
            return self._ready.pop(index)

    def _window(self) -> int:
        """The maximum number of chunks held, since some have to wait for a late one."""
        limit = self._places.limit
        return limit + limit // 2

    def _ahead(self) -> int:
        return self._claimed - self._handed_out

    def _most_threads(self) -> int:
        return min(self._places.limit, len(self._wanted))

    def _start(self, more: int) -> None:
        """Start that many more threads, as far as there are places and chunks for them."""
        for _ in range(min(more, self._most_threads() - self._threads)):
            name = f"fetch-{self._threads + 1}"
            self._threads += self._group.try_start(self._work, name, spare=self._threads > 0)

    def _work(self) -> None:
        while (claim := self._claim()) is not None:
            index, again = claim
            chunk = self._try_again(index) if again else self._try(index)
            if chunk is not None:
                self._deliver(index, chunk)

    def _deliver(self, index: int, chunk: bytes) -> None:
        with self._arrived:
            if not self._under_way.end(index):
                return  # another thread fetched it, too
            self._ready[index] = chunk
            self.fetched_bytes += len(chunk)
            self.fetched_chunks += bool(chunk)
            if index == self._handed_out:
                self._arrived.notify()
            if self._is_over():
                self._room.notify_all()

    def _try_again(self, index: int) -> bytes | None:
        """Fetch a chunk for which another thread is late; return None if that fails."""
        try:
            with self._places.one():
                return self._fetch(self._hashes[index])
        except StoreFailure:
            return None

    def _try(self, index: int) -> bytes | None:
        """Fetch a chunk; return None if another thread had fetched it when this failed."""
        hash = self._hashes[index]
        try:
            chunk, _ = self._retrier.run(index, hash, partial(self._fetch, hash), len)
        except ChunkFailure as failure:
            with self._arrived:
                if index not in self._under_way:
                    return None
            if self._on_bad is not None and is_bad(failure):
                self._on_bad(failure)
                return b""
            if self._of_manifest:
                raise failure.of_manifest() from failure.cause
            raise
        return chunk

    def _claim(self) -> tuple[int, bool] | None:
        """Wait for a chunk to fetch, and whether another thread is late with it.

        Return None if nothing is left to do.
        """
        with self._room:
            while not self._is_over():
                self._group.check()
                if self._claimed < self._wanted.stop and self._ahead() < self._window():
                    self._claimed += 1
                    self._under_way.begin(self._claimed - 1)
                    return self._claimed - 1, False
                wait = self._under_way.wait()
                if wait == 0:
                    return self._under_way.repeat(), True
                self._room.wait(wait)
            return None

    def _is_over(self) -> bool:
        return self._claimed == self._wanted.stop and not self._under_way

    def _fetch(self, hash: str) -> bytes:
        """One try: return the chunk after checking its length and digest."""
        chunk = self._get(hash)
        if not 0 < len(chunk) <= LARGEST_CHUNK:
            raise self._corrupt(f"it has {_length(chunk)} bytes, which no chunk has")
        found = sha256(chunk).hexdigest()
        if found != hash:
            raise self._corrupt(f"its {len(chunk)} bytes have the SHA-256 {found}")
        return chunk

    def _corrupt(self, problem: str) -> StoreFailure:
        # The bytes may have been damaged in transit, so another try can succeed.
        return StoreFailure(
            ErrorCode.CHUNK_CORRUPT,
            f"the store's chunk is damaged: {problem}",
            transient=True,
            most_tries=self._most_tries,
        )


def _length(chunk: bytes) -> str:
    return f"more than {LARGEST_CHUNK}" if len(chunk) > LARGEST_CHUNK else str(len(chunk))
