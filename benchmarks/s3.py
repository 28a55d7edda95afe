#!/usr/bin/env python3
"""Requests per second against a real Ceph, beside `rclone copy` of the same chunks.

Both sides send and fetch the same objects, with as many requests in flight, to the same gateway on
loopback, in turn. Run it with the tests' environment, Ceph being installed:

    build/test-env-…/bin/python benchmarks/s3.py --mib 256 --pairs 3
"""

from __future__ import annotations

import argparse
import os
import platform
import resource
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

from tests.support.ceph import Ceph  # noqa: E402 - needs the path
from tests.support.data import MIB, noise  # noqa: E402
from tests.support.rclone import program as rclone_program  # noqa: E402
from tests.support.worker import download, run_worker, upload  # noqa: E402


@dataclass
class Figures:
    """One measured run: seconds by the clock, and of a processor."""

    objects: int
    seconds: float
    cpu: float

    @property
    def rate(self) -> float:
        """Objects per second."""
        return self.objects / self.seconds

    @property
    def cpu_each(self) -> float:
        """Milliseconds of a processor for each object."""
        return self.cpu / self.objects * 1000


def measured(objects: int, work: Callable[[], object]) -> Figures:
    """Time a function that runs one child process to its end."""
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    started = time.monotonic()
    work()
    seconds = time.monotonic() - started
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    cpu = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    return Figures(objects, seconds, cpu)


def main() -> None:
    """Measure and print a table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--mib", type=int, default=256, help="size of the file")
    parser.add_argument("--pairs", type=int, default=3, help="runs of each")
    parser.add_argument("--concurrency", type=int, default=8, help="requests in flight")
    options = parser.parse_args()
    folder = Path(tempfile.mkdtemp(prefix="s3b"))
    try:
        with Ceph(folder / "c", osds=1, capacity=16 << 30) as ceph:
            results = compare(ceph, folder, options)
    finally:
        shutil.rmtree(folder, ignore_errors=True)
    report(results, options)


def compare(ceph: Ceph, folder: Path, options: argparse.Namespace) -> dict[str, list[Figures]]:
    """Run every pair."""
    source, chunks = folder / "source", folder / "chunks"
    with source.open("wb") as file:
        for number in range(options.mib):
            file.write(noise(MIB, number))
    settings = {"concurrency": options.concurrency}
    hashes = run_worker(upload(source, chunks)).terminal["hashes"]
    flat = folder / "flat"
    flat.mkdir()
    for wanted in hashes:
        (flat / wanted).write_bytes((chunks / wanted[:2] / wanted).read_bytes())
    count = len(hashes)
    copy = rclone(ceph, options.concurrency)
    results: dict[str, list[Figures]] = {}
    for number in range(options.pairs):
        # Another prefix each time: what is there already would not be sent.
        store, remote = ceph.store(f"w{number}"), f":s3:{ceph.bucket}/r{number}"

        def put(store: str = store) -> None:
            told = run_worker(
                upload(source, store, settings=settings), env=ceph.environ, timeout=600
            ).terminal
            assert told["new_chunks"] == count, told

        def get(store: str = store) -> None:
            message = download(folder / "back", store, hashes, settings=settings)
            told = run_worker(message, env=ceph.environ, timeout=600).terminal
            assert told["type"] == "FILE_DOWNLOADED", told

        back = folder / f"back{number}"
        for name, work in (
            ("worker, upload", put),
            ("rclone copy, upload", lambda: copy(str(flat), remote)),  # noqa: B023 - run at once
            ("worker, download", get),
            ("rclone copy, download", lambda: copy(remote, str(back))),  # noqa: B023
        ):
            results.setdefault(name, []).append(measured(count, work))
        shutil.rmtree(back)
    return results


def rclone(ceph: Ceph, concurrency: int) -> Callable[[str, str], object]:
    """Return a function that copies with rclone, without what it does beyond the transfer."""
    options = [
        *("--config", os.devnull, "--s3-provider", "Ceph", "--s3-endpoint", ceph.url),
        *("--s3-access-key-id", ceph.access_key, "--s3-secret-access-key", ceph.secret_key),
        *("--s3-no-check-bucket", "--s3-no-head", "--no-check-dest", "--s3-disable-checksum"),
        *("--transfers", str(concurrency), "--checkers", str(concurrency)),
    ]
    return lambda source, target: subprocess.run(
        [rclone_program(), "copy", source, target, *options], check=True
    )


def report(results: dict[str, list[Figures]], options: argparse.Namespace) -> None:
    """Print the medians as a table."""
    cores = len(os.sched_getaffinity(0))
    rclone_version = subprocess.run(
        [rclone_program(), "version"], check=True, capture_output=True, text=True
    ).stdout.split()[1]
    ceph_version = subprocess.run(
        ["ceph", "--version"], check=True, capture_output=True, text=True
    ).stdout.split()[2]
    print(f"{options.mib} MiB of noise, {options.concurrency} requests in flight, ", end="")
    print(f"medians of {options.pairs} runs in turn; {platform.machine()}, {cores} cores, ", end="")
    print(f"CPython {platform.python_version()}, Ceph {ceph_version}, rclone {rclone_version}\n")
    print("| | objects | objects/s | CPU per object | seconds of each run |")
    print("| --- | --- | --- | --- | --- |")
    for name, figures in results.items():
        rate = statistics.median(each.rate for each in figures)
        cpu = statistics.median(each.cpu_each for each in figures)
        runs = ", ".join(f"{each.seconds:.2f}" for each in figures)
        print(f"| {name} | {figures[0].objects} | {rate:.0f} | {cpu:.2f} ms | {runs} |")


if __name__ == "__main__":
    main()
