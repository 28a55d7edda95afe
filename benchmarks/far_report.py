"""What `far.py` measured, as a page with a chart; the figures themselves are kept as JSON."""

from __future__ import annotations

import json
import statistics
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING

from benchmarks.chart import Bar, draw
from benchmarks.measuring import Quartiles

if TYPE_CHECKING:
    from pathlib import Path
    from typing import TypeAlias

    Runs: TypeAlias = dict[str, dict[str, list[float]]]  # seconds by work and direction

WORKER, S5CMD, RCLONE = "worker", "s5cmd", "rclone"
UP, DOWN = "up", "down"
PEERS, BESIDE_FIXED, COMPRESSIBLE = "peers", "fixed", "compressible"
TITLES = {
    PEERS: "Random bytes, beside other programs",
    COMPRESSIBLE: "A tar of libraries, beside other programs",
    BESIDE_FIXED: "Random bytes, beside fixed values of `concurrency`",
}
PREFACE = """\
Written by `benchmarks/far.py`. Transfers to and from the S3 gateway of SeaweedFS through a proxy \
that delays and limits. All programs run with their defaults, as whole processes, in turn. Figures \
are medians; a ratio is the median of the ratios of each round."""


@dataclass(frozen=True)
class Measured:
    """The runs over one line.

    Args:
        compared: one of the keys of `TITLES`.
        line: round trip and rate, as `MS:MBIT`.
        mib: the file's size.
        runs: seconds by work and direction, one for each round.
        date: the day of the runs.
    """

    compared: str
    line: str
    mib: int
    runs: Runs
    date: str

    @property
    def title(self) -> str:
        """The line in words."""
        delay, rate = self.line.split(":")
        return f"{delay} ms, {rate} Mbit/s"

    def ratios(self, work: str, way: str) -> list[float]:
        """The worker's time over another's, round by round."""
        pairs = zip(self.runs[WORKER][way], self.runs[work][way], strict=True)
        return [ours / theirs for ours, theirs in pairs]

    def best(self, way: str) -> str:
        """The quickest of the works beside the worker."""
        others = [work for work in self.runs if work != WORKER]
        return min(others, key=lambda work: statistics.median(self.runs[work][way]))

    def table(self) -> list[str]:
        """The medians, and the worker's time over the others'."""
        rounds = len(self.runs[WORKER][UP])
        lines = [
            f"{self.title}, {self.mib} MiB, {rounds} rounds ({self.date})",
            "",
            "| | upload | download | worker / it, upload | download |",
            "| --- | --- | --- | --- | --- |",
        ]
        for work, ways in self.runs.items():
            cells = [f"{statistics.median(ways[way]):.2f} s" for way in (UP, DOWN)]
            for way in (UP, DOWN):
                ratio = statistics.median(self.ratios(work, way))
                cells.append("" if work == WORKER else f"{ratio:.2f}")
            lines.append(f"| {' | '.join([work, *cells])} |")
        return lines


def add(folder: Path, measured: Measured) -> None:
    """Put a line's figures in the place of its former ones, and write page and chart anew."""
    file = folder / "far.json"
    known = json.loads(file.read_text(encoding="utf-8")) if file.exists() else []
    everything = {(one.compared, one.line): one for one in (Measured(**each) for each in known)}
    everything[measured.compared, measured.line] = measured
    listed = sorted(everything.values(), key=order)
    text = json.dumps([asdict(each) for each in listed], indent=1)
    file.write_text(text + "\n", encoding="utf-8")
    (folder / "far.md").write_text(page(listed), encoding="utf-8")
    bars = [bar for each in listed for bar in bars_of(each)]
    if bars:
        note = "the worker's time, in times of s5cmd's; less is better"
        chart = draw("A distant S3 store", note, bars)
        (folder / "far.svg").write_text(chart, encoding="utf-8")


def order(measured: Measured) -> tuple[int, int, int]:
    """Where a line's figures stand on the page."""
    delay, rate = (int(part) for part in measured.line.split(":"))
    return list(TITLES).index(measured.compared), delay, rate


def page(listed: list[Measured]) -> str:
    """The whole page."""
    parts = ["# Distant stores", "", PREFACE]
    for compared, title in TITLES.items():
        chosen = [each for each in listed if each.compared == compared]
        if chosen:
            parts += ["", f"## {title}"]
        if compared == BESIDE_FIXED and chosen:
            parts += ["", *against_best(chosen)]
            continue
        for each in chosen:
            parts += ["", *each.table()]
    return "\n".join([*parts, ""])


def against_best(chosen: list[Measured]) -> list[str]:
    """A row for each line: the worker's time over that of the best fixed number."""
    lines = [
        "| line | size | upload | best fixed | ratio | download | best fixed | ratio |",
        "| --- | --- | --- | --- | --- | --- | --- | --- |",
    ]
    for each in chosen:
        cells = [each.title, f"{each.mib} MiB"]
        for way in (UP, DOWN):
            best = each.best(way)
            ours, theirs = (statistics.median(each.runs[work][way]) for work in (WORKER, best))
            cells += [f"{ours:.2f} s", f"{theirs:.2f} s ({best})", f"{ours / theirs:.2f}"]
        lines.append(f"| {' | '.join(cells)} |")
    return lines


def bars_of(measured: Measured) -> list[Bar]:
    """The bars of a line that was measured beside s5cmd."""
    if S5CMD not in measured.runs:
        return []
    data = ", tar" if measured.compared == COMPRESSIBLE else ""
    return [
        Bar(f"{measured.title}{data}, {word}", Quartiles.of(measured.ratios(S5CMD, way)), ours=True)
        for way, word in ((UP, "upload"), (DOWN, "download"))
    ]
