"""What a store is: three verbs, and how it speaks of failure.

Reading, writing and asking are apart: a store knows no worker, no retry and no event. It is
called from many threads at once. It raises `StoreFailure` and nothing else, and classifies what
went wrong; whether to try again is not its business.
"""

from __future__ import annotations

from store_workers.stream.chunking import LARGEST_CHUNK

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Protocol

    class Store(Protocol):
        """Chunks by their hash."""

        asking_is_free: bool
        """Does `has` cost next to nothing, or a round trip?"""

        def has(self, hash: str, size: int) -> bool:
            """Is the chunk there, whole and durable? One of another length is not."""

        def put(self, chunk: Chunk) -> bool:
            """Store the chunk durably, replacing what is there; False where it was there."""

        def get(self, hash: str) -> bytes:
            """The chunk's bytes, unverified, at most `LONGEST_ANSWER`.

            What is not there is `CHUNK_NOT_FOUND`.
            """

        def close(self) -> None:
            """Let go of what the store holds open."""


LONGEST_ANSWER = LARGEST_CHUNK + 1
"""Bytes of an answer that are looked at: one more than a chunk can have shows that it is none."""


class Chunk:
    """A slice of the stream on its way to a store: its hash, its bytes in pieces, their number."""

    __slots__ = ("hash", "pieces", "size")

    def __init__(self, hash: str, pieces: list[memoryview]) -> None:
        self.hash = hash
        self.pieces = pieces
        self.size = sum(map(len, pieces))
