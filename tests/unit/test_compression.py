"""Frames of fixed spans: independent of the number of threads, in order, bounded, verified."""

from __future__ import annotations

import hashlib
import threading
from random import Random
from typing import TYPE_CHECKING

import pytest
import zstandard

from store_workers.errors import ErrorCode, WorkerError
from store_workers.stream import compression, spans
from store_workers.stream.codec import frame_compressor
from store_workers.stream.codec_threads import CodecThreads
from store_workers.stream.compression import (
    CompressedSpan,
    ParallelCompressor,
    frame_maker,
    span_compressor,
)
from store_workers.stream.frames import LARGEST_WHOLE
from store_workers.stream.spans import FRAME_SPAN, FixedSpans
from store_workers.threads import Abandoned, ThreadGroup
from tests.unit.in_process import TIMEOUT, beside

if TYPE_CHECKING:
    from collections.abc import Callable

SPAN = 10_000


class Content:
    """A source in memory; `reads` counts the requested spans."""

    def __init__(self, content: bytes, error_after: int | None = None) -> None:
        self._left = memoryview(content)
        self._error_after = error_after
        self._reading = threading.Lock()
        self.reads = 0

    def fill(self, buffer: memoryview) -> int:
        assert self._reading.acquire(blocking=False), "two threads read at once"
        if self.reads == self._error_after:
            raise WorkerError(ErrorCode.FILE_READ_FAILED, "input/output error")
        self.reads += 1
        count = min(len(buffer), len(self._left))
        buffer[:count] = self._left[:count]
        self._left = self._left[count:]
        self._reading.release()
        return count


@pytest.fixture
def small_spans(monkeypatch: pytest.MonkeyPatch) -> None:
    """Spans that are cheap to compress at any level."""
    monkeypatch.setattr(spans, "FRAME_SPAN", SPAN)


def text(size: int, seed: int = 1) -> bytes:
    chance = Random(seed)
    words = [chance.randbytes(5).hex().encode() for _ in range(50)]
    return b" ".join(chance.choices(words, k=size // 11 + 1))[:size]


def compress(
    source: Content,
    *,
    threads: int = 2,
    level: int = 3,
    verify: bool = False,
    then: Callable[[CompressedSpan], None] = lambda _frame: None,
) -> list[CompressedSpan]:
    """Compress a source to its frames, in order; raises what any of the threads failed with."""
    group = ThreadGroup()
    frames: dict[int, CompressedSpan] = {}
    work = ParallelCompressor(
        FixedSpans(source), frame_maker(level, verify, CodecThreads(threads)), 2 * threads, group
    )

    def go_through() -> None:
        for number, frame in work.frames():
            frames[number] = frame
            then(frame)
            work.done()

    try:
        for _ in range(threads - 1):
            group.start(go_through, "compress")
        go_through()
        work.finish()
    except Abandoned:
        assert group.failure is not None
        raise group.failure from None
    finally:
        group.fail(Abandoned())
    assert sorted(frames) == list(range(len(frames)))
    return [frames[number] for number in range(len(frames))]


def test_the_span_is_one_that_is_decoded_whole() -> None:
    assert FRAME_SPAN <= LARGEST_WHOLE
    assert FRAME_SPAN % (128 * 1024) == 0


@pytest.mark.parametrize("size", [0, 1, SPAN - 1, SPAN, SPAN + 1, 10 * SPAN, 10 * SPAN + 17])
@pytest.mark.parametrize("threads", [1, 2, 5])
@pytest.mark.usefixtures("small_spans")
def test_each_span_is_one_frame(size: int, threads: int) -> None:
    content = text(size)
    frames = compress(Content(content), threads=threads)
    assert [frame.size for frame in frames] == [
        len(content[start : start + SPAN]) for start in range(0, max(size, 1), SPAN)
    ]
    decoder = zstandard.ZstdDecompressor()
    assert b"".join(decoder.decompress(frame.data) for frame in frames) == content


@pytest.mark.parametrize("level", range(1, 20))
@pytest.mark.usefixtures("small_spans")
def test_bytes_depend_on_content_and_level_alone(level: int) -> None:
    content = text(5 * SPAN + 3) + Random(2).randbytes(3 * SPAN)
    by_threads = [
        [frame.data for frame in compress(Content(content), threads=threads, level=level)]
        for threads in (1, 2, 5)
    ]
    spans = [content[start : start + SPAN] for start in range(0, len(content), SPAN)]
    fresh = [frame_compressor(level)(memoryview(span)) for span in spans]
    used = frame_compressor(level)
    for span in reversed(spans):
        used(memoryview(span))
    again = [used(memoryview(span)) for span in spans]
    assert by_threads == [fresh, fresh, fresh]
    assert again == fresh


def test_levels_differ() -> None:
    content = memoryview(text(200_000))
    assert len({frame_compressor(level)(content) for level in (1, 3, 9, 19)}) == 4


def test_frames_of_the_real_span_have_size_and_checksum() -> None:
    content = text(FRAME_SPAN + 5)
    frames = compress(Content(content))
    assert [frame.size for frame in frames] == [FRAME_SPAN, 5]
    for frame in frames:
        parameters = zstandard.get_frame_parameters(frame.data)
        assert parameters.content_size == frame.size
        assert parameters.has_checksum
        assert frame.checksum == int.from_bytes(frame.data[-4:], "little")


@pytest.mark.parametrize(
    ("level", "digest"),
    [
        (1, "8a952d6db9c060a7"),
        (3, "e148edb4b87c2c6f"),
        (19, "e1607ee4b130c957"),
    ],
)
def test_the_bytes_of_the_stored_form_stay_what_they_are(level: int, digest: str) -> None:
    """They decide every hash: with other values, no stored chunk would be found again."""
    content = b"".join(b"line %d of a text that compresses\n" % (n * n) for n in range(9000))
    frame = frame_compressor(level)(memoryview(content))
    assert hashlib.sha256(frame).hexdigest()[:16] == digest


NOISE = Random(6).randbytes(FRAME_SPAN)


def test_noise_is_not_searched_for_matches() -> None:
    """Spans whose samples do not compress are stored with hardly more bytes than before."""
    compress, plain = span_compressor(3), frame_compressor(3)
    made = compress(memoryview(NOISE))
    assert made == frame_compressor(compression.NOISE_LEVEL)(memoryview(NOISE))
    assert zstandard.ZstdDecompressor().decompress(made) == NOISE
    for content in (text(FRAME_SPAN), bytes(FRAME_SPAN), NOISE[:200_000], NOISE.hex().encode()):
        assert compress(memoryview(content)) == plain(memoryview(content))
    for level in (4, 9):
        some = NOISE[: compression.SAMPLE_FROM]
        assert span_compressor(level)(memoryview(some)) == frame_compressor(level)(memoryview(some))


@pytest.mark.parametrize("period", [4096, 70_001, 300_000])
def test_noise_that_is_repeated_is_found_all_the_same(period: int) -> None:
    content = (NOISE[:period] * (FRAME_SPAN // period + 1))[:FRAME_SPAN]
    found, plain = span_compressor(3)(memoryview(content)), frame_compressor(3)(memoryview(content))
    assert len(found) <= 1.02 * len(plain)


def test_a_part_that_compresses_is_seen_in_the_sample() -> None:
    part = FRAME_SPAN // 8
    for start in range(0, FRAME_SPAN, part):
        content = NOISE[:start] + text(part) + NOISE[start + part :]
        assert span_compressor(3)(memoryview(content)) == frame_compressor(3)(memoryview(content))


@pytest.mark.usefixtures("small_spans")
def test_each_frame_is_given_once() -> None:
    content = bytearray()
    for number in range(60):
        # Spans that take very different times.
        content += Random(number).randbytes(SPAN) if number % 3 else bytes([number]) * SPAN
    handed: list[CompressedSpan] = []
    frames = compress(Content(bytes(content)), threads=5, then=handed.append)
    assert sorted(map(id, handed)) == sorted(map(id, frames))
    decoder = zstandard.ZstdDecompressor()
    assert b"".join(decoder.decompress(frame.data) for frame in frames) == content


@pytest.mark.parametrize("threads", [1, 3])
@pytest.mark.usefixtures("small_spans")
def test_whoever_consumes_slowly_makes_the_reader_wait(threads: int) -> None:
    source = Content(bytes(200 * SPAN))
    gate = threading.Event()

    def then(_frame: CompressedSpan) -> None:
        assert gate.wait(TIMEOUT)

    found: list[CompressedSpan] = []
    thread = beside(lambda: found.extend(compress(source, threads=threads, then=then)))
    thread.join(0.2)
    # Those that are read or compressed, in order or not, and have not been consumed.
    assert source.reads <= 2 * threads
    gate.set()
    thread.join(TIMEOUT)
    assert len(found) == 200


@pytest.mark.parametrize("threads", [1, 4])
@pytest.mark.parametrize("after", [0, 1, 7])
@pytest.mark.usefixtures("small_spans")
def test_an_error_of_the_source_ends_it(threads: int, after: int) -> None:
    with pytest.raises(WorkerError) as raised:
        compress(Content(bytes(20 * SPAN), error_after=after), threads=threads)
    assert raised.value.code is ErrorCode.FILE_READ_FAILED


@pytest.mark.parametrize("threads", [1, 4])
@pytest.mark.usefixtures("small_spans")
def test_an_error_of_the_consumer_ends_it(threads: int) -> None:
    def then(_frame: CompressedSpan) -> None:
        raise WorkerError(ErrorCode.STORE_REJECTED, "no")

    with pytest.raises(WorkerError, match="no"):
        compress(Content(bytes(20 * SPAN)), threads=threads, then=then)


# A compressor that lies, at the codec's seam.


def lying(change: Callable[[bytes], bytes]) -> Callable[[int], Callable[[memoryview], bytes]]:
    """A compressor with an error in every fourth frame."""
    count = iter(range(1_000_000))

    def make(level: int) -> Callable[[memoryview], bytes]:
        honest = frame_compressor(level)

        def compress(data: memoryview) -> bytes:
            made = honest(data)
            return change(made) if next(count) % 4 == 3 else made

        return compress

    return make


LIES: dict[str, Callable[[bytes], bytes]] = {
    "a flipped bit": lambda made: made[:20] + bytes([made[20] ^ 1]) + made[21:],
    "another content": lambda _made: frame_compressor(3)(memoryview(b"x" * SPAN)),
    "a shorter content": lambda _made: frame_compressor(3)(memoryview(bytes(SPAN - 1))),
    "cut short": lambda made: made[:-5],
    "more behind it": lambda made: made + b"x",
    "nothing": lambda _made: b"",
}


@pytest.mark.parametrize("lie", LIES)
@pytest.mark.parametrize("threads", [1, 3])
@pytest.mark.usefixtures("small_spans")
def test_verify_catches_a_compressor_that_lies(
    lie: str, threads: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(compression, "frame_compressor", lying(LIES[lie]))
    content = text(8 * SPAN)
    told: list[CompressedSpan] = []
    with pytest.raises(WorkerError) as raised:
        compress(Content(content), threads=threads, verify=True, then=told.append)
    assert raised.value.code is ErrorCode.INTERNAL
    decoder = zstandard.ZstdDecompressor()
    spans = [content[start : start + SPAN] for start in range(0, len(content), SPAN)]
    for frame in told:
        assert decoder.decompress(frame.data) in spans, "a lie was told"


@pytest.mark.usefixtures("small_spans")
def test_verify_changes_nothing_where_all_is_well() -> None:
    content = text(8 * SPAN + 3)
    plain = [frame.data for frame in compress(Content(content))]
    assert [frame.data for frame in compress(Content(content), verify=True)] == plain
    assert [frame.size for frame in compress(Content(b""), verify=True)] == [0]
