"""Configures how the C library's allocator returns freed memory."""

from __future__ import annotations

import sys
from contextlib import suppress

LARGE_BLOCK = 2560 * 1024
"""Blocks of at least that many bytes are mapped separately, and unmapped when freed.

More than what a compressed span is written into (2 MiB and some KiB): mapping these, and chunks,
too, costs transfers of large files up to 20 % more processor time.
"""

KEPT = 4 * 1024 * 1024
"""Bytes at the end of an arena that are kept when they are free, for the next chunks.

With glibc's 128 KiB, the memory of each chunk is returned and mapped again.
"""

ARENAS = 2
"""Arenas that threads share, in place of up to eight for each core: each keeps free memory."""

M_TRIM_THRESHOLD, M_MMAP_THRESHOLD, M_ARENA_MAX = -1, -3, -8  # malloc.h of glibc


def give_back_large_blocks() -> None:
    """Let large blocks always be returned to the system (mallopt(3)).

    By default, glibc stops mapping blocks of a size when one was freed. They then come from the
    arena of a thread, which small blocks in use fragment. A process with many threads and files of
    megabytes thus grows to twice what it needs. Does nothing with another C library.
    """
    if not sys.platform.startswith("linux"):
        return
    with suppress(ImportError, AttributeError, OSError):
        import ctypes

        mallopt = ctypes.CDLL(None).mallopt
        mallopt(M_MMAP_THRESHOLD, LARGE_BLOCK)
        mallopt(M_TRIM_THRESHOLD, KEPT)
        mallopt(M_ARENA_MAX, ARENAS)
