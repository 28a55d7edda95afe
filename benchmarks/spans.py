"""How long a frame's span should be: uploads with other spans than the worker's own.

As a program it is such an upload, run from source: `python benchmarks/spans.py BYTES <MESSAGE`.
"""

from __future__ import annotations

import sys
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from benchmarks.measuring import Bench, Quartiles, Work

KIB = 1 << 10
SPANS = tuple(KIB << exponent for exponent in range(8, 14))  # 256 KiB to 8 MiB
OWN = 1024 * KIB


@dataclass(frozen=True)
class Span:
    """What a span costs and gains, against the worker's own.

    Args:
        label: its length, for people.
        time: of an upload, as a ratio.
        size: of what is stored, as a ratio.
        size_against_zstd: the same, as a ratio to what zstd alone makes of the file.
        peak: the most memory of a run, in bytes.
    """

    label: str
    time: Quartiles
    size: float
    size_against_zstd: float
    peak: int


def compare(
    bench: Bench, upload: Work, zstd: Work, environ: dict[str, str], rounds: int
) -> list[Span]:
    """Run an upload with each span, in turn; zstd tells what it makes of the same file."""
    from benchmarks.worker import last_event

    works = [
        replace(
            upload,
            name=label(span),
            command=[sys.executable, str(Path(__file__).resolve()), str(span)],
            environ=environ,
        )
        for span in SPANS
    ]
    found = bench.in_turn(works, rounds)
    sizes = {
        name: last_event(samples[0])["compressed_size"] for name, samples in found.samples.items()
    }
    own, alone = label(OWN), len(bench.run(replace(zstd, listen=True)).output)
    return [
        Span(name, found.ratio(name, own), size / sizes[own], size / alone, found.peak(name))
        for name, size in sizes.items()
    ]


def label(span: int) -> str:
    """Write a span's length."""
    return f"{span // KIB} KiB" if span < OWN else f"{span // KIB // 1024} MiB"


def main(span: int) -> None:
    """Be the worker with another span; does not return."""
    from store_workers import __main__
    from store_workers.stream import spans

    spans.FRAME_SPAN = span
    del sys.argv[1:]  # the worker takes none
    __main__.main()


if __name__ == "__main__":
    main(int(sys.argv[1]))
