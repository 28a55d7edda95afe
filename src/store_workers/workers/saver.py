"""Saves chunks in parallel, each distinct one once, and emits an event for each stored chunk."""

from __future__ import annotations

from functools import partial

from store_workers.stream.chunk_list import ChunkList, Found
from store_workers.transfer.probing import Probing
from store_workers.wire.events import ChunkStored

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

    from store_workers.stores.base import Chunk, Store
    from store_workers.workers.context import Context


class Saver:
    """Accepts chunks from the compressing threads; holds as many as may be in flight.

    `chunks` lists the accepted chunks by their index. With `overwrite`, presence is not checked,
    and each distinct chunk is sent.
    """

    def __init__(
        self, context: Context, *, overwrite: bool = False, by_content: bool = False
    ) -> None:
        self._store = store = context.store
        self._retrier = context.retrier
        self._places = context.places
        self._group = context.group
        self._emit = context.emit
        self._probing = Probing(
            store.properties.asking_is_free,
            self._places.limiter.most,
            by_content=by_content and not overwrite,
        )
        self._overwrite = overwrite
        self._condition = context.group.condition()  # its lock guards the attributes below
        self._work_to_do = context.group.condition(self._condition.lock)
        self._waiting: list[tuple[int, Chunk]] = []
        self._idle = 0
        self._threads = 0
        self._unfinished = 0
        self._finishing = False
        self.chunks = ChunkList()
        self._stored = Found(self.chunks)
        self._followers: dict[str, list[int]] = {}  # by the hash of chunks being saved
        self.stored_bytes = 0
        self.stored_chunks = 0
        self.new_bytes = 0
        self.new_chunks = 0

    def save(self, index: int, chunk: Chunk, *, left: int | None = None) -> None:
        """Accept a chunk. Waits while the maximum number is in flight.

        If requests are faster than passing the chunk to another thread (to a directory in memory,
        or on a disk with a cache), this thread saves the chunk, which is in its core's cache. It
        also saves the few chunks of a small file if the store is near: `left` is the number of
        chunks left in the stream, if known.
        """
        with self._condition.lock:
            self._condition.wait_while(
                lambda: self._unfinished >= self._places.limit or not self._probing.may_go(index)
            )
            is_there = self._take(index, chunk)
        if is_there is None:
            return
        if is_there:
            self._report(chunk, [index], False, 1)
        elif self._places.is_quick:
            self._save(index, chunk)
        elif left and self._pays_to_save_here(left):
            if index == 0:
                self._probing.let_first_decide()
            self._save(index, chunk)
        else:
            chunk.detach()
            self._hand_over(index, chunk)

    def _pays_to_save_here(self, left: int) -> bool:
        return not self._threads and self._places.are_quick_in_turn(left)

    def _take(self, index: int, chunk: Chunk) -> bool | None:
        """List a chunk. Return whether this run has stored it; None if it is being stored."""
        digest = bytes.fromhex(chunk.hash)
        self.chunks.put(index, digest, chunk.size)
        self._unfinished += 1
        followers = self._followers.get(chunk.hash)
        if followers is not None:
            followers.append(index)
            return None
        if digest in self._stored:
            self._count(index, chunk)
            return True
        self._followers[chunk.hash] = []
        return False

    def save_alone(self, index: int, chunk: Chunk) -> None:
        """Save a chunk of a manifest on this thread: it is neither listed nor reported.

        `index` continues after the file's chunks, for events of failed tries.
        """
        self._run(index, chunk)

    def _run(self, index: int, chunk: Chunk) -> tuple[bool, int]:
        """Store a chunk. Return (whether it was new to the store, the number of tries)."""
        ask = not self._overwrite and self._probing.should_ask(index)
        tries = _Tries(self._store, partial(self._answered, index), chunk, ask, self._overwrite)
        size = chunk.size
        return self._retrier.run(index, chunk.hash, tries.make, lambda new: size if new else 0)

    def _answered(self, index: int, found: bool) -> None:
        if not self._probing.always:
            with self._condition.lock:
                self._probing.answered(index, found)
                self._condition.notify_all()

    def _hand_over(self, index: int, chunk: Chunk) -> None:
        with self._condition.lock:
            if self._idle <= len(self._waiting) and self._threads < self._places.limit:
                name = f"save-{self._threads + 1}"
                self._threads += self._group.try_start(self._work, name, spare=self._threads > 0)
            if self._threads:
                self._waiting.append((index, chunk))
                self._work_to_do.notify()
                return
        self._save(index, chunk)

    def finish(self) -> None:
        """Wait until all chunks are in the store, and end the saver's threads."""
        with self._condition.lock:
            self._finishing = True
            self._work_to_do.notify_all()
            self._condition.wait_while(lambda: self._unfinished > 0)
            # For a large file, the old one takes megabytes that are no longer needed.
            self._stored = Found(self.chunks)

    def _work(self) -> None:
        while (next_one := self._next()) is not None:
            self._save(*next_one)

    def _next(self) -> tuple[int, Chunk] | None:
        """Wait for a chunk to save. Return None at the end."""
        with self._work_to_do.lock:
            self._idle += 1
            self._work_to_do.wait_while(lambda: not (self._waiting or self._finishing))
            self._idle -= 1
            return self._waiting.pop(0) if self._waiting else None

    def _save(self, index: int, chunk: Chunk) -> None:
        """Store a chunk that no other thread stores, for all equal chunks of the file."""
        new, attempts = self._run(index, chunk)
        with self._condition.lock:
            self._stored.add(index)
            followers = self._followers.pop(chunk.hash)
            for each in (index, *followers):
                self._count(each, chunk)
            self.new_chunks += new
            self.new_bytes += chunk.size if new else 0
        self._report(chunk, [index], new, attempts)
        if followers:
            self._report(chunk, followers, False, 1)

    def _count(self, index: int, chunk: Chunk) -> None:
        """Note that a chunk is in the store."""
        self._probing.stored(index)
        self.stored_bytes += chunk.size
        self.stored_chunks += 1

    def _report(self, chunk: Chunk, indexes: list[int], new: bool, attempts: int) -> None:
        """Report that a chunk is in the store, once for each place in the stream."""
        # Before it counts as finished: no CHUNK may follow the terminal event.
        for index in indexes:
            self._emit(
                ChunkStored(
                    index=index, hash=chunk.hash, size=chunk.size, new=new, attempts=attempts
                )
            )
        with self._condition.lock:
            self._unfinished -= len(indexes)
            self._condition.notify_all()


class _Tries:
    """The tries of one chunk: check its presence if that can pay, and send it if missing."""

    def __init__(
        self,
        store: Store,
        answered: Callable[[bool], None],
        chunk: Chunk,
        ask: bool,
        overwrite: bool,
    ) -> None:
        self._store = store
        self._answered = answered
        self._chunk = chunk
        self._ask = ask
        self._overwrite = overwrite

    def make(self) -> bool:
        """One try. Return whether the chunk was new to the store."""
        ask = self._ask
        # A failed try can have stored the chunk, so the next one checks first.
        self._ask = not self._overwrite
        if ask:
            found = self._store.has(self._chunk.hash, self._chunk.size)
            self._answered(found)
            if found:
                return False
        return self._store.put(self._chunk, overwrite=self._overwrite)
