"""Tries parameters of content-defined boundaries on several kinds of data.

    PYTHONPATH=src python3 -m benchmarks.boundaries [--mib N] [--results DIR]

Everything happens in this process, with the worker's own spans, frames and cut, at level 3: what
an edit sends again is counted and not timed. Needs the packages of `tools/requirements`, and
`mkfs.ext4`.
"""

from __future__ import annotations

import argparse
import hashlib
import io
import subprocess
import sys
import tempfile
import time
from bisect import bisect_right
from pathlib import Path
from random import Random
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

import zstandard

from benchmarks.data import KIB, LIBRARIES, MIB, regular_files, write_tar
from store_workers.stream import boundaries
from store_workers.stream.assembly import Assembler
from store_workers.stream.codec_threads import CodecThreads
from store_workers.stream.compression import CompressedSpan, frame_maker
from store_workers.stream.spans import ContentSpans, FixedSpans

CHUNK_SIZE = 512 * KIB
LEVEL = 3
SHAPES = [
    (256, 512, 4096, 1),
    (256, 768, 4096, 1),
    (256, 1024, 4096, 1),
    (256, 1024, 4096, 2),
    (256, 1024, 4096, 3),
    (512, 2048, 4096, 1),
]
"""KiB of the shortest span, the center and the longest, and the normalization."""

OWN = (256, 768, 4096, 1)
"""Those of the worker."""

DELETIONS = 40
LOOK_AHEAD = 40 * MIB
RESYNC = "until the old boundaries are found again"


# The data: what people keep versions of.


def libraries(size: int) -> bytes:
    """A tar of system libraries."""
    file = io.BytesIO()
    write_tar(file, LIBRARIES, size)
    return file.getvalue()


def dump(size: int) -> bytes:
    """A database's dump: rows of SQL, each with a number that counts up."""
    chance = Random(1)
    words = [chance.randbytes(chance.randrange(2, 6)).hex() for _ in range(4000)]
    rows: list[str] = []
    length = 0
    while length < size:
        text = " ".join(chance.choices(words, k=chance.randrange(3, 20)))
        price, when = chance.random() * 1000, 1_600_000_000 + 37 * len(rows)
        rows.append(f"INSERT INTO orders VALUES ({len(rows)},'{text}',{price:.2f},{when},NULL);\n")
        length += len(rows[-1])
    return "".join(rows).encode()[:size]


def disk_image(size: int) -> bytes:
    """An ext4 file system with files in it, three quarters full."""
    with tempfile.TemporaryDirectory() as folder:
        content, image = Path(folder, "content"), Path(folder, "image")
        content.mkdir()
        filled = 0
        for number, path in enumerate(regular_files(Path("/usr/share"))):
            data = path.read_bytes()
            (content / str(number % 50)).mkdir(exist_ok=True)
            (content / str(number % 50) / str(number)).write_bytes(data)
            filled += len(data) + 2 * KIB
            if filled > size * 3 // 4:
                break
        command = ["mkfs.ext4", "-q", "-d", str(content), str(image), f"{size // KIB}k"]
        subprocess.run(command, check=True, capture_output=True)
        return image.read_bytes()


def archive(size: int) -> bytes:
    """What is compressed already: a third as long."""
    return zstandard.ZstdCompressor(level=1).compress(libraries(size))


KINDS: dict[str, Callable[[int], bytes]] = {
    "tar of libraries": libraries,
    "database dump": dump,
    "disk image": disk_image,
    "compressed archive": archive,
}


# The edits.


def exchanged(data: bytes) -> bytes:
    """Two blocks, each a tenth of the data, have changed places."""
    tenth = len(data) // 10
    first, second = data[tenth : 2 * tenth], data[6 * tenth : 7 * tenth]
    return b"".join((data[:tenth], second, data[2 * tenth : 6 * tenth], first, data[7 * tenth :]))


MIDDLE = 0.5
EDITS: dict[str, Callable[[bytes], bytes]] = {
    "100 B inserted": lambda data: _spliced(data, len(data) // 2, 0, b"x" * 100),
    "4 B overwritten at 100": lambda data: _spliced(data, 100, 4, b"\xff\x00\xff\x00"),
    "1 MiB deleted": lambda data: _spliced(data, len(data) // 3, MIB, b""),
    "10 KiB in front": lambda data: Random(3).randbytes(10 * KIB) + data,
    "10 KiB behind": lambda data: data + Random(4).randbytes(10 * KIB),
    "two tenths exchanged": exchanged,
}


def _spliced(data: bytes, place: int, without: int, new: bytes) -> bytes:
    return b"".join((data[:place], new, data[place + without :]))


# Uploads that are only counted.


class Memory:
    """A source of bytes in memory."""

    def __init__(self, data: bytes) -> None:
        self._left = memoryview(data)

    def fill(self, buffer: memoryview) -> int:
        """Give the next bytes."""
        count = min(len(buffer), len(self._left))
        buffer[:count] = self._left[:count]
        self._left = self._left[count:]
        return count


class Uploads:
    """Makes chunks of data; the frame of a span that was seen before is remembered."""

    def __init__(self, *, by_content: bool) -> None:
        self._by_content = by_content
        self._compress = frame_maker(LEVEL, verify=False, threads=CodecThreads(1))()
        self._frames: dict[bytes, CompressedSpan] = {}
        self.spans = 0

    def chunks(self, data: bytes) -> dict[str, int]:
        """Return the sizes of the chunks by their hashes."""
        source = Memory(data)
        find = boundaries.boundary_finder
        spans = ContentSpans(source, find()) if self._by_content else FixedSpans(source)
        assembler = Assembler(CHUNK_SIZE, cut_by_frame=self._by_content)
        buffer, number = spans.buffer(), 0
        found: dict[str, int] = {}
        while not spans.ended:
            span = spans.read(buffer)
            if span or not number:
                for cuts in assembler.add(number, self._frame(span)):
                    found.update(hashed(pieces for _, pieces in cuts))
                number += 1
        found.update(hashed(pieces for _, pieces in assembler.finish()))
        self.spans = number
        return found

    def _frame(self, span: memoryview) -> CompressedSpan:
        key = hashlib.blake2b(span, digest_size=16).digest()
        if key not in self._frames:
            self._frames[key] = self._compress(span)
        return self._frames[key]


def hashed(chunks: Iterable[list[memoryview]]) -> dict[str, int]:
    """Return the size of each chunk by its hash."""
    joined = [b"".join(pieces) for pieces in chunks]
    return {hashlib.sha256(chunk).hexdigest(): len(chunk) for chunk in joined}


def use(shape: tuple[int, int, int, int]) -> None:
    """Use the worker's code with other parameters."""
    shortest, center, longest, boundaries.NORMALIZATION = shape
    boundaries.SHORTEST, boundaries.CENTER = shortest * KIB, center * KIB
    boundaries.LONGEST = longest * KIB


def lengths_of_doubt(data: bytes) -> list[int]:
    """Delete 1 MiB at many places: how many bytes are in other spans than before, each time."""
    find = boundaries.boundary_finder()
    ends = [0]
    while ends[-1] < len(data):
        ends.append(ends[-1] + find(memoryview(data)[ends[-1] :]))
    known, chance, found = set(ends), Random(5), []
    for _ in range(DELETIONS):
        place = chance.randrange(len(data) // 2)
        start = ends[bisect_right(ends, place) - 1]
        edited = memoryview(_spliced(data[start : place + LOOK_AHEAD], place - start, MIB, b""))
        at = 0
        while at < len(edited) - boundaries.LONGEST:
            at += find(edited[at:])
            if at > place - start and start + at + MIB in known:
                break
        found.append(at)
    return sorted(found)


def row(label: str, data: bytes, *, by_content: bool) -> tuple[str, int, float]:
    """Return a row of the table, the bytes that are stored, and the seconds they took."""
    uploads = Uploads(by_content=by_content)
    began = time.process_time()
    first = uploads.chunks(data)
    seconds = time.process_time() - began
    spans = uploads.spans
    sent = []
    for edit in EDITS.values():
        again = uploads.chunks(edit(data))
        sent.append(sum(size for hash, size in again.items() if hash not in first))
    cells = [
        label,
        f"{spans * (1 << 30) // len(data)}",
        f"{len(first) * (1 << 30) // len(data)}",
        "{size}",
        "{time}",
        *(f"{count / MIB:.2f}" for count in sent),
    ]
    if by_content:
        doubt = lengths_of_doubt(data)
        places = (DELETIONS // 2, DELETIONS * 9 // 10, -1)
        cells.append(" / ".join(f"{doubt[place] / MIB:.1f}" for place in places))
    else:
        cells.append("all")
    return " | ".join(cells), sum(first.values()), seconds


def table(kind: str, data: bytes) -> str:
    """Return the table of one kind of data."""
    head = [
        "parameters",
        "spans per GiB",
        "chunks per GiB",
        "stored",
        "processor time",
        *EDITS,
        RESYNC,
    ]
    lines = ["| " + " | ".join(head) + " |", "| --- " * len(head) + "|"]
    fixed, size, seconds = row("fixed, 2 MiB", data, by_content=False)
    lines.append(f"| {fixed.format(size='1', time='1')} |")
    for shape in SHAPES:
        use(shape)
        label = "{} / {} / {} KiB, {}".format(*shape)
        label = f"**{label}**" if shape == OWN else label
        cells, own, own_seconds = row(label, data, by_content=True)
        ratios = {"size": f"{own / size:.3f}", "time": f"{own_seconds / seconds:.2f}"}
        lines.append(f"| {cells.format(**ratios)} |")
        print(lines[-1], file=sys.stderr, flush=True)
    return f"## {kind}, {len(data) // MIB} MiB\n\n" + "\n".join(lines) + "\n"


HEAD = """# Content-defined boundaries

Parameters of FastCDC (shortest span / center / longest, normalization) against fixed spans, at \
level 3, in chunks of 512 KiB: spans and chunks per GiB, what is stored and the processor time as \
ratios to fixed, and for each edit the MiB that are sent again. Last: 1 MiB is deleted at 40 \
places; the MiB of content in changed spans (median / 90th percentile / maximum).

The worker uses 256 / 768 / 4096 KiB, 1. With a higher normalization, the lengths of spans vary \
less, and an insertion costs less; but after a deletion it can take long until the old boundaries \
are found again. Smaller spans find them sooner, and cost up to three times as many requests as \
fixed ones. "Stored" is below 1 where the data holds the same files twice. A single measurement \
of the processor time: on a busy machine, its error is up to 20 %.

Written by `benchmarks/boundaries.py --results benchmarks/results`.

"""


def main(arguments: list[str]) -> int:
    """Try all parameters on all kinds of data."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--mib", type=int, default=200, help="of each kind of data")
    parser.add_argument("--results", type=Path, metavar="DIR", help="write boundaries.md there")
    options = parser.parse_args(arguments)
    page = HEAD + "\n".join(table(kind, make(options.mib * MIB)) for kind, make in KINDS.items())
    if options.results:
        (options.results / "boundaries.md").write_text(page, encoding="utf-8")
    else:
        print(page)
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
