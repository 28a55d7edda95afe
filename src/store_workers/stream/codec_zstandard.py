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


def frame_decompressor() -> Callable[[bytes, memoryview], None]:
    """Return a function of (frame, buffer) that decompresses one frame into the buffer.

    The content must fill the buffer exactly. The function verifies the content's checksum, and
    raises `CodecError`. It must not be shared between threads. The caller must know that the frame
    is complete (`frames.py`): the binding does not notice that only the checksum is missing.
    """
    decompressor = zstandard.ZstdDecompressor(max_window_size=LARGEST_WINDOW)

    def into(frame: bytes, buffer: memoryview) -> bool:
        """Fill the buffer. Return whether the content ended there."""
        reader = decompressor.stream_reader(frame)
        return reader.readinto(buffer) == len(buffer) and not reader.read(1)

    def is_empty(frame: bytes) -> bool:
        # The other function does not check a frame without content.
        stream = decompressor.decompressobj()
        return not stream.decompress(frame) and stream.eof and not stream.unused_data

    def whole(frame: bytes, buffer: memoryview) -> None:
        try:
            fits = into(frame, buffer) if buffer else is_empty(frame)
        except zstandard.ZstdError as error:
            raise CodecError(str(error)) from None
        if not fits:
            raise CodecError("the length of a frame differs from its declared length")

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
