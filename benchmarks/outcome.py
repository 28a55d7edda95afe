"""What a suite found, as plain values: what the results' JSON holds and the tables show."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence

    from benchmarks.measuring import Quartiles, Rounds


@dataclass(frozen=True)
class Wanted:
    """A ratio that is compared: of one work's time to another's, and what it should be.

    Args:
        of: a work's name.
        against: another's of the same suite.
        limit: what the median must not exceed; None where nothing is asked for.
        at_least: the limit is what the median must reach instead.
    """

    of: str
    against: str
    limit: float | None = None
    at_least: bool = False


@dataclass(frozen=True)
class Figure:
    """A ratio as it was measured."""

    wanted: Wanted
    ratio: Quartiles

    @property
    def met(self) -> bool | None:
        """Is the figure as wanted? None where nothing is."""
        if self.wanted.limit is None:
            return None
        if self.wanted.at_least:
            return self.ratio.median >= self.wanted.limit
        return self.ratio.median <= self.wanted.limit


@dataclass(frozen=True)
class Line:
    """One work of a suite.

    Args:
        name: the work's.
        seconds: by the clock, from the start of the process to its end.
        processor: seconds of all cores together, the median.
        peak: the most memory that one of its processes held, in bytes.
    """

    name: str
    seconds: Quartiles
    processor: float
    peak: int


@dataclass(frozen=True)
class Outcome:
    """A suite's figures, and the works that they are made of."""

    key: str
    title: str
    rounds: int
    figures: list[Figure]
    lines: list[Line]

    def figure(self, of: str) -> Figure | None:
        """Return the first figure of a work."""
        return next((figure for figure in self.figures if figure.wanted.of == of), None)


def summarize(
    key: str, title: str, rounds: int, found: Rounds, wanted: Sequence[Wanted]
) -> Outcome:
    """Turn samples into figures."""
    figures = [Figure(each, found.ratio(each.of, each.against)) for each in wanted]
    lines = [
        Line(name, found.seconds(name), found.processor(name).median, found.peak(name))
        for name in found.samples
    ]
    return Outcome(key, title, rounds, figures, lines)
