"""The download worker that continues an interrupted run of the same list."""

from __future__ import annotations

from collections import deque
from hashlib import sha256

from store_workers.files.partial_file import PartialFile, Piece
from store_workers.stream.chunk_stream import ChunkStream
from store_workers.stream.decompression import Output, ParallelDecoder
from store_workers.stream.frames import FrameReader
from store_workers.stream.seek_table import SeekTable
from store_workers.workers.download import Download
from store_workers.workers.fetcher import Fetcher

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator
    from typing import Any

    from store_workers.files.target import Target
    from store_workers.stream.frames import Frame
    from store_workers.threads import ThreadGroup
    from store_workers.workers.listing import Listing

MOST_BEHIND = 4
"""Maximum number of frame contents that wait for the file's digest."""


class ResumedDownload(Download):
    """A download into a partial file, which is kept if the run fails.

    Frames are written in order, so that the partial file is the beginning of the file. Memory: that
    of a download, and 12 bytes per frame.
    """

    _partial: PartialFile
    _skipped_bytes = 0

    def _open_target(self) -> Target:
        partial = PartialFile(self._message.path, self._list_digest(), self._files)
        self._partial = partial
        self._noted: deque[Piece | None] = deque()
        return partial

    def close(self) -> None:
        """Close the target, and drop references to this download."""
        super().close()
        self._fetcher = self._output = None

    def _list_digest(self) -> bytes:
        """Return the identity of the list: its manifest's hash, or the digest of its hashes."""
        message = self._message
        if message.manifest is not None:
            return bytes.fromhex(message.manifest)
        return sha256("\n".join(message.hashes or ()).encode()).digest()

    def _output_to(self, target: Target, size: int | None) -> Output:
        return Output(self._write_next, size, path=self._message.path)

    def _write(self, listing: Listing, output: Output) -> str | None:
        passed, last = self._look_at_what_is_there(output)
        chunk = begin = end = 0
        if last is not None:
            chunk, begin, end = last.chunk, last.chunk_offset, last.end
        self._skipped_bytes = begin
        wanted = range(chunk, len(listing.hashes))
        fetcher = self._fetcher = Fetcher(
            listing.hashes, self._context, wanted=wanted, get=self._get
        )
        chunks = _Counted(listing.checked(fetcher.chunks(), chunk), chunk)
        stream = ChunkStream(chunks, begin)
        stream.skip(end - begin)
        reader = FrameReader(stream, passed)
        decoder = ParallelDecoder(output, self._threads, self._group)
        note = _Notes(self._noted, chunks, stream, last).take
        for frame in reader:
            note(frame)
            decoder.decode(frame)
        decoder.finish()
        return reader.doubt

    def _get(self, hash: str) -> bytes:
        """Return a chunk that an earlier run fetched, or fetch it from the store and keep it."""
        kept = self._partial.kept.get(hash)
        if kept is not None:
            return kept
        chunk = self._context.store.get(hash)
        self._partial.kept.put(hash, chunk)
        return chunk

    def _look_at_what_is_there(self, output: Output) -> tuple[SeekTable, Piece | None]:
        """Check the frames that an earlier run wrote. Return them with the last one."""
        passed = SeekTable()
        last = None
        behind = _DigestBehind(self._digest, self._group) if self._digest is not None else None
        for piece, content in self._partial.checked():
            self._group.check()
            output.announce(piece.content_end)
            passed.add(piece.length, piece.size, piece.checksum)
            if behind is not None:
                behind.update(content)
            last = piece
            output.size = piece.content_end
        if behind is not None:
            behind.finish()
        self._resumed_bytes = output.size
        self._partial.go_on_behind(len(passed), output.size)
        return passed, last

    def _write_next(self, content: memoryview) -> None:
        """Write the next content of the file, and record it if it is a complete frame."""
        if self._digest is not None:
            self._digest.update(content)
        piece = self._noted[0] if self._noted else None
        if piece is None:
            self._partial.write(content)
        else:
            self._partial.append(piece, content)
            self._noted.popleft()

    def _compressed_size(self) -> int:
        return self._skipped_bytes + super()._compressed_size()

    def _check(self, listing: Listing, size: int, doubt: str | None) -> None:
        try:
            super()._check(listing, size, doubt)
        except BaseException:
            self._partial.discard()
            raise


class _Counted:
    """Chunks in order, with the index of the next one."""

    def __init__(self, chunks: Iterable[bytes], first: int) -> None:
        self._chunks = iter(chunks)
        self.next_number = first

    def __iter__(self) -> Iterator[bytes]:
        return self

    def __next__(self) -> bytes:
        chunk = next(self._chunks)
        self.next_number += 1
        return chunk


class _Notes:
    """Collects the journal's data of each frame, as long as a run can continue after it.

    These are complete frames, without gaps from the start of the stream.
    """

    def __init__(
        self,
        noted: deque[Piece | None],
        chunks: _Counted,
        stream: ChunkStream,
        last: Piece | None,
    ) -> None:
        self._noted = noted
        self._chunks = chunks
        self._stream = stream
        self._last = last
        self._ended = False

    def take(self, frame: Frame) -> None:
        """Record a frame that was just read from the stream."""
        if self._ended:
            return
        piece = self._piece(frame)
        self._ended = piece is None
        self._noted.append(piece)
        self._last = piece

    def _piece(self, frame: Frame) -> Piece | None:
        if frame.pieces is None or frame.checksum is None or frame.content_size is None:
            return None
        number, begin = self._chunks.next_number, self._stream.offset
        if not self._stream.at_chunk_end():
            number, begin = number - 1, begin - self._stream.at_hand()[1]
        piece = Piece(
            frame.offset,
            frame.length,
            frame.content_offset,
            frame.content_size,
            frame.checksum,
            number,
            begin,
        )
        return piece if piece.follows(self._last) else None


class _DigestBehind:
    """Updates a digest on another thread, if one is available."""

    def __init__(self, digest: Any, group: ThreadGroup) -> None:
        self._digest = digest
        self._changed = group.condition()  # guards the attributes below
        self._waiting: deque[bytes] = deque()
        self._ended = False
        self._beside = group.start(self._work, "digest", spare=True)

    def update(self, content: bytes) -> None:
        """Add the next content. Waits while the queue is full."""
        if not self._beside:
            self._digest.update(content)
            return
        with self._changed:
            self._changed.wait_while(lambda: len(self._waiting) >= MOST_BEHIND)
            self._waiting.append(content)
            self._changed.notify_all()

    def finish(self) -> None:
        """Wait until the digest has everything."""
        with self._changed:
            self._ended = True
            self._changed.notify_all()
            self._changed.wait_while(lambda: self._beside and bool(self._waiting))

    def _work(self) -> None:
        while True:
            with self._changed:
                self._changed.wait_while(lambda: not self._waiting and not self._ended)
                if not self._waiting:
                    return
                content = self._waiting[0]
            self._digest.update(content)
            with self._changed:
                self._waiting.popleft()  # only now, since `finish` waits for this
                self._changed.notify_all()
