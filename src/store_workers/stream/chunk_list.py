"""Compact lists of chunks: a large file has millions of them."""

from __future__ import annotations

from array import array

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator

DIGEST_SIZE = 32


class ChunkList:
    """Hashes and stored sizes of chunks, in order: 36 bytes per chunk.

    As a sequence, it has the hashes, each converted to 64 digits on access.
    """

    def __init__(self) -> None:
        self._digests = bytearray()
        self._sizes = array("I")

    def __len__(self) -> int:
        return len(self._sizes)

    def __getitem__(self, index: int) -> str:
        return self.digest(index).hex()

    def __iter__(self) -> Iterator[str]:
        return (self[index] for index in range(len(self)))

    def digest(self, index: int) -> bytes:
        """Return the hash of a chunk, as 32 bytes."""
        if not 0 <= index < len(self._sizes):
            raise IndexError(index)
        return bytes(self._digests[index * DIGEST_SIZE : (index + 1) * DIGEST_SIZE])

    def size(self, index: int) -> int:
        """Return the stored size of a chunk in bytes."""
        return self._sizes[index]

    def sizes(self) -> Iterator[int]:
        """Return the stored sizes of all chunks in bytes."""
        return iter(self._sizes)

    def hexes(self, start: int, end: int) -> str:
        """Return the hashes of consecutive chunks, 64 digits each, without separators."""
        return self._digests[start * DIGEST_SIZE : end * DIGEST_SIZE].hex()

    def put(self, index: int, digest: bytes, size: int) -> None:
        """Set the chunk of an index; indexes may be set in any order."""
        missing = index + 1 - len(self._sizes)
        if missing > 0:
            self._digests.extend(bytes(missing * DIGEST_SIZE))
            self._sizes.extend([0] * missing)
        self._digests[index * DIGEST_SIZE : (index + 1) * DIGEST_SIZE] = digest
        self._sizes[index] = size

    def extend(self, digests: bytes, sizes: list[int]) -> None:
        """Append chunks: their concatenated digests, and their sizes."""
        self._digests += digests
        self._sizes.extend(sizes)


class Found:
    """A set of chunks of a list: 8 to 16 bytes per chunk, and always exact.

    A hash table with open addressing of indexes into the list; the bits of a digest serve as its
    hash. A set of strings would take ten times as much memory.
    """

    def __init__(self, chunks: ChunkList) -> None:
        self._chunks = chunks
        self._table = array("I", bytes(4 * 64))  # index + 1, or 0 if free
        self._count = 0

    def add(self, index: int) -> None:
        """Add the chunk at an index of the list, unless one with that hash was added."""
        if 2 * self._count >= len(self._table):
            self._grow()
        slot = self._slot(self._chunks.digest(index))
        if not self._table[slot]:
            self._table[slot] = index + 1
            self._count += 1

    def __contains__(self, digest: bytes) -> bool:
        return bool(self._table[self._slot(digest)])

    def _slot(self, digest: bytes) -> int:
        """Return the slot of a digest, or the slot where it would be added."""
        table, mask = self._table, len(self._table) - 1
        slot = int.from_bytes(digest[:8], "little") & mask
        while (place := table[slot]) and self._chunks.digest(place - 1) != digest:
            slot = (slot + 1) & mask
        return slot

    def _grow(self) -> None:
        old = self._table
        self._table = array("I", bytes(8 * len(old)))
        for place in old:
            if place:
                self._table[self._slot(self._chunks.digest(place - 1))] = place
