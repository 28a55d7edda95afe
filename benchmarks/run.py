#!/usr/bin/env python3
"""Measure the artifact and the peers that are installed on the same bytes, in turn, on Linux.

Needs nothing but a CPython with pip and venv, nginx and zstd (benchmarks/README.md):

    python3 benchmarks/run.py                     everything; writes benchmarks/results
    python3 benchmarks/run.py --quick             small files, few rounds; only prints
    python3 benchmarks/run.py --only upload       one suite (repeatable); only prints

It enters the environment of ``tools/test.py``, which it makes when it is missing, and builds the
artifact.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import runpy
import shutil
import subprocess
import sys
import tempfile
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterator

    from benchmarks.imports import Imports
    from benchmarks.outcome import Outcome
    from benchmarks.spans import Span
    from benchmarks.suites import Stage

ROOT = Path(__file__).resolve().parent.parent
RESULTS = ROOT / "benchmarks" / "results"
INSIDE = "STORE_WORKERS_BENCHMARK"  # set for the run inside the private environment
MIB = 1 << 20
FULL_MIB, QUICK_MIB = 384, 32
FULL_ROUNDS, QUICK_ROUNDS = 9, 3
PRIORITY = 10
NAMES = (
    "upload", "download", "noise", "peers", "options", "start", "start-peers", "first-start",
    "imports", "spans",
)  # fmt: skip


def main(arguments: list[str]) -> int:
    """Measure; return 0, or 1 where a program failed."""
    options = parse(arguments)
    if INSIDE not in os.environ:
        return enter(arguments, options.artifact)
    sys.path.insert(0, str(ROOT))
    from benchmarks.measuring import RunFailed

    if options.realtime:
        os.sched_setscheduler(0, os.SCHED_FIFO, os.sched_param(PRIORITY))
    try:
        with prepared(options) as stage:
            measure(stage, options)
    except (RunFailed, OSError, subprocess.CalledProcessError) as failure:
        print(f"benchmarks: failed: {failure}", file=sys.stderr)
        return 1
    return 0


def parse(arguments: list[str]) -> argparse.Namespace:
    """Return the options."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--quick", action="store_true", help="small files, few rounds")
    parser.add_argument("--rounds", type=int, metavar="N", help="of runs of the large files")
    parser.add_argument("--only", action="append", choices=NAMES, help="a suite (repeatable)")
    parser.add_argument(
        "--data", type=Path, metavar="DIR", help="where all data lies (default: memory, /dev/shm)"
    )
    parser.add_argument(
        "--realtime", action="store_true", help="keep other processes out of the way (needs root)"
    )
    parser.add_argument(
        "--artifact", type=Path, metavar="PATH", help="measure this one, build nothing"
    )
    parser.add_argument(
        "--results", type=Path, metavar="DIR", help="write there, whatever was measured"
    )
    return parser.parse_args(arguments)


def enter(arguments: list[str], artifact: Path | None) -> int:
    """Make the private environments and the artifact, then run this file again inside."""
    tools = runpy.run_path(str(ROOT / "tools" / "test.py"))
    python = tools["environment"]()
    tools["bare_environment"]()
    if artifact is None:
        subprocess.run([sys.executable, str(ROOT / "tools" / "build.py")], check=True)
    environ = {**tools["clean_environ"](), INSIDE: "1"}
    return subprocess.call([python, "-B", str(Path(__file__).resolve()), *arguments], env=environ)


@contextlib.contextmanager
def prepared(options: argparse.Namespace) -> Iterator[Stage]:
    """Make the data and start nginx; take everything away at the end."""
    from benchmarks.data import make_inputs
    from benchmarks.measuring import Bench
    from benchmarks.suites import Stage
    from benchmarks.worker import Artifact, Store
    from tests.support.nginx import Nginx
    from tests.support.worker import ARTIFACT, bare_python

    where = options.data or Path("/dev/shm")
    folder = Path(tempfile.mkdtemp(prefix="store-workers-", dir=where if where.is_dir() else None))
    try:
        say("making the data")
        inputs = make_inputs(folder, (QUICK_MIB if options.quick else FULL_MIB) * MIB)
        directory = Store(str(folder / "store"), folder / "store")
        directory.folder.mkdir()
        with Nginx(folder / "nginx", server=["access_log off;"]) as nginx:
            yield Stage(
                bench=Bench(bare_python(), folder, say),
                artifact=Artifact(bare_python(), (options.artifact or ARTIFACT).resolve()),
                inputs=inputs,
                folder=folder,
                directory=directory,
                nginx=Store(nginx.url, nginx.chunks),
                rounds=options.rounds or (QUICK_ROUNDS if options.quick else FULL_ROUNDS),
            )
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def measure(stage: Stage, options: argparse.Namespace) -> None:
    """Run what is asked for, print it, and write it where all of it was asked for."""
    from benchmarks import report, suites

    chosen = options.only or NAMES
    setting = describe(stage, options.realtime)
    outcomes = [suite(stage) for name, suite in suites.SUITES.items() if name in chosen]
    imports = compare_imports(stage) if "imports" in chosen else []
    spans = compare_spans(stage) if "spans" in chosen else []
    page = report.page(setting, outcomes, imports)
    print("\n" + page)
    if spans:
        print(report.span_page(setting, spans))
    results = options.results or (None if options.quick or options.only else RESULTS)
    if results:
        write(results, setting, outcomes, imports, spans)


def describe(stage: Stage, realtime: bool) -> dict[str, Any]:
    """Say where the figures come from."""
    from benchmarks import setting

    inputs = stage.inputs
    return {
        "date": setting.today(),
        "machine": setting.machine(stage.folder),
        "realtime": realtime,
        "versions": setting.versions(stage.artifact),
        "data": {"mib": inputs.size // MIB, "tar_sha256": inputs.tar_digest()},
    }


def compare_imports(stage: Stage) -> list[Imports]:
    """Count what short runs import."""
    from benchmarks import imports, suites

    say("imports")
    works = [
        stage.artifact.bad_message(suites.BAD_MESSAGE),
        *stage.uploads(stage.inputs.small),
    ]
    return imports.compare(stage.bench, works, stage.rounds)


def compare_spans(stage: Stage) -> list[Span]:
    """Try other spans."""
    from benchmarks import imports, peers, spans

    source, environ = stage.inputs.tar, imports.source_environ(stage.folder)
    upload, zstd = stage.uploads(source)[0], peers.zstd(source)
    found = spans.compare(stage.bench, upload, zstd, environ, stage.rounds)
    stage.directory.empty()
    return found


def write(
    folder: Path,
    setting: dict[str, Any],
    outcomes: list[Outcome],
    imports: list[Imports],
    spans: list[Span],
) -> None:
    """Write the pages, the charts and the JSON that says all of it."""
    from benchmarks import report

    folder.mkdir(parents=True, exist_ok=True)
    everything = {
        **setting,
        "outcomes": [asdict(outcome) for outcome in outcomes],
        "imports": [asdict(each) for each in imports],
        "spans": [asdict(each) for each in spans],
    }
    texts = {
        "latest.json": json.dumps(everything, indent=1) + "\n",
        "results.md": report.page(setting, outcomes, imports),
        **report.charts(setting, outcomes),
    }
    if spans:
        texts["spans.md"] = report.span_page(setting, spans)
    for name, text in texts.items():
        (folder / name).write_text(text, encoding="utf-8")
    say(f"written: {', '.join(texts)}")


def say(text: str) -> None:
    """Print one line about the run, beside its results."""
    print(f"benchmarks: {text}", file=sys.stderr, flush=True)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
