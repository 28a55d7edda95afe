"""The binding that the artifact bundles."""

from __future__ import annotations

from store_workers.stream.codec_common import LARGEST_WINDOW, TABLE_LOGS, CodecError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

    import zstandard
else:
    # The package itself imports modules that only its other functions need.
    import zstandard.backend_c as zstandard

LIBZSTD: tuple[int, ...] = tuple(zstandard.ZSTD_VERSION)
"""Return the version of libzstd."""


def frame_compressor(level: int) -> Callable[[memoryview], bytes]:
    """Return a function that compresses bytes to one frame with checksum and content size.

    The function raises only `MemoryError`, since the parameters were checked. It must not be shared
    between threads.
    """
    # 0: the level's own size for a span of that length.
    hash_log, chain_log = TABLE_LOGS.get(level, (0, 0))
    parameters = zstandard.ZstdCompressionParameters(
        compression_level=level,
        hash_log=hash_log,
        chain_log=chain_log,
        write_checksum=True,
        write_content_size=True,
    )
    compress = zstandard.ZstdCompressor(compression_params=parameters).compress

    def whole(span: memoryview) -> bytes:
        try:
            return compress(span)
        except zstandard.ZstdError as error:
            raise MemoryError(str(error)) from None

    return whole


def frame_decompressor() -> Callable[[bytes, int], bytes]:
    """Return a function of (frame, size) that decompresses one complete frame of `size` bytes.

    It verifies the checksum of the content, and raises `CodecError`. It must not be shared between
    threads.
    """
    decompressor = zstandard.ZstdDecompressor(max_window_size=LARGEST_WINDOW)
    decompress = decompressor.decompress

    def whole(frame: bytes, size: int) -> bytes:
        try:
            if size:
                return decompress(frame, max_output_size=size, allow_extra_data=False)
            # The binding does not check a frame that declares no content.
            stream = decompressor.decompressobj()
            content = stream.decompress(frame)
        except zstandard.ZstdError as error:
            raise CodecError(str(error)) from None
        if content or not stream.eof or stream.unused_data:
            raise CodecError("the length of a frame differs from its declared length")
        return content

    return whole


def stream_decompressor() -> Callable[[bytes], bytes]:
    """Return a function that decompresses one frame block by block.

    Each call returns the content of its input: at most 128 KiB for one block. Raises `CodecError`.
    """
    decompress = (
        zstandard.ZstdDecompressor(max_window_size=LARGEST_WINDOW).decompressobj().decompress
    )

    def piece(data: bytes) -> bytes:
        try:
            return decompress(data)
        except zstandard.ZstdError as error:
            raise CodecError(str(error)) from None

    return piece


def library_version() -> str:
    """Return the name and version of the binding, and the version of libzstd."""
    libzstd = ".".join(str(part) for part in zstandard.ZSTD_VERSION)
    return f"zstandard {zstandard.__version__} (libzstd {libzstd})"
