"""What the C library's allocator does with memory that was freed."""

from __future__ import annotations

import sys
from contextlib import suppress

LARGE_BLOCK = 1536 * 1024
"""Bytes from which on a block is mapped by itself, and unmapped when it is freed.

Less than a span, which is 2 MiB, and more than a chunk of the usual length: to map these, too,
costs downloads of long files a fifth more processor time.
"""

M_MMAP_THRESHOLD = -3  # malloc.h of glibc


def give_back_large_blocks() -> None:
    """Have large blocks given back to the system, also after many of them (mallopt(3)).

    By default glibc maps large blocks only until one is freed: then blocks of that size come from
    the arena of the thread that asks, where small ones that are still in use keep them in pieces.
    So a process of many threads that handles spans of 2 MiB grows to three times what it needs.
    Nothing is done where the C library is another.
    """
    if not sys.platform.startswith("linux"):
        return
    with suppress(ImportError, AttributeError, OSError):
        import ctypes

        ctypes.CDLL(None).mallopt(M_MMAP_THRESHOLD, LARGE_BLOCK)
