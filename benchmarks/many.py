#!/usr/bin/env python3
"""Many small files by one session, beside `rclone copy` of the same folder and a process each.

Run it with the tests' environment:

    build/test-env-…/bin/python benchmarks/many.py --files 2000 --pairs 3

Each pair is one run of either, in turn, from the same start. nginx needs the module that lists
folders for rclone (Debian: `libnginx-mod-http-dav-ext`), S3 is SeaweedFS (`far_servers.py`).
"""

from __future__ import annotations

import argparse
import contextlib
import json
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

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

from benchmarks.chart import Bar, draw  # noqa: E402 - needs the path
from benchmarks.far_servers import BUCKET, OF_THE_WORKER, rclone_options, seaweedfs  # noqa: E402
from benchmarks.measuring import Quartiles  # noqa: E402
from tests.support.data import noise  # noqa: E402
from tests.support.nginx import Nginx  # noqa: E402
from tests.support.rclone import program as rclone_program  # noqa: E402
from tests.support.worker import ARTIFACT, bare_python, clean_environ  # noqa: E402

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

SIZE = 10 * 1024
DAV_EXT = "/usr/lib/nginx/modules/ngx_http_dav_ext_module.so"  # of libnginx-mod-http-dav-ext
ALONE = 20  # files that are uploaded by a process each, to be multiplied


@dataclass
class Figures:
    """One measured run: seconds by the clock, and of a processor."""

    seconds: float
    cpu: float


@dataclass
class Place:
    """Where files go: for the worker, and for rclone."""

    store: str
    remote: str
    environ: dict[str, str]
    options: tuple[str, ...] = ()


def measured(work: Callable[[], object]) -> Figures:
    """Time a function that runs child processes to their end."""
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    started = time.monotonic()
    work()
    seconds = time.monotonic() - started
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    cpu = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    return Figures(seconds, cpu)


def worker(lines: list[dict[str, object]], environ: dict[str, str]) -> list[dict[str, object]]:
    """Run one worker; return its events."""
    told = subprocess.run(
        [bare_python(), str(ARTIFACT)],
        input=b"".join(json.dumps(line).encode() + b"\n" for line in lines),
        stdout=subprocess.PIPE,
        env=clean_environ(environ),
        check=True,
    ).stdout
    return [json.loads(line) for line in told.splitlines()]


def session(place: Place, messages: list[dict[str, object]]) -> list[dict[str, object]]:
    """Run a session with what it needs to be as quiet as rclone is."""
    settings = {"progress_interval_ms": 0, "chunk_events": False}
    start = {"type": "SESSION_START", "store": place.store, "max_files": 8, "settings": settings}
    return worker([start, *messages], place.environ)


@contextlib.contextmanager
def directory(folder: Path) -> Iterator[Place]:
    """Provide a directory."""
    store = folder / "directory"
    yield Place(str(store / "worker"), str(store / "rclone"), {})


@contextlib.contextmanager
def nginx(folder: Path) -> Iterator[Place]:
    """Start an nginx that rclone can write to: it lists folders, and makes them."""
    with Nginx(
        folder / "nginx",
        main=[f"load_module {DAV_EXT};"],
        server=["access_log off;"],
        location=["dav_ext_methods PROPFIND OPTIONS;"],
        methods="PUT DELETE MKCOL",
    ) as server:
        yield Place(f"{server.url}/worker", f":webdav,url='{server.url}':rclone", {})


@contextlib.contextmanager
def s3(folder: Path) -> Iterator[Place]:
    """Start SeaweedFS."""
    with seaweedfs(folder / "s3") as address:
        url = f"http://{address}"
        environ = {**OF_THE_WORKER, "AWS_ENDPOINT_URL_S3": url}
        store, remote = f"s3://{BUCKET}/worker", f":s3:{BUCKET}/rclone"
        yield Place(store, remote, environ, tuple(rclone_options(url)))


STORES = {"a directory": directory, "nginx": nginx, "S3 (SeaweedFS)": s3}


def compare(place: Place, folder: Path, names: list[str], pairs: int) -> dict[str, list[Figures]]:
    """Run every pair against one store; the first does not count."""
    source, back = folder / "source", folder / "back"
    uploads: list[dict[str, object]] = [
        {"type": "UPLOAD_START", "id": name, "path": str(source / name)} for name in names
    ]

    def copy(frm: str, to: str) -> None:
        options = ("--config", os.devnull, "--transfers", "8", *place.options)
        command = [rclone_program(), "copy", frm, to, *options]
        subprocess.run(command, check=True, stderr=subprocess.DEVNULL)

    results: dict[str, list[Figures]] = {}
    for number in range(pairs + 1):
        this = Place(
            place.store.replace("/worker", f"/worker{number}"),
            f"{place.remote}{number}",
            place.environ,
            place.options,
        )
        events: list[dict[str, object]] = []
        works: list[tuple[str, Callable[[], object]]] = [
            ("session, upload", lambda: events.extend(session(this, uploads))),  # noqa: B023
            ("rclone, upload", lambda: copy(str(source), this.remote)),  # noqa: B023
            ("session, download", lambda: session(this, downloads(events, back))),  # noqa: B023
            ("rclone, download", lambda: copy(this.remote, str(back / "rclone"))),  # noqa: B023
        ]
        for name, work in works:
            figures = measured(work)
            if number:
                results.setdefault(name, []).append(figures)
        shutil.rmtree(back)
    return results


def downloads(events: list[dict[str, object]], back: Path) -> list[dict[str, object]]:
    """Return the messages that get back what was uploaded."""
    (back / "worker").mkdir(parents=True)
    return [
        {
            "type": "DOWNLOAD_START",
            "id": event["id"],
            "path": str(back / "worker" / str(event["id"])),
            "hashes": event["hashes"],
        }
        for event in events
        if event["type"] == "FILE_UPLOADED"
    ]


def alone(folder: Path, names: list[str]) -> Figures:
    """Upload some files by a process each."""
    store = str(folder / "alone")
    messages: list[dict[str, object]] = [
        {"type": "UPLOAD_START", "path": str(folder / "source" / name), "store": store}
        for name in names[:ALONE]
    ]
    found = measured(lambda: [worker([message], {}) for message in messages])
    share = len(names) / ALONE
    return Figures(found.seconds * share, found.cpu * share)


def median(figures: list[Figures], what: str) -> float:
    """Return the middle one of some runs' figures."""
    return statistics.median(float(getattr(each, what)) for each in figures)


def main() -> None:
    """Measure, and print a table; or write it, with a chart."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--files", type=int, default=2000)
    parser.add_argument("--only", action="append", choices=STORES, help="(repeatable)")
    parser.add_argument("--pairs", type=int, default=3, help="runs of each")
    parser.add_argument("--results", type=Path, help="write many.md and many.svg there")
    options = parser.parse_args()
    folder = Path(tempfile.mkdtemp(prefix="many", dir="/dev/shm"))
    try:
        (folder / "source").mkdir()
        names = [f"{number:05d}" for number in range(options.files)]
        for number, name in enumerate(names):
            (folder / "source" / name).write_bytes(noise(SIZE, number))
        each = alone(folder, names)
        results = {}
        for name in options.only or STORES:
            with STORES[name](folder) as place:
                results[name] = compare(place, folder, names, options.pairs)
    finally:
        shutil.rmtree(folder, ignore_errors=True)
    text, bars = report(results, each, options)
    print(text)
    if options.results:
        (options.results / "many.md").write_text(text, encoding="utf-8")
        note = "one session's time, in times of rclone copy's; less is better"
        chart = draw(f"{options.files} files of 10 KiB", note, bars)
        (options.results / "many.svg").write_text(chart, encoding="utf-8")


def report(
    results: dict[str, dict[str, list[Figures]]], each: Figures, options: argparse.Namespace
) -> tuple[str, list[Bar]]:
    """Return the medians as a table, and as bars."""
    cores = len(os.sched_getaffinity(0))
    version = subprocess.run(
        [rclone_program(), "version"], check=True, capture_output=True, text=True
    ).stdout.split()[1]
    load = os.getloadavg()[0]
    setting = (
        f"{options.files} files of 10 KiB of noise in memory, 8 side by side, medians of"
        f" {options.pairs} runs in turn; {platform.machine()}, {cores} cores (load {load:.1f}),"
        f" CPython {platform.python_version()}, rclone {version}. A process each, to a directory:"
        f" {each.seconds:.1f} s (of {ALONE} files, multiplied)."
    )
    lines = [
        "# Many small files",
        "",
        setting,
        "",
        "| store | | seconds | of rclone's | processor | of rclone's |",
        "| --- | --- | --- | --- | --- | --- |",
    ]
    bars = []
    for store, works in results.items():
        for way in ("upload", "download"):
            ours, theirs = works[f"session, {way}"], works[f"rclone, {way}"]
            for name, figures in (("session", ours), ("rclone", theirs)):
                seconds, cpu = median(figures, "seconds"), median(figures, "cpu")
                lines.append(
                    f"| {store} | {way}, {name} | {seconds:.2f} |"
                    f" {seconds / median(theirs, 'seconds'):.2f} | {cpu:.2f} s |"
                    f" {cpu / median(theirs, 'cpu'):.2f} |"
                )
            ratios = [a.seconds / b.seconds for a, b in zip(ours, theirs, strict=True)]
            label = f"{store.partition(' (')[0]}, {way}"
            bars.append(Bar(label, Quartiles.of(ratios), ours=True))
    return "\n".join(lines) + "\n", bars


if __name__ == "__main__":
    main()
