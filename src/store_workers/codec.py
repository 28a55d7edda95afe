"""Which binding of zstd is used: the only place that decides it.

zstandard where it can be had; from CPython 3.14 on the standard library's own binding where it
cannot. Both take a whole span of input and give one standalone frame for it.
"""

from __future__ import annotations

try:
    from store_workers.codec_zstandard import (
        frame_compressor,
        frame_decompressor,
        library_version,
        stream_decompressor,
    )
except ImportError:  # no library for this platform was bundled
    from store_workers.codec_stdlib import (
        frame_compressor,
        frame_decompressor,
        library_version,
        stream_decompressor,
    )

from store_workers.codec_error import CodecError

__all__ = [
    "CodecError",
    "frame_compressor",
    "frame_decompressor",
    "library_version",
    "stream_decompressor",
]
