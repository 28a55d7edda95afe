"""A manifest back to the list of a file's chunks, read with suspicion: anybody may have made it.

What is not a manifest, does not hold what its first line says, or is nested too deep is
`STREAM_CORRUPT`, before anything else is done with the list. Memory: 36 bytes for each chunk that
is listed, and one frame of text.
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
"""Levels of manifests; each holds thousands of times what the one above it does."""

MOST_CHUNKS = 1 << 26
"""Chunks that a list may name: 32 TiB in the smallest of them, and 2.4 GiB of memory."""

PARSED_AT_ONCE = 128 * 1024
"""Bytes of text that are taken apart at once: that takes some ten times as much memory."""

LONGEST_HEADER = 4096
_LINE = re.compile(rb"([0-9a-f]{64}) ([1-9][0-9]{0,6})\n")
_LINE_WITHOUT_SIZE = 66
_LONGEST_LINE = _LINE_WITHOUT_SIZE + 7


class Manifest:
    """What a manifest says of a file, and the chunks that it lists."""

    __slots__ = ("chunks", "header")

    def __init__(self, header: Header, chunks: ChunkList) -> None:
        self.header = header
        self.chunks = chunks


def read_manifest(name: str, fetch: Fetch) -> Manifest:
    """Read the list of a file's chunks by the hash that names it.

    `fetch` gives the chunks of a list in order, each checked by its hash. Raises `StreamCorrupt`.
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
    """Pass on the chunks of a list, each of which must be as long as the list says.

    They are those from number `first` on.
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
        try:
            content = decompress(b"".join(frame.pieces), frame.content_size or 0)
        except CodecError as error:
            raise StreamCorrupt(f"a frame cannot be decoded: {error}") from None
        for start in range(0, len(content), PARSED_AT_ONCE):
            text.feed(content[start : start + PARSED_AT_ONCE])
    if reader.doubt is not None:
        raise StreamCorrupt("its text does not end in a seek table")
    text.finish()
    return text


class _Text:
    """The text of one level as it comes in: `size` counts its bytes."""

    header: Header

    def __init__(self) -> None:
        self.chunks = ChunkList()
        self.size = 0
        self._total = 0
        self._rest = b""
        self._begun = False

    def feed(self, text: bytes) -> None:
        """Take the next bytes."""
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
        """See to it that the text was whole, and held what its first line says."""
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
    """Decode a first line; fields that a later version added are passed over."""
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
