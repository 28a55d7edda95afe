"""Long runs of zeros, which become holes: parts of a file that were never written read as zeros."""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator

BLOCK = 4096
"""The ends of holes are multiples of this: the block size of most file systems, in bytes."""

SHORTEST_HOLE = 64 * 1024
"""Shorter runs of zeros are written: many small holes would fragment the file."""

_ZEROS = bytes(SHORTEST_HOLE)
_BLOCK_OF_ZEROS = bytes(BLOCK)


def stretches(data: memoryview, offset: int) -> Iterator[tuple[int, int]]:
    """Yield (begin, end) of the parts of `data` to write at `offset` of a new file."""
    begin = 0
    block = -offset % BLOCK
    while block + SHORTEST_HOLE <= len(data):
        if not (_is_zero(data, block) and bytes(data[block : block + SHORTEST_HOLE]) == _ZEROS):
            block += BLOCK
            continue
        if begin < block:
            yield begin, block
        block += SHORTEST_HOLE
        while _is_zero(data, block):
            block += BLOCK
        begin = block
    if begin < len(data):
        yield begin, len(data)


def _is_zero(data: memoryview, block: int) -> bool:
    """Return whether a whole block is zeros."""
    # Most blocks differ in their first byte. Views are compared byte by byte, so bytes are.
    starts = block < len(data) and not data[block]
    return starts and bytes(data[block : block + BLOCK]) == _BLOCK_OF_ZEROS
