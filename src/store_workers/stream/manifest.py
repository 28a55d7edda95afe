"""Manifests: the list of a file's chunks, itself stored as chunks, so that one hash names a file.

The first line of the text is a JSON object (`Header`); each following line is `<hash> <size>` of a
chunk. The text is compressed like a file, and cut at every `LARGEST_PIECE` bytes. A single piece is
the manifest. Several pieces are listed in a manifest `"of": "manifest"`, until one is left.
"""

from __future__ import annotations

from enum import Enum

from store_workers.stream.chunk_list import ChunkList
from store_workers.stream.chunking import LARGEST_CHUNK
from store_workers.stream.codec_threads import CodecThreads
from store_workers.stream.compression import frame_maker
from store_workers.stream.seek_table import SeekTable
from store_workers.stream.spans import FRAME_SPAN
from store_workers.wire.json_text import encode
from store_workers.wire.records import COUNT, Choice, Digest, Integer, Record, String, field

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

VERSION = 1
LEVEL = 3
"""The zstd level of every manifest, whatever the level of the file."""

LARGEST_PIECE = 512 * 1024
"""Bytes of a manifest's compressed text in one chunk: some 14,000 lines."""

LINES_AT_ONCE = 4096


class Listed(str, Enum):
    """What a manifest lists."""

    FILE = "file"
    MANIFEST = "manifest"


class Header(Record):
    """A manifest's first line: the totals of its chunks. It has no time, path or host."""

    store_workers_manifest: int = field(Integer(1, 1), doc="the version of the form")
    of: Listed = field(Choice(Listed), doc="a file, or the text of another manifest")
    size: int = field(Integer(0, (1 << 63) - 1), doc="bytes of that")
    compressed_size: int = field(COUNT, doc="bytes of all chunks")
    chunks: int = field(Integer(1), doc="how many there are")
    chunk_size: int = field(Integer(1, LARGEST_CHUNK), doc="bytes of the largest that may occur")
    boundaries: str = field(String(least=1), doc="how the frames were marked off")
    sha256: str | None = field(Digest(), default=None, doc="the file's digest, if it was asked for")

    def line(self) -> bytes:
        """Return the header as the first line of the text."""
        return encode(self.encode()) + b"\n"


def write_manifest(header: Header, chunks: ChunkList, store: Callable[[bytes], bytes]) -> str:
    """Store the list of a file's chunks, with further levels if necessary. Return its hash.

    `store` stores one piece and returns its digest when it is durable, so a manifest is stored only
    after everything that it names. Memory: one span of text and its frame, and the lists.
    """
    while True:
        pieces = ChunkList()
        text = ManifestText(header, chunks)
        for piece in cut(text.compressed()):
            pieces.extend(store(piece), [len(piece)])
        if len(pieces) == 1:
            return pieces[0]
        header = Header(
            store_workers_manifest=VERSION,
            of=Listed.MANIFEST,
            size=text.size,
            compressed_size=sum(pieces.sizes()),
            chunks=len(pieces),
            chunk_size=LARGEST_PIECE,
            boundaries="fixed",
        )
        chunks = pieces


class ManifestText:
    """Generates the text of one manifest; `size` counts its bytes."""

    def __init__(self, header: Header, chunks: ChunkList) -> None:
        self._header = header
        self._chunks = chunks
        self.size = 0

    def compressed(self) -> Iterator[bytes]:
        """Yield the text as frames with a seek table, as an upload of it would."""
        compress = frame_maker(LEVEL, verify=False, threads=CodecThreads(1))()
        table = SeekTable()
        for span in self._spans():
            frame = compress(span)
            table.add(len(frame.data), frame.size, frame.checksum)
            self.size += frame.size
            yield frame.data
        yield table.encode()

    def _spans(self) -> Iterator[memoryview]:
        blocks: list[bytes] = []
        length = 0
        for block in self._blocks():
            blocks.append(block)
            length += len(block)
            if length >= FRAME_SPAN:  # a block is shorter than a span
                joined = memoryview(b"".join(blocks))
                blocks = [bytes(joined[FRAME_SPAN:])]
                length -= FRAME_SPAN
                yield joined[:FRAME_SPAN]
        if length:
            yield memoryview(b"".join(blocks))

    def _blocks(self) -> Iterator[bytes]:
        yield self._header.line()
        chunks = self._chunks
        for start in range(0, len(chunks), LINES_AT_ONCE):
            end = min(start + LINES_AT_ONCE, len(chunks))
            hexes = chunks.hexes(start, end)
            lines = [
                f"{hexes[64 * n : 64 * n + 64]} {chunks.size(start + n)}\n"
                for n in range(end - start)
            ]
            yield "".join(lines).encode("ascii")


def cut(stream: Iterable[bytes]) -> Iterator[bytes]:
    """Cut a stream at every `LARGEST_PIECE` bytes; the remainder is one piece."""
    rest = b""
    for data in stream:
        rest += data
        cuttable = len(rest) - len(rest) % LARGEST_PIECE
        for start in range(0, cuttable, LARGEST_PIECE):
            yield rest[start : start + LARGEST_PIECE]
        rest = rest[cuttable:]
    if rest:
        yield rest
