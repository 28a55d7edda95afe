"""What is fuzzed, by Hypothesis in every run of the tests, and by atheris on command.

A target takes any bytes and raises only where the worker broke a promise: an error without a code,
bytes that zstd itself would not have restored, memory without a bound.
"""

from __future__ import annotations

import io
import json
import os
from pathlib import Path
from typing import TYPE_CHECKING

import zstandard

from store_workers.errors import BadMessage, ErrorCode, StreamCorrupt, WorkerError
from store_workers.stores.location import locate
from store_workers.stream.chunk_stream import ChunkStream
from store_workers.stream.codec_threads import CodecThreads
from store_workers.stream.compression import frame_maker
from store_workers.stream.decompression import Output, decompress_stream
from store_workers.stream.manifest import Header, ManifestText
from store_workers.stream.manifest_reader import read_manifest
from store_workers.stream.seek_table import SeekTable
from store_workers.threads import Abandoned, ThreadGroup
from store_workers.wire.messages import MESSAGES, decode_message, message_id
from store_workers.wire.reader import MessageReader

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

CORPUS = Path(__file__).parent / "corpus"
LONGEST_CONTENT = 8 << 20
WINDOW = 128 << 20


def message(data: bytes) -> None:
    """Read, decode and locate a message: it is accepted, or refused in a sentence."""
    try:
        value = read_from_pipe(data)
        assert message_id(value) is None or isinstance(message_id(value), str)
        decoded = decode_message(value)
        locate(decoded, {"HOME": "/nonexistent"})
    except BadMessage as refusal:
        check_sentence(refusal.message)
        return
    # What was accepted says the same when it is told again.
    again = json.loads(json.dumps(decoded.encode(), default=lambda record: record.encode()))
    assert decode_message(again) == decoded
    assert type(decoded) is MESSAGES[decoded.type]
    os.fsencode(getattr(decoded, "path", None) or "")  # a command has none


def check_sentence(told: str) -> None:
    """A refusal is one line that any terminal can show."""
    assert told.isprintable(), repr(told)
    assert 0 < len(told) < 1000


def read_from_pipe(data: bytes) -> object:
    """Hand bytes to the reader as an owner does; at most what a pipe holds."""
    reading, writing = os.pipe()
    try:
        os.write(writing, data[:60_000])
        os.close(writing)
        return MessageReader(reading).first()
    finally:
        os.close(reading)


def stream(data: bytes) -> None:
    """Decode a stream, cut by its first bytes into chunks: never other bytes than zstd restores."""
    sizes, data = data[:4], data[4:]
    content = decoded(list(cut(data, sizes)))
    if content is not None:
        assert content == reference(data)


def cut(data: bytes, sizes: bytes) -> Iterator[bytes]:
    """Cut into pieces whose lengths are given in turn; none is empty."""
    position, turn = 0, 0
    while position < len(data):
        size = 1 + (sizes[turn % len(sizes)] << (turn % 3 * 4) if sizes else 999)
        yield data[position : position + size]
        position += size
        turn += 1


def decoded(chunks: list[bytes], *, vouched_only: bool = False) -> bytes | None:
    """Return what the worker's decoder makes of chunks, None where it refuses them.

    Args:
        chunks: the chunks, in order.
        vouched_only: refuse too what no seek table vouches for, as a run without size does.
    """
    written = bytearray()
    group = ThreadGroup()
    output = Output(written.extend, LONGEST_CONTENT)
    try:
        verified = decompress_stream(ChunkStream(chunks), output, CodecThreads(2), group) is None
    except (WorkerError, Abandoned) as failure:
        check_refusal(group.failure or failure)
        return None
    finally:
        group.fail(Abandoned())
    content = bytes(written)
    assert len(content) == output.size <= LONGEST_CONTENT
    return content if verified or not vouched_only else None


def check_refusal(failure: BaseException) -> None:
    """A stream is refused for its content alone."""
    assert isinstance(failure, WorkerError), repr(failure)
    assert failure.code in {ErrorCode.STREAM_CORRUPT, ErrorCode.FILE_MISMATCH}, failure


def reference(data: bytes) -> bytes:
    """Return what zstd's own streaming decoder restores; it raises where it refuses."""
    decompressor = zstandard.ZstdDecompressor(max_window_size=WINDOW)
    source = io.BytesIO(data)
    with decompressor.stream_reader(source, read_across_frames=True) as reader:
        return reader.read()


def manifest(data: bytes) -> None:
    """Read a manifest's text: what is taken says the same when it is written again."""
    try:
        found = read_manifest("0" * 64, lambda _chunks: [sealed_text(data)])
    except StreamCorrupt as refusal:
        check_sentence(refusal.message)
        return
    header, chunks = found.header, found.chunks
    assert header.chunks == len(chunks) > 0
    assert header.compressed_size == sum(chunks.sizes())
    text = b"".join(frame_contents(ManifestText(header, chunks).compressed()))
    assert text.partition(b"\n")[2] == data.partition(b"\n")[2]
    assert Header.decode(json.loads(text.partition(b"\n")[0])) == header


def sealed_text(text: bytes) -> bytes:
    """Return a text as the stream that a worker makes of it."""
    frame = frame_maker(3, verify=False, threads=CodecThreads(1))()(memoryview(text))
    table = SeekTable()
    table.add(len(frame.data), frame.size, frame.checksum)
    return frame.data + table.encode()


def frame_contents(frames: Iterable[bytes]) -> Iterator[bytes]:
    """Return what frames decode to."""
    return (reference(frame) for frame in frames)


TARGETS: dict[str, Callable[[bytes], None]] = {
    "message": message,
    "stream": stream,
    "manifest": manifest,
}


def corpus(name: str) -> list[Path]:
    """Return the stored inputs of a target: seeds, and whatever once broke a promise."""
    return sorted((CORPUS / name).iterdir())
