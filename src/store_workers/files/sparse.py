"""Long runs of zeros, which a new file need not hold: what is never written reads as zeros."""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator

BLOCK = 4096
"""Bytes that a hole's ends are multiples of: what most file systems give space by."""

SHORTEST_HOLE = 64 * 1024
"""Bytes below which a run of zeros is written: many small holes would scatter the file."""

_ZEROS = bytes(SHORTEST_HOLE)
_BLOCK_OF_ZEROS = bytes(BLOCK)


def stretches(data: bytes, offset: int) -> Iterator[tuple[int, int]]:
    """The (begin, end) of all in `data` that has to be written at `offset` of a new file."""
    begin = 0
    block = -offset % BLOCK
    while block + SHORTEST_HOLE <= len(data):
        if not data.startswith(_ZEROS, block):
            block += BLOCK
            continue
        if begin < block:
            yield begin, block
        block += SHORTEST_HOLE
        while data.startswith(_BLOCK_OF_ZEROS, block):
            block += BLOCK
        begin = block
    if begin < len(data):
        yield begin, len(data)
