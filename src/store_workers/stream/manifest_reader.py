"""Reads manifests. They are not trusted: anybody can make one.

What is not a manifest, contradicts its first line, or is nested too deeply is `STREAM_CORRUPT`,
before the list is used. Memory: 36 bytes per listed chunk, and one frame of text.
"""

from __future__ import annotations

import re

from store_workers.errors import BadMessage, StreamCorrupt
from store_workers.stream.chunk_list import ChunkList
from store_workers.stream.chunk_stream import ChunkStream
from store_workers.stream.codec import CodecError, frame_decompressor
from store_workers.stream.frames import FrameReader
from store_workers.stream.manifest import Header, Listed
from store_workers.wire.reader import decode_json

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

    Fetch = Callable[[ChunkList], Iterable[bytes]]

DEEPEST = 8
"""Maximum number of levels; each lists thousands of times as many chunks as the one above it."""

MOST_CHUNKS = 1 << 26
"""Maximum number of listed chunks: 32 TiB in chunks of the default size, and 2.4 GiB of memory."""

PARSED_AT_ONCE = 128 * 1024
"""Bytes of text that are parsed at once, which takes some ten times as much memory."""

LONGEST_HEADER = 4096
_LINE = re.compile(rb"([0-9a-f]{64}) ([1-9][0-9]{0,6})\n")
_LINE_WITHOUT_SIZE = 66
_LONGEST_LINE = _LINE_WITHOUT_SIZE + 7


class Manifest:
    """The first line of a manifest, and the chunks that it lists."""

    __slots__ = ("chunks", "header")

    def __init__(self, header: Header, chunks: ChunkList) -> None:
        self.header = header
        self.chunks = chunks


def read_manifest(name: str, fetch: Fetch) -> Manifest:
    """Read the list of a file's chunks by the hash of its manifest.

    `fetch` yields the chunks of a list in order, each checked against its hash. Raises
    `StreamCorrupt`.
    """
    try:
        return _read_levels(name, fetch)
    except StreamCorrupt as corrupt:
        corrupt.hash = name
        corrupt.message = f"not a complete manifest: {corrupt.message}"
        raise


def _read_levels(name: str, fetch: Fetch) -> Manifest:
    pieces = ChunkList()
    pieces.extend(bytes.fromhex(name), [0])
    found = _read_text(fetch(pieces))
    for _ in range(DEEPEST - 1):
        if found.header.of is Listed.FILE:
            return Manifest(found.header, found.chunks)
        text = _read_text(sized(fetch(found.chunks), found.chunks))
        if text.size != found.header.size:
            raise StreamCorrupt(
                f"a level of it has {text.size} bytes, but {found.header.size} according to the"
                " level above"
            )
        found = text
    raise StreamCorrupt(f"it is nested more than {DEEPEST} levels deep")


def sized(fetched: Iterable[bytes], chunks: ChunkList, first: int = 0) -> Iterator[bytes]:
    """Yield the chunks of a list, and check that each has the listed size.

    `first` is the index of the first one.
    """
    for index, chunk in enumerate(fetched, first):
        if len(chunk) != chunks.size(index):
            raise StreamCorrupt(
                f"chunk {index} has {len(chunk)} bytes, but {chunks.size(index)} in its list"
            )
        yield chunk


def _read_text(chunks: Iterable[bytes]) -> _Text:
    text = _Text()
    decompress = frame_decompressor()
    reader = FrameReader(ChunkStream(chunks))
    for frame in reader:
        if frame.pieces is None:
            raise StreamCorrupt("a frame of its text is larger than any that a worker makes")
        content = bytearray(frame.content_size or 0)
        try:
            decompress(b"".join(frame.pieces), memoryview(content))
        except CodecError as error:
            raise StreamCorrupt(f"a frame cannot be decoded: {error}") from None
        for start in range(0, len(content), PARSED_AT_ONCE):
            text.feed(bytes(content[start : start + PARSED_AT_ONCE]))
    if reader.doubt is not None:
        raise StreamCorrupt("its text does not end in a seek table")
    text.finish()
    return text


class _Text:
    """Parses the text of one level as it arrives; `size` counts its bytes."""

    header: Header

    def __init__(self) -> None:
        self.chunks = ChunkList()
        self.size = 0
        self._total = 0
        self._rest = b""
        self._begun = False

    def feed(self, text: bytes) -> None:
        """Parse the next bytes."""
        self.size += len(text)
        text = self._rest + text
        if not self._begun:
            line, newline, text = text.partition(b"\n")
            if not newline and len(line) <= LONGEST_HEADER:
                self._rest = line
                return
            self.header = _header(line)
            self._begun = True
        end = text.rfind(b"\n") + 1
        self._rest = text[end:]
        if len(self._rest) > _LONGEST_LINE:
            raise StreamCorrupt("a line is not a hash with a size")
        self._take(text[:end])

    def finish(self) -> None:
        """Check that the text was complete, and agrees with its first line."""
        if not self._begun or self._rest:
            raise StreamCorrupt("its text ends in the middle of a line")
        header = self.header
        if (len(self.chunks), self._total) != (header.chunks, header.compressed_size):
            raise StreamCorrupt(
                f"it lists {len(self.chunks)} chunks with {self._total} bytes, but its first line"
                f" says {header.chunks} chunks with {header.compressed_size} bytes"
            )

    def _take(self, lines: bytes) -> None:
        rows = _LINE.findall(lines)
        if len(rows) * _LINE_WITHOUT_SIZE + sum(len(size) for _, size in rows) != len(lines):
            raise StreamCorrupt("a line is not a hash with a size")
        sizes = [int(size) for _, size in rows]
        if max(sizes, default=0) > self.header.chunk_size:
            raise StreamCorrupt("it lists a chunk larger than its first line allows")
        if len(self.chunks) + len(rows) > self.header.chunks:
            raise StreamCorrupt("it lists more chunks than its first line says")
        self._total += sum(sizes)
        self.chunks.extend(bytes.fromhex(b"".join(hash for hash, _ in rows).decode()), sizes)


def _header(line: bytes) -> Header:
    """Decode a first line; unknown fields of later versions are ignored."""
    if len(line) > LONGEST_HEADER or not line.startswith(b"{"):
        raise StreamCorrupt("its first line is not a JSON object")
    try:
        value = decode_json(line.decode("utf-8"))
        header = Header.decode({name: value[name] for name in Header.FIELDS if name in value})
    except UnicodeDecodeError:
        raise StreamCorrupt("its first line is not valid UTF-8") from None
    except BadMessage as bad:
        raise StreamCorrupt(f"its first line is not valid: {bad.message}") from None
    if header.chunks > MOST_CHUNKS:
        raise StreamCorrupt(
            f"it claims {header.chunks} chunks, and at most {MOST_CHUNKS} are supported"
        )
    return header
