"""Store libraries that differ in few places as the places where they differ.

The builds of the native library for neighbouring CPythons are nearly the same: 3.11's differs from
3.10's in a dozen bytes. Such a one is stored as a patch of the other, a third of a megabyte less.
"""

from __future__ import annotations

import re

# Two differences with less than this between them are one run.
GAP = 8
# A patch has to be applied at every start: no more runs than cost a fraction of a millisecond.
MOST_RUNS = 2000
# A patch is worth having only if it is small.
MOST_BYTES = 65536
RUN = re.compile(rb"[^\0](?:\0{0,%d}[^\0])*" % (GAP - 1))

Patch = tuple[tuple[int, bytes], ...]


def difference(old: bytes, new: bytes) -> Patch | None:
    """Return what to write over ``old``, and where, to get ``new``; None if that is too much."""
    if len(old) != len(new):
        return None
    differing = int.from_bytes(old, "little") ^ int.from_bytes(new, "little")
    runs = [match.span() for match in RUN.finditer(differing.to_bytes(len(old), "little"))]
    if len(runs) > MOST_RUNS or sum(end - start for start, end in runs) > MOST_BYTES:
        return None
    return tuple((start, new[start:end]) for start, end in runs)
