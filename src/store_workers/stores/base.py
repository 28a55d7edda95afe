"""The interface of a store: a few methods, a record of its properties, and its errors.

A store does not know workers, retries or events. It is called from many threads. It raises only
`StoreFailure`, which classifies the failure; others decide whether to try again.
"""

from __future__ import annotations

from store_workers.stream.chunking import LARGEST_CHUNK

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Protocol

    from store_workers.transfer.rate_limit import RateLimit
    from store_workers.wire.messages import Settings

    class ReadStore(Protocol):
        """A readable store of chunks, by their hash."""

        properties: Properties

        def has(self, hash: str, size: int) -> bool:
            """Return whether the chunk is present and durable; false for another length."""

        def length(self, hash: str) -> int | None:
            """Return the stored length under a hash; None if only fetching it would tell.

            A missing chunk is `CHUNK_NOT_FOUND`.
            """

        def get(self, hash: str) -> bytes:
            """Return the chunk's bytes, unverified, at most `LONGEST_ANSWER`.

            A missing chunk is `CHUNK_NOT_FOUND`.
            """

        def close(self) -> None:
            """Release all resources, and remove temporary files.

            It may be called twice, and while other threads use the store; their calls are completed
            or undone.
            """

    class Store(ReadStore, Protocol):
        """A store that can also be written."""

        def put(self, chunk: Chunk, *, overwrite: bool = False) -> bool:
            """Store the chunk durably. Return false if it was present.

            An existing chunk is replaced if it has another length, and always with `overwrite`.
            """

        def remove_stale_files(self) -> int:
            """Remove old temporary files of killed workers. Return their number."""

    class Location(Protocol):
        """The location of a store that was not opened yet.

        `shown` is its name without secrets.
        """

        shown: str

        def open(self, settings: Settings, rate_limit: RateLimit | None = None) -> Store:
            """Open the store; `rate_limit` applies to both directions.

            Raises `StoreFailure` if this host lacks something that it needs.
            """


LONGEST_ANSWER = LARGEST_CHUNK + 1
"""Bytes of an answer that are read: one more than the largest chunk shows that it is too large."""


TRIES_OF_LASTING_DAMAGE = 3
"""Reads of a damaged chunk from a medium that will hardly return other bytes."""


class Properties:
    """What a kind of store can do: a field for each fact that the workers act on.

    `asking_is_free`: does `has` cost next to nothing, or a round trip? `damage_lasts`: will a chunk
    that was read damaged be read damaged again, since no network lies between?
    """

    __slots__ = ("asking_is_free", "damage_lasts")

    def __init__(self, *, asking_is_free: bool = False, damage_lasts: bool = False) -> None:
        self.asking_is_free = asking_is_free
        self.damage_lasts = damage_lasts


class Chunk:
    """A chunk to store: its hash, its bytes in pieces, their number."""

    __slots__ = ("hash", "pieces", "size")

    def __init__(self, hash: str, pieces: list[memoryview]) -> None:
        self.hash = hash
        self.pieces = pieces
        self.size = sum(map(len, pieces))

    def detach(self) -> None:
        """Copy the bytes, unless nothing else shares their memory.

        A chunk is a slice of frames, and would keep these in memory while it waits.
        """
        if len(self.pieces) != 1 or memoryview(self.pieces[0].obj).nbytes != self.size:
            self.pieces = [memoryview(b"".join(self.pieces))]
