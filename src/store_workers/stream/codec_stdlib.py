"""The standard library's binding, which CPython has from 3.14 on."""

from __future__ import annotations

from compression import zstd

from store_workers.stream.codec_common import LARGEST_WINDOW, TABLE_LOGS, CodecError

LIBZSTD: tuple[int, ...] = tuple(zstd.zstd_version_info)
"""Return the version of libzstd."""

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable


def frame_compressor(level: int) -> Callable[[memoryview], bytes]:
    """See `codec_zstandard.frame_compressor`."""
    parameter = zstd.CompressionParameter
    options = {
        parameter.compression_level: level,
        parameter.checksum_flag: 1,
        parameter.content_size_flag: 1,
    }
    if level in TABLE_LOGS:
        options[parameter.hash_log], options[parameter.chain_log] = TABLE_LOGS[level]

    def compress(data: memoryview) -> bytes:
        compressor = zstd.ZstdCompressor(options=options)
        compressor.set_pledged_input_size(len(data))
        return bytes(compressor.compress(data, zstd.ZstdCompressor.FLUSH_FRAME))

    return compress


def _window_limit() -> dict[int, int]:
    limit = LARGEST_WINDOW.bit_length() - 1
    return {zstd.DecompressionParameter.window_log_max: limit}


def frame_decompressor() -> Callable[[bytes, memoryview], None]:
    """See `codec_zstandard.frame_decompressor`."""

    def whole(frame: bytes, buffer: memoryview) -> None:
        decompressor = zstd.ZstdDecompressor(options=_window_limit())
        try:
            data = decompressor.decompress(frame, len(buffer) + 1)
        except zstd.ZstdError as error:
            raise CodecError(str(error)) from None
        if len(data) != len(buffer) or not decompressor.eof or decompressor.unused_data:
            raise CodecError("the length of a frame differs from its declared length")
        buffer[:] = data

    return whole


def stream_decompressor() -> Callable[[bytes], bytes]:
    """See `codec_zstandard.stream_decompressor`."""
    decompressor = zstd.ZstdDecompressor(options=_window_limit())

    def piece(data: bytes) -> bytes:
        try:
            return bytes(decompressor.decompress(data))
        except (zstd.ZstdError, EOFError) as error:
            raise CodecError(str(error)) from None

    return piece


def library_version() -> str:
    """See `codec_zstandard.library_version`."""
    return f"compression.zstd (libzstd {zstd.zstd_version})"
