"""An oracle for what the worker stores, written from the contract and the zstd format alone.

It uses plain arithmetic, ``hashlib`` and the ``zstd`` program: nothing of store_workers.
"""

from __future__ import annotations

import hashlib
import shutil
import struct
import subprocess
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence
    from pathlib import Path

LONGEST = 524288
LARGEST = 8 << 20  # of what a message can ask for
SHORTEST = 4096
FRAME_MAGIC = 0xFD2FB528
SKIPPABLE_MAGIC = 0x184D2A5E
SEEKABLE_MAGIC = 0x8F92EAB1


def cut_sizes(length: int, chunk_size: int = LONGEST) -> list[int]:
    """Return the sizes of the chunks that a stream of ``length`` bytes is cut into."""
    sizes = [chunk_size] * (length // chunk_size)
    rest = length % chunk_size
    while rest >= SHORTEST:
        sizes.append(1 << (rest.bit_length() - 1))
        rest -= sizes[-1]
    return [*sizes, rest] if rest else sizes


def digest(data: bytes) -> str:
    """Return the SHA-256 of some bytes, in lower-case hex."""
    return hashlib.sha256(data).hexdigest()


def in_folder(root: Path) -> Callable[[str], bytes]:
    """Return how to read a chunk of a directory store by its hash."""
    return lambda wanted: (root / wanted[:2] / wanted).read_bytes()


def in_flat_folder(root: Path) -> Callable[[str], bytes]:
    """Return how to read a chunk from the folder that an HTTP server keeps."""
    return lambda wanted: (root / wanted).read_bytes()


def stream_of(read: Callable[[str], bytes], hashes: Iterable[str]) -> bytes:
    """Concatenate chunks, each checked against its own name, and check where they were cut."""
    chunks = []
    for wanted in hashes:
        chunk = read(wanted)
        assert digest(chunk) == wanted, f"{wanted} holds other bytes"
        chunks.append(chunk)
    stream = b"".join(chunks)
    assert [len(chunk) for chunk in chunks] == cut_sizes(len(stream))
    return stream


def zstd_decode(stream: bytes) -> bytes:
    """Decompress with the ``zstd`` program.

    Raises:
        subprocess.CalledProcessError: it is no zstd stream.
    """
    zstd = shutil.which("zstd")
    assert zstd, "the zstd program is not installed"
    return subprocess.run(
        [zstd, "--decompress", "--stdout"], input=stream, stdout=subprocess.PIPE, check=True
    ).stdout


@dataclass(frozen=True)
class Frame:
    """An entry of a seek table: the lengths of a frame, stored and restored, in bytes."""

    stored: int
    restored: int
    checksum: int


def seek_table(stream: bytes) -> list[Frame]:
    """Parse the seek table at the end of a stream, as zstd's seekable format describes it."""
    count, descriptor, magic = struct.unpack("<IBI", stream[-9:])
    assert magic == SEEKABLE_MAGIC, "the stream does not end in a seek table"
    assert descriptor & 0b01111100 == 0, "reserved bits are set"
    assert descriptor & 0b10000000, "the table has no checksums"
    length = count * 12 + 9
    head = struct.unpack("<II", stream[-length - 8 : -length])
    assert head == (SKIPPABLE_MAGIC, length), "the table is not one skippable frame"
    entries = struct.iter_unpack("<III", stream[-length:-9])
    return [Frame(*entry) for entry in entries]


def check_stream(stream: bytes, content: bytes) -> list[Frame]:
    """Assert that a stream is well formed and holds ``content``; return its seek table.

    The low half of each frame's XXH64 stands in the table and at the frame's own end. That both
    agree is checked here, and that the frame's is right by ``zstd``.
    """
    table = seek_table(stream)
    position = 0
    for frame in table:
        piece = stream[position : position + frame.stored]
        magic, flags = struct.unpack("<IB", piece[:5])
        assert magic == FRAME_MAGIC, "the table does not point to a frame"
        assert flags & 0b100, "a frame has no content checksum"
        assert struct.unpack("<I", piece[-4:]) == (frame.checksum,)
        position += frame.stored
    assert position + 8 + len(table) * 12 + 9 == len(stream), "bytes that the table leaves out"
    assert sum(frame.restored for frame in table) == len(content)
    assert zstd_decode(stream) == content, "zstd restores other bytes"
    return table


def check_stored(read: Callable[[str], bytes], hashes: Sequence[str], content: bytes) -> None:
    """Assert that the chunks of a list are genuine, cut by the rule, and restore the file."""
    check_stream(stream_of(read, hashes), content)
