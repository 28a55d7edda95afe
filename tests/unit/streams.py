"""Streams of small frames from the codec, and their decoded content."""

from __future__ import annotations

import struct
from typing import TYPE_CHECKING

from store_workers.stream.chunk_stream import ChunkStream
from store_workers.stream.codec import frame_compressor
from store_workers.stream.codec_threads import CodecThreads
from store_workers.stream.decompression import Output, decompress_stream
from store_workers.stream.seek_table import SeekTable
from store_workers.threads import Abandoned, ThreadGroup

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

MAGIC = struct.pack("<I", 0xFD2FB528)
TABLE_MAGIC = struct.pack("<I", 0x184D2A5E)
RAW, RLE, COMPRESSED, RESERVED = range(4)
SINGLE_SEGMENT, HAS_CHECKSUM, RESERVED_BIT, UNUSED_BIT = 0x20, 0x04, 0x08, 0x10
SMALLEST_WINDOW = b"\0"  # 1 KiB
LARGE_WINDOW = bytes([(27 - 10) << 3])  # 128 MiB
ABSURD_WINDOW = bytes([(41 - 10) << 3])  # 2 TiB


def frame(content: bytes, level: int = 1) -> bytes:
    """Return one frame as the worker makes it."""
    return frame_compressor(level)(memoryview(content))


def table_of(frames: Iterable[tuple[bytes, bytes]]) -> bytes:
    """The seek table of (frame, content) pairs."""
    table = SeekTable()
    for data, content in frames:
        table.add(len(data), len(content), int.from_bytes(data[-4:], "little"))
    return table.encode()


def worker_made(contents: Sequence[bytes]) -> list[bytes]:
    """The frames of a stream as the worker makes it, one for each content, and its table last."""
    frames = [frame(content) for content in contents]
    return [*frames, table_of(zip(frames, contents, strict=True))]


def skippable(content: bytes, kind: int = 0) -> bytes:
    """Return a skippable frame."""
    return struct.pack("<II", 0x184D2A50 + kind, len(content)) + content


def block(kind: int, size: int, data: bytes, *, last: bool = False) -> bytes:
    """A block of a frame: its header (RFC 8878, 3.1.1.2), and what follows."""
    return (size << 3 | kind << 1 | last).to_bytes(3, "little") + data


def hand_made(flags: int, rest_of_header: bytes, *blocks: bytes) -> bytes:
    """A frame put together from its parts."""
    return MAGIC + bytes([flags]) + rest_of_header + b"".join(blocks)


def rle_bomb(size: int, header: bytes = bytes([0x00]) + SMALLEST_WINDOW) -> bytes:
    """A frame of `size` times one byte: four bytes in the stream for each 1 KiB to 128 KiB."""
    # A block is no longer than the window.
    step = 1024 if header[1:] == SMALLEST_WINDOW else 128 * 1024
    blocks = [block(RLE, step, b"x")] * (size // step - 1) + [block(RLE, step, b"x", last=True)]
    return MAGIC + header + b"".join(blocks)


def cut_evenly(stream: bytes, size: int) -> list[bytes]:
    """The stream in pieces of one size."""
    return [stream[start : start + size] for start in range(0, len(stream), size)]


def decode(
    chunks: Iterable[bytes], *, threads: int = 2, expected: int | None = None
) -> tuple[bytes, bool]:
    """Decompress chunks. Return the content, and whether seek tables confirm it."""
    content = bytearray()
    verified = decode_to(Output(content.extend, expected), chunks, threads=threads)
    return bytes(content), verified


def decode_to(output: Output, chunks: Iterable[bytes], *, threads: int = 2) -> bool:
    """Decompress chunks to an output. Raises the failure of any thread."""
    group = ThreadGroup()
    try:
        return decompress_stream(ChunkStream(chunks), output, CodecThreads(threads), group) is None
    except Abandoned:
        assert group.failure is not None
        raise group.failure from None
    finally:
        group.fail(Abandoned())
