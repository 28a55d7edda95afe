"""Which binding of zstd is used: the only place that decides it.

zstandard where it can be had; from CPython 3.14 on the standard library's own binding where it
cannot. Both take a whole span of input and give one standalone frame for it: the same bytes, as
long as both are bindings of the same libzstd.
"""

from __future__ import annotations

import threading

try:
    from store_workers.stream import codec_zstandard as binding
except ImportError as missing:  # no library for this platform was bundled, or it cannot be loaded
    try:
        from store_workers.stream import codec_stdlib as binding  # type: ignore[no-redef]
    except ImportError:
        raise missing from None

from store_workers.stream.codec_common import CodecError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = [
    "EXPECTED_LIBZSTD",
    "LIBZSTD",
    "CodecError",
    "frame_compressor",
    "frame_decompressor",
    "is_expected",
    "library_version",
    "stream_decompressor",
]

EXPECTED_LIBZSTD = (1, 5, 7)
"""The version of libzstd whose frames, and so hashes, are those of every other host."""


LIBZSTD = binding.LIBZSTD
library_version = binding.library_version
stream_decompressor = binding.stream_decompressor

_own = threading.local()
"""What each thread has made: `compressors` by their level, and `decompressor`.

They hold some hundred KiB. To make them anew for every small file of a session costs time, and
memory that the C library's allocator keeps for each thread, in pieces.
"""

MOST_COMPRESSORS = 3
"""Compressors that a thread keeps: a file at one of the usual levels needs so many."""


def frame_compressor(level: int) -> Callable[[memoryview], bytes]:
    """See `codec_zstandard.frame_compressor`; for the calling thread alone."""
    made: dict[int, Callable[[memoryview], bytes]] = _own.__dict__.setdefault("compressors", {})
    found = made.get(level)
    if found is None:
        if len(made) >= MOST_COMPRESSORS:
            made.clear()  # few sessions have files of several levels
        found = made[level] = binding.frame_compressor(level)
    return found


def frame_decompressor() -> Callable[[bytes, int], bytes]:
    """See `codec_zstandard.frame_decompressor`; for the calling thread alone."""
    if not hasattr(_own, "decompressor"):
        _own.decompressor = binding.frame_decompressor()
    found: Callable[[bytes, int], bytes] = _own.decompressor
    return found


def is_expected() -> bool:
    """Are this host's frames those of all others? Another libzstd may compress to other bytes."""
    return LIBZSTD == EXPECTED_LIBZSTD
