"""The upload worker: a file is read as a stream, compressed, cut, and saved chunk by chunk."""

from __future__ import annotations

import time
from hashlib import sha256

from store_workers.chunking import Cutter
from store_workers.compression import FRAME_SPAN, compressed_frames
from store_workers.frames import SeekTable
from store_workers.messages import ChunkStored, FileUploaded, UploadProgress
from store_workers.probing import Probing
from store_workers.source import FileSource
from store_workers.stores.base import Chunk

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from store_workers.compression import Frame
    from store_workers.crew import Crew
    from store_workers.messages import Event, UploadStart
    from store_workers.retry import Retrier
    from store_workers.stores.base import Store

MOST_PIECES = 64
"""Pieces of a chunk beyond which they are joined: a system call takes only so many."""


class Upload:
    """One file on its way into a store.

    Memory: `threads` spans and `2 * threads` frames in the compressor, and `concurrency` chunks
    in flight, which keep alive the frames that they are slices of.
    """

    def __init__(
        self,
        message: UploadStart,
        store: Store,
        retrier: Retrier,
        crew: Crew,
        tell: Callable[[Event], None],
        threads: int,
    ) -> None:
        self._message = message
        self._crew = crew
        self._threads = threads
        self._saver = _Saver(message, store, retrier, crew, tell)
        self._digest = sha256() if message.sha256 else None
        self._source: FileSource | None = None
        self._started = time.monotonic()

    def run(self) -> FileUploaded:
        """Upload the file; returns what is told at the end, once every chunk is durable."""
        source = FileSource(self._message.path, self._message.size, self._digest)
        self._source = source
        cutter = Cutter()
        table = SeekTable()
        for frame in self._frames(source):
            table.add(len(frame.data), frame.size, frame.checksum)
            cutter.feed(frame.data)
            self._save_all(cutter, ended=False)
        cutter.feed(table.encode())
        self._save_all(cutter, ended=True)
        self._saver.finish()
        changed = source.changed()
        source.close()
        return self._result(source.read_bytes, changed)

    def progress(self) -> UploadProgress:
        """How far the upload is."""
        source, saver = self._source, self._saver
        return UploadProgress(
            read_bytes=source.read_bytes if source else 0,
            total_bytes=source.total if source else self._message.size,
            stored_bytes=saver.stored_bytes,
            stored_chunks=saver.stored_chunks,
        )

    def _frames(self, source: FileSource) -> Iterator[Frame]:
        settings = self._message.settings
        threads = self._threads
        if source.total is not None:
            threads = min(threads, 1 + source.total // FRAME_SPAN)
        return compressed_frames(
            source, settings.compression_level, threads, self._message.verify, self._crew
        )

    def _save_all(self, cutter: Cutter, ended: bool) -> None:
        for pieces in cutter.cut(ended):
            self._saver.save(pieces)

    def _result(self, size: int, changed: bool) -> FileUploaded:
        saver = self._saver
        return FileUploaded(
            path=self._message.path,
            size=size,
            compressed_size=saver.stored_bytes,
            hashes=tuple(saver.hashes),
            new_chunks=saver.new_chunks,
            new_bytes=saver.new_bytes,
            changed=changed,
            duration_ms=int((time.monotonic() - self._started) * 1000),
            sha256=self._digest.hexdigest() if self._digest else None,
        )


class _Saver:
    """Saves chunks side by side, each distinct one once, and tells each when it is in the store."""

    def __init__(
        self,
        message: UploadStart,
        store: Store,
        retrier: Retrier,
        crew: Crew,
        tell: Callable[[Event], None],
    ) -> None:
        self._store = store
        self._retrier = retrier
        self._crew = crew
        self._tell = tell
        self._concurrency = message.settings.concurrency
        self._probing = Probing(store.asking_is_free, self._concurrency)
        self._changed = crew.guard()  # guards all below
        self._waiting: list[tuple[int, list[memoryview]]] = []
        self._idle = 0
        self._threads = 0
        self._unfinished = 0
        self._stored: set[str] = set()
        self._followers: dict[str, list[int]] = {}  # by the hash of a chunk that is being saved
        self.hashes: list[str] = []
        self.stored_bytes = 0
        self.stored_chunks = 0
        self.new_bytes = 0
        self.new_chunks = 0

    def save(self, pieces: list[memoryview]) -> None:
        """Take the next chunk of the stream; waits while `concurrency` chunks are in flight."""
        with self._changed:
            self._changed.wait_while(lambda: self._unfinished >= self._concurrency)
            index = len(self.hashes)
            self.hashes.append("")
            self._unfinished += 1
            self._waiting.append((index, pieces))
            if self._idle < len(self._waiting) and self._threads < self._concurrency:
                self._threads += 1
                self._crew.start(self._work, f"save-{self._threads}")
            self._changed.notify_all()
            if index == 0 and self._probing.first_goes_alone():
                self._changed.wait_while(lambda: self._unfinished > 0)

    def finish(self) -> None:
        """Wait until every chunk is in the store."""
        with self._changed:
            self._changed.wait_while(lambda: self._unfinished > 0)

    def _work(self) -> None:
        while True:
            with self._changed:
                self._idle += 1
                self._changed.wait_while(lambda: not self._waiting)
                self._idle -= 1
                index, pieces = self._waiting.pop(0)
            self._save(index, _hashed(pieces))

    def _save(self, index: int, chunk: Chunk) -> None:
        if not self._is_first_of_its_kind(index, chunk):
            return
        tries = _Tries(self._store, self._probing, index, chunk)
        new, attempts = self._retrier.run(index, chunk.hash, tries.make)
        with self._changed:
            self._stored.add(chunk.hash)
            followers = self._followers.pop(chunk.hash)
            self.new_chunks += new
            self.new_bytes += chunk.size if new else 0
        self._finished(index, chunk, new, attempts)
        for follower in followers:
            self._finished(follower, chunk, False, 1)

    def _is_first_of_its_kind(self, index: int, chunk: Chunk) -> bool:
        """Note the chunk's hash; a chunk that this run has or is saving needs no request."""
        with self._changed:
            self.hashes[index] = chunk.hash
            if chunk.hash in self._followers:
                self._followers[chunk.hash].append(index)
                return False
            stored = chunk.hash in self._stored
            if not stored:
                self._followers[chunk.hash] = []
        if stored:
            self._finished(index, chunk, False, 1)
        return not stored

    def _finished(self, index: int, chunk: Chunk, new: bool, attempts: int) -> None:
        with self._changed:
            self.stored_bytes += chunk.size
            self.stored_chunks += 1
        # Told before it counts as finished: no chunk's line may come behind the last one.
        self._tell(
            ChunkStored(index=index, hash=chunk.hash, size=chunk.size, new=new, attempts=attempts)
        )
        with self._changed:
            self._unfinished -= 1
            self._changed.notify_all()


class _Tries:
    """The tries of one chunk: asked for where that can pay, sent where it is not there."""

    def __init__(self, store: Store, probing: Probing, index: int, chunk: Chunk) -> None:
        self._store = store
        self._probing = probing
        self._chunk = chunk
        self._ask = probing.should_ask(index)

    def make(self) -> bool:
        """One try; is the chunk new to the store?"""
        ask = self._ask
        # A try that fails may have stored the chunk all the same: the next one asks first.
        self._ask = True
        if ask:
            found = self._store.has(self._chunk.hash, self._chunk.size)
            self._probing.answered(found)
            if found:
                return False
        return self._store.put(self._chunk)


def _hashed(pieces: list[memoryview]) -> Chunk:
    if len(pieces) > MOST_PIECES:
        pieces = [memoryview(b"".join(pieces))]
    digest = sha256()
    for piece in pieces:
        digest.update(piece)
    return Chunk(digest.hexdigest(), pieces)
