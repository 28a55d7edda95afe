"""Chooses the binding of zstd. No other module does.

It is zstandard if available, otherwise (from CPython 3.14 on) the standard library's binding. Both
compress a span to one independent frame, with the same bytes if they use the same libzstd.
"""

from __future__ import annotations

import threading

try:
    from store_workers.stream import codec_zstandard as binding
except ImportError as missing:  # no library was bundled for this platform, or it cannot be loaded
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
"""The version of libzstd with which all hosts have the same frames and hashes."""


LIBZSTD = binding.LIBZSTD
library_version = binding.library_version
stream_decompressor = binding.stream_decompressor

_own = threading.local()
"""Per thread: `compressors` by their level, and `decompressor`.

They hold some hundred KiB. Creating them again for every small file of a session would take time,
and fragment the memory of the C library's allocator.
"""

MOST_COMPRESSORS = 3
"""Compressors that a thread keeps: the number that a file at one of the usual levels needs."""


def frame_compressor(level: int) -> Callable[[memoryview], bytes]:
    """See `codec_zstandard.frame_compressor`; for the calling thread only."""
    made: dict[int, Callable[[memoryview], bytes]] = _own.__dict__.setdefault("compressors", {})
    found = made.get(level)
    if found is None:
        if len(made) >= MOST_COMPRESSORS:
            made.clear()  # files of several levels in one session are rare
        found = made[level] = binding.frame_compressor(level)
    return found


def frame_decompressor() -> Callable[[bytes, memoryview], None]:
    """See `codec_zstandard.frame_decompressor`; for the calling thread only."""
    if not hasattr(_own, "decompressor"):
        _own.decompressor = binding.frame_decompressor()
    found: Callable[[bytes, memoryview], None] = _own.decompressor
    return found


def is_expected() -> bool:
    """Return whether this host has the usual libzstd; another one may compress to other bytes."""
    return LIBZSTD == EXPECTED_LIBZSTD
