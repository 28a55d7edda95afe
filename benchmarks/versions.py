"""Versions of a file: what each edit sends again, beside restic, borg and casync.

    PYTHONPATH=src python3 -m benchmarks.versions [--mib N] [--rounds N] [--results DIR]

A tar of libraries is stored, edited, and stored again by each tool into a copy of what it had.
Counted are the bytes that its store grew by, and the requests to a real nginx. The last lines say
whether the worker's own figures are met; the exit status does, too. Needs `dist/store-workers.pyz`,
nginx, and the peers that are to be compared.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from benchmarks import peers
from benchmarks.boundaries import EDITS
from benchmarks.chart import Bar, draw
from benchmarks.data import MIB, TooLittle, write_tar
from benchmarks.measuring import Quartiles

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

ROOT = Path(__file__).resolve().parent.parent
ARTIFACT = ROOT / "dist" / "store-workers.pyz"
FIXED, CONTENT = "store-workers, fixed", "store-workers, content"
MOST_SENT = {
    "100 B inserted": 1.0,
    "4 B overwritten at 100": 1.0,
    "1 MiB deleted": 1.5,
    "10 KiB in front": 1.5,
    "10 KiB behind": 1.5,
    "two tenths exchanged": 4.0,
}
"""MiB that the worker may send again after each edit of 200 MiB."""

MOST_STORED, MOST_TIME, MOST_FIRST, MOST_AGAIN = 1.02, 1.10, 1.7, 1.2
"""Against fixed boundaries: bytes, seconds and requests; and requests a chunk after an edit."""


@dataclass(frozen=True)
class Tool:
    """Something that stores a file.

    Args:
        name: what tables call it.
        init: makes an empty store in a folder, beside which it may keep things.
        command: stores a file into it; both paths are given, and a name for this version.
        environ: variables that it needs, by the folder.
        message: what it reads from stdin.
    """

    name: str
    init: Callable[[Path], list[str]]
    command: Callable[[Path, Path, str], list[str]]
    environ: Callable[[Path], Mapping[str, str]] = lambda _folder: {}
    message: Callable[[Path, Path], str] = lambda _folder, _file: ""


def upload_message(store: str, file: Path, boundaries: str) -> str:
    """Return the message that stores a file."""
    settings = {"boundaries": boundaries, "chunk_events": False}
    message = {"type": "UPLOAD_START", "path": str(file), "store": store, "settings": settings}
    return json.dumps(message) + "\n"


def worker(name: str, boundaries: str) -> Tool:
    """Return the artifact, run by this interpreter."""
    return Tool(
        name,
        init=lambda _folder: [],
        command=lambda _folder, _file, _name: [sys.executable, "-I", str(ARTIFACT)],
        message=lambda folder, file: upload_message(str(folder / "store"), file, boundaries),
    )


def tools() -> list[Tool]:
    """Return the worker, and the peers that are installed."""
    restic = Tool(
        "restic",
        init=lambda _folder: ["restic", "init", "-q", "--no-cache"],
        command=lambda _folder, file, _name: ["restic", "backup", "-q", "--no-cache", str(file)],
        environ=lambda folder: {
            "RESTIC_PASSWORD": "benchmark",
            "RESTIC_REPOSITORY": str(folder / "store"),
        },
    )
    borg = Tool(
        "borg",
        init=lambda folder: ["borg", "init", "-e", "none", str(folder / "store")],
        command=lambda folder, file, name: [
            *("borg", "create", "--compression", "zstd,3"),
            f"{folder / 'store'}::{name}",
            str(file),
        ],
        environ=lambda folder: {
            "BORG_BASE_DIR": str(folder / "base"),
            "BORG_UNKNOWN_UNENCRYPTED_REPO_ACCESS_IS_OK": "yes",
            "BORG_RELOCATED_REPO_ACCESS_IS_OK": "yes",
        },
    )
    casync = Tool(
        "casync",
        init=lambda _folder: [],
        command=lambda folder, file, name: [
            *("casync", "make", "--compression=zstd", f"--store={folder / 'store'}"),
            str(folder / f"{name}.caibx"),
            str(file),
        ],
    )
    found = [tool for tool in (restic, borg, casync) if peers.find(tool.name)]
    return [worker(CONTENT, "content"), worker(FIXED, "fixed"), *found]


@dataclass
class Result:
    """What a tool did: bytes and seconds of the first version, and of each edit."""

    stored: int = 0
    seconds: list[float] = field(default_factory=list)
    sent: dict[str, int] = field(default_factory=dict)
    again: dict[str, float] = field(default_factory=dict)


class Trial:
    """Stores versions of one file with one tool, in a folder of its own."""

    def __init__(self, tool: Tool, folder: Path, file: Path) -> None:
        self._tool = tool
        self._kept = folder / "kept"
        self._folder = folder / "now"
        self._file = file
        self.result = Result()

    def first(self) -> None:
        """Store the first version into an empty store; the last one stored is kept."""
        for folder in (self._folder, self._kept):
            shutil.rmtree(folder, ignore_errors=True)
        self._folder.mkdir(parents=True)
        if command := self._tool.init(self._folder):
            self._run(command)
        before = size_of(self._folder / "store")
        self.result.seconds.append(self._store("first"))
        self.result.stored = size_of(self._folder / "store") - before
        self._folder.rename(self._kept)

    def edited(self, name: str) -> None:
        """Store an edited version into a copy of the store with the first."""
        shutil.rmtree(self._folder, ignore_errors=True)
        shutil.copytree(self._kept, self._folder)
        before = size_of(self._folder / "store")
        self.result.again[name] = self._store("second")
        self.result.sent[name] = size_of(self._folder / "store") - before

    def _store(self, name: str) -> float:
        command = self._tool.command(self._folder, self._file, name)
        began = time.monotonic()
        self._run(command)
        return time.monotonic() - began

    def _run(self, command: list[str]) -> None:
        environ = {**os.environ, **self._tool.environ(self._folder)}
        message = self._tool.message(self._folder, self._file).encode()
        subprocess.run(command, input=message, env=environ, capture_output=True, check=True)


def size_of(folder: Path) -> int:
    """Return the bytes of all files below a folder."""
    return sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())


def requests(folder: Path, file: Path, first: bytes, edited: bytes) -> dict[str, float]:
    """Return how many requests uploads to nginx make, as ratios."""
    from tests.support.nginx import Nginx

    counts, again, chunks = {}, 0, 1
    for boundaries in ("fixed", "content"):
        with Nginx(folder / f"nginx-{boundaries}") as nginx:
            file.write_bytes(first)
            upload_to(nginx.url, file, boundaries)
            counts[boundaries] = len(nginx.requests())
            if boundaries == "content":
                file.write_bytes(edited)
                chunks = upload_to(nginx.url, file, boundaries)
                again = len(nginx.requests()) - counts[boundaries]
    return {"first": counts["content"] / counts["fixed"], "again": again / chunks}


def upload_to(url: str, file: Path, boundaries: str) -> int:
    """Upload a file over HTTP; return the number of its chunks."""
    done = subprocess.run(
        [sys.executable, "-I", str(ARTIFACT)],
        input=upload_message(url, file, boundaries).encode(),
        capture_output=True,
        check=True,
    )
    return int(json.loads(done.stdout.splitlines()[-1])["chunks"])


def table(results: Mapping[str, Result]) -> str:
    """Return what each tool stored and sent, in MiB."""
    head = ["tool", "first version", "seconds", *EDITS]
    lines = ["| " + " | ".join(head) + " |", "| --- " * len(head) + "|"]
    for name, found in results.items():
        cells = [name, f"{found.stored / MIB:.1f}", f"{statistics.median(found.seconds):.1f}"]
        cells += [f"{found.sent[edit] / MIB:.2f} ({found.again[edit]:.1f} s)" for edit in EDITS]
        lines.append("| " + " | ".join(cells) + " |")
    return "\n".join(lines)


def checks(results: Mapping[str, Result], asked: Mapping[str, float]) -> list[tuple[str, bool]]:
    """Return the worker's figures, each with whether it is met."""
    own, fixed = results[CONTENT], results[FIXED]
    found = []
    for edit, most in MOST_SENT.items():
        sent = own.sent[edit] / MIB
        found.append((f"{edit}: {sent:.2f} MiB sent again, at most {most}", sent <= most))
    pairs = zip(own.seconds, fixed.seconds, strict=True)
    ratios = {
        "stored, against fixed": (own.stored / fixed.stored, MOST_STORED),
        "time of a first upload, against fixed": (
            statistics.median(one / other for one, other in pairs),
            MOST_TIME,
        ),
        "requests of a first upload, against fixed": (asked["first"], MOST_FIRST),
        "requests per chunk after an edit": (asked["again"], MOST_AGAIN),
    }
    for name, (ratio, limit) in ratios.items():
        found.append((f"{name}: {ratio:.2f}, at most {limit}", ratio <= limit))
    return found


def chart(results: Mapping[str, Result]) -> str:
    """Return bars: what the edits sent again, all together, against restic."""
    total = {name: sum(found.sent.values()) for name, found in results.items() if name != FIXED}
    base = total.get("restic", total[CONTENT])
    return draw(
        "Bytes sent again after an edit",
        "The six edits of a tar together, as a ratio to restic; shorter is better.",
        [
            Bar(name, Quartiles.of([sent / base]), ours=name == CONTENT)
            for name, sent in total.items()
        ],
    )


def measure(size: int, rounds: int, folder: Path) -> tuple[str, str, bool]:
    """Return the page, the chart, and whether all figures are met."""
    file = folder / "version"
    with file.open("wb") as tar:
        try:
            write_tar(tar, Path("/usr/lib"), size)
        except TooLittle as failure:
            sys.exit(f"versions: {failure}")
    first = file.read_bytes()
    trials = {tool.name: Trial(tool, folder / str(n), file) for n, tool in enumerate(tools())}
    for number in range(rounds):
        order = list(trials.values()) if number % 2 else list(trials.values())[::-1]
        for trial in order:
            if number == 0 or trial in (trials[CONTENT], trials[FIXED]):
                trial.first()
    for name, edit in EDITS.items():
        file.write_bytes(edit(first))
        for trial in trials.values():
            trial.edited(name)
    results = {name: trial.result for name, trial in trials.items()}
    asked = requests(folder, file, first, EDITS["100 B inserted"](first))
    found = checks(results, asked)
    versions = ", ".join(
        f"{name} {peers.versions()[name]}"
        for name in ("restic", "borg", "casync")
        if peers.find(name)
    )
    page = f"""# Versions of a file

A tar of libraries of {size // MIB} MiB is stored, edited and stored again: MiB by which the store \
grew, and seconds. {versions}, each into a local directory; restic also encrypts. Written by \
`benchmarks/versions.py`.

{table(results)}

The worker's figures, with content boundaries:

{"".join(f"- {text}{'' if met else ' (missed)'}" + chr(10) for text, met in found)}"""
    return page, chart(results), all(met for _, met in found)


def main(arguments: list[str]) -> int:
    """Measure; return 0 where all figures are met."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--mib", type=int, default=200, help="of the tar")
    parser.add_argument("--rounds", type=int, default=5, help="of first uploads")
    parser.add_argument("--results", type=Path, metavar="DIR", help="write there")
    options = parser.parse_args(arguments)
    shared = Path("/dev/shm")
    with tempfile.TemporaryDirectory(dir=shared if shared.is_dir() else None) as folder:
        page, drawn, met = measure(options.mib * MIB, options.rounds, Path(folder))
    if options.results:
        (options.results / "versions.md").write_text(page, encoding="utf-8")
        (options.results / "versions.svg").write_text(drawn, encoding="utf-8")
    print(page)
    return 0 if met else 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
