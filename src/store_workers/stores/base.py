"""What a store is: a few verbs, a record of what it can do, and how it speaks of failure.

Reading, writing and asking are apart: a store knows no worker, no retry and no event. It is
called from many threads at once. It raises `StoreFailure` and nothing else, and classifies what
went wrong; whether to try again is not its business.
"""

from __future__ import annotations

from store_workers.stream.chunking import LARGEST_CHUNK

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Protocol

    from store_workers.transfer.rate_limit import RateLimit
    from store_workers.wire.messages import Settings

    class ReadStore(Protocol):
        """Chunks by their hash, to be read."""

        properties: Properties

        def has(self, hash: str, size: int) -> bool:
            """Is the chunk there, whole and durable? One of another length is not."""

        def length(self, hash: str) -> int | None:
            """The bytes of what lies under a hash; None where only fetching it would tell.

            What is not there is `CHUNK_NOT_FOUND`.
            """

        def get(self, hash: str) -> bytes:
            """The chunk's bytes, unverified, at most `LONGEST_ANSWER`.

            What is not there is `CHUNK_NOT_FOUND`.
            """

        def close(self) -> None:
            """Let go of what the store holds, and remove what it has under way.

            It may be closed twice, and while other threads call it; what they began is undone, or
            complete.
            """

    class Store(ReadStore, Protocol):
        """A store that also takes chunks."""

        def put(self, chunk: Chunk, *, overwrite: bool = False) -> bool:
            """Store the chunk durably; False where it was there.

            What is there is replaced where it has another length, and with `overwrite` always.
            """

        def remove_stale_files(self) -> int:
            """Remove what killed workers left behind, once it is old enough; how many it was."""

    class Location(Protocol):
        """A place where chunks live, known but not yet touched.

        `shown` names it without secrets.
        """

        shown: str

        def open(self, settings: Settings, rate_limit: RateLimit | None = None) -> Store:
            """The store itself; what goes to it and comes from it obeys `rate_limit`.

            Raises `StoreFailure` for what it needs and this host lacks.
            """


LONGEST_ANSWER = LARGEST_CHUNK + 1
"""Bytes of an answer that are looked at: one more than a chunk can have shows that it is none."""


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
    """A slice of the stream on its way to a store: its hash, its bytes in pieces, their number."""

    __slots__ = ("hash", "pieces", "size")

    def __init__(self, hash: str, pieces: list[memoryview]) -> None:
        self.hash = hash
        self.pieces = pieces
        self.size = sum(map(len, pieces))

    def detach(self) -> None:
        """Copy the bytes, unless they have their memory to themselves.

        A chunk is a slice of frames, and would keep all of them alive for as long as it waits.
        """
        if len(self.pieces) != 1 or memoryview(self.pieces[0].obj).nbytes != self.size:
            self.pieces = [memoryview(b"".join(self.pieces))]
