"""Runs whole processes in turn, round by round, and compares those of the same round.

Two runs a minute apart differ, since the load of the machine changes. So every figure is a ratio of
two runs of the same round, reported as the median of all rounds with its quartiles.
"""

from __future__ import annotations

import json
import os
import statistics
import subprocess
import tempfile
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

LAUNCHER = Path(__file__).resolve().parent / "launch.py"
LONGEST = 600  # seconds of one run


class RunFailed(Exception):
    """A program did not do its work; the text is its output."""


@dataclass(frozen=True)
class Sample:
    """One run, from the start of the process to its end.

    Args:
        seconds: by the clock.
        processor: seconds of all cores together.
        peak: the most memory that one of its processes held, in bytes.
        status: how it ended.
        output: what it printed, where that was read.
    """

    seconds: float
    processor: float
    peak: int
    status: int
    output: bytes


def nothing() -> None:
    """Prepare nothing."""


def accept(sample: Sample) -> None:
    """Accept whatever the run said: its exit status is good."""


@dataclass(frozen=True)
class Work:
    """A program with everything that a run of it takes.

    Args:
        name: what tables call it.
        command: program and arguments.
        message: what it reads from stdin.
        environ: variables beside the clean ones.
        prepare: called before each run, outside the time: empties stores.
        listen: read its stdout through a pipe, as an owner does; else that is /dev/null.
        status: the exit status of a good run.
        check: called after each run, outside the time; raises RunFailed for a bad one.
    """

    name: str
    command: Sequence[str]
    message: bytes = b""
    environ: Mapping[str, str] = field(default_factory=dict)
    prepare: Callable[[], None] = nothing
    listen: bool = False
    status: int = 0
    check: Callable[[Sample], None] = accept


@dataclass(frozen=True)
class Quartiles:
    """The median of some numbers, and between what the middle half of them lies."""

    low: float
    median: float
    high: float

    @classmethod
    def of(cls, numbers: Sequence[float]) -> Quartiles:
        """Summarize at least one number.

        Raises:
            ValueError: there is none.
        """
        if not numbers:
            raise ValueError("no numbers")
        if len(numbers) == 1:
            return cls(numbers[0], numbers[0], numbers[0])
        low, median, high = statistics.quantiles(numbers, n=4, method="inclusive")
        return cls(low, median, high)


class Rounds:
    """The samples of works that ran in turn: `samples[name][n]` is of round n."""

    def __init__(self, samples: Mapping[str, Sequence[Sample]]) -> None:
        self.samples = samples

    def ratio(self, of: str, against: str) -> Quartiles:
        """Say how many times as long one work takes as another of the same round."""
        pairs = zip(self.samples[of], self.samples[against], strict=True)
        return Quartiles.of([one.seconds / other.seconds for one, other in pairs])

    def seconds(self, of: str) -> Quartiles:
        """Return a work's time by the clock."""
        return Quartiles.of([sample.seconds for sample in self.samples[of]])

    def processor(self, of: str) -> Quartiles:
        """Return a work's time on all cores together."""
        return Quartiles.of([sample.processor for sample in self.samples[of]])

    def peak(self, of: str) -> int:
        """Return the most memory of all of a work's runs, in bytes."""
        return max(sample.peak for sample in self.samples[of])


class Bench:
    """Measures works with one interpreter as the launcher.

    Args:
        python: an interpreter without libraries.
        folder: where HOME and TMPDIR of the programs lie.
        say: told what runs now.
    """

    def __init__(self, python: str, folder: Path, say: Callable[[str], None]) -> None:
        self.python = python
        self.folder = folder
        self.home = folder / "home"
        self.home.mkdir()
        self._say = say

    def in_turn(self, works: Sequence[Work], rounds: int) -> Rounds:
        """Run all works once unmeasured, then `rounds` times, every other round backwards."""
        self._say(", ".join(work.name for work in works))
        for work in works:
            self.run(work)
        samples: dict[str, list[Sample]] = {work.name: [] for work in works}
        for number in range(rounds):
            for work in order(works, number):
                samples[work.name].append(self.run(work))
        return Rounds(samples)

    def run(self, work: Work) -> Sample:
        """Run a work once.

        Raises:
            RunFailed: it ended otherwise than it should, or did something else.
        """
        work.prepare()
        with tempfile.TemporaryFile(dir=self.folder) as given:
            given.write(work.message)
            given.seek(0)
            done = subprocess.run(
                [self.python, "-I", "-S", str(LAUNCHER), *launch(work)],
                stdin=given,
                capture_output=True,
                check=False,
                env=self.environ(work.environ),
                timeout=LONGEST,
            )
        if done.returncode:
            raise RunFailed(f"{work.name}: {done.stderr.decode(errors='replace')}")
        sample = parse(done.stdout)
        if sample.status != work.status:
            said = (sample.output + done.stderr)[-2000:].decode(errors="replace")
            raise RunFailed(f"{work.name}: exit status {sample.status}: {said}")
        work.check(sample)
        return sample

    def environ(self, more: Mapping[str, str]) -> dict[str, str]:
        """Return the variables of a program: nothing of the user's own settings."""
        clean = {"PATH": os.environ["PATH"], "LANG": "C.UTF-8"}
        return {**clean, "HOME": str(self.home), "TMPDIR": str(self.folder), **more}


def order(works: Sequence[Work], number: int) -> Sequence[Work]:
    """Return the works in the order of a round: whoever follows whom, follows it half the time."""
    return works if number % 2 == 0 else works[::-1]


def launch(work: Work) -> list[str]:
    """Return the launcher's arguments."""
    return ["pipe" if work.listen else "null", *work.command]


def parse(output: bytes) -> Sample:
    """Read what the launcher prints."""
    line, _, said = output.partition(b"\n")
    return Sample(**json.loads(line), output=said)
