"""Configures how the C library's allocator returns freed memory."""

from __future__ import annotations

import sys
from contextlib import suppress

LARGE_BLOCK = 1536 * 1024
"""Blocks of at least that many bytes are mapped separately, and unmapped when freed.

Less than a span (2 MiB), and more than a chunk of the default size: mapping chunks, too, costs
downloads of large files 20 % more processor time.
"""

M_MMAP_THRESHOLD = -3  # malloc.h of glibc


def give_back_large_blocks() -> None:
    """Let large blocks always be returned to the system (mallopt(3)).

    By default, glibc stops mapping blocks of a size when one was freed. They then come from the
    arena of a thread, which small blocks in use fragment. A process with many threads and spans of
    2 MiB thus grows to three times what it needs. Does nothing with another C library.
    """
    if not sys.platform.startswith("linux"):
        return
    with suppress(ImportError, AttributeError, OSError):
        import ctypes

        ctypes.CDLL(None).mallopt(M_MMAP_THRESHOLD, LARGE_BLOCK)
