"""Which binding of zstd is used: the only place that decides it.

zstandard where it can be had; from CPython 3.14 on the standard library's own binding where it
cannot. Both take a whole span of input and give one standalone frame for it: the same bytes, as
long as both are bindings of the same libzstd.
"""

from __future__ import annotations

try:
    from store_workers.stream.codec_zstandard import (
        LIBZSTD,
        frame_compressor,
        frame_decompressor,
        library_version,
        stream_decompressor,
    )
except ImportError as missing:  # no library for this platform was bundled, or it cannot be loaded
    try:
        from store_workers.stream.codec_stdlib import (
            LIBZSTD,
            frame_compressor,
            frame_decompressor,
            library_version,
            stream_decompressor,
        )
    except ImportError:
        raise missing from None

from store_workers.stream.codec_common import CodecError

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


def is_expected() -> bool:
    """Are this host's frames those of all others? Another libzstd may compress to other bytes."""
    return LIBZSTD == EXPECTED_LIBZSTD
