"""What runs import, told by `-X importtime`: in the artifact, and from a virtual environment."""

from __future__ import annotations

import re
import statistics
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence

    from benchmarks.measuring import Bench, Work

SOURCES = Path(__file__).resolve().parent.parent / "src"
FROM_SOURCE = "from store_workers.__main__ import main; main()"
LINE = re.compile(rb"import time:\s+(\d+) \|\s+\d+ \|\s*(\S+)")


@dataclass(frozen=True)
class Imports:
    """How many modules a run imports, and the milliseconds that they take themselves.

    Args:
        name: the run's.
        before_count, before_ms: from a virtual environment, libraries as they come.
        after_count, after_ms: in the artifact.
    """

    name: str
    before_count: int
    before_ms: float
    after_count: int
    after_ms: float


def compare(bench: Bench, works: Sequence[Work], rounds: int) -> list[Imports]:
    """Count the imports of some works of the artifact, there and from source."""
    environ = source_environ(bench.folder)
    found = []
    for work in works:
        ours = [bench.python, "-X", "importtime", *work.command[1:]]
        theirs = [sys.executable, "-X", "importtime", "-c", FROM_SOURCE]
        before = median(bench, work, theirs, environ, rounds)
        after = median(bench, work, ours, {}, rounds)
        found.append(Imports(work.name, *before, *after))
    return found


def source_environ(folder: Path) -> dict[str, str]:
    """Return the variables of a run from source that leaves nothing in the source tree."""
    return {"PYTHONPATH": str(SOURCES), "PYTHONPYCACHEPREFIX": str(folder / "pycache")}


def median(
    bench: Bench, work: Work, command: list[str], environ: dict[str, str], rounds: int
) -> tuple[int, float]:
    """Return the number of modules and the median of their milliseconds."""
    idle = [*command[:3], "-c", "pass"]
    counts: list[int] = []
    sums: list[float] = []
    for _ in range(rounds + 1):
        work.prepare()
        own = imported(bench, command, work.message, environ)
        for name in imported(bench, idle, b"", environ):
            own.pop(name, None)
        counts.append(len(own))
        sums.append(sum(own.values()) / 1000)
    return counts[-1], statistics.median(sums[1:])  # the first may have compiled the sources


def imported(
    bench: Bench, command: list[str], message: bytes, environ: dict[str, str]
) -> dict[str, int]:
    """Return the microseconds of each module that a command imports."""
    done = subprocess.run(
        command, input=message, capture_output=True, check=False, env=bench.environ(environ)
    )
    return parse(done.stderr)


def parse(told: bytes) -> dict[str, int]:
    """Read what `-X importtime` prints: each module's own microseconds."""
    return {match[2].decode(): int(match[1]) for match in LINE.finditer(told)}
