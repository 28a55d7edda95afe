#!/usr/bin/env python3
"""Build ``dist/store-workers.pyz``, the one file that runs on every host.

Needs nothing but a CPython of a supported version with pip and venv:

    python3 tools/build.py                  for this platform, every supported CPython
    python3 tools/build.py --universal      for every supported platform
    python3 tools/build.py --platform NAME  for that one

What it needs beyond that it installs into a folder under ``build/``, from exact versions with
hashes (``tools/requirements``), where the user's pip configuration says. The second run finds
everything there and needs no network. The same sources give the same bytes; see
``docs/platforms.md`` for what that takes.
"""

from __future__ import annotations

import argparse
import sys
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
sys.path[:0] = [str(ROOT / "tools"), str(ROOT / "src")]

from artifact import pipeline, targets  # noqa: E402
from artifact.failure import StepFailed  # noqa: E402


def main(arguments: list[str]) -> int:
    """Build; return 0, or 1 with a line on stderr that says which step failed and why."""
    options = parse(arguments)
    try:
        if sys.version_info < (3, 10):
            raise StepFailed("start", f"needs CPython 3.10 or newer, not {sys.version.split()[0]}")
        started = time.monotonic()
        plan = pipeline.Plan(
            root=ROOT,
            dist=options.dist,
            platforms=platforms(options),
            sources_only=options.sources_only,
            interpreters=options.interpreter,
        )
        product = pipeline.build(plan)
        print(f"{product} in {time.monotonic() - started:.1f} s")
    except (StepFailed, OSError) as failure:
        step = failure.step if isinstance(failure, StepFailed) else "files"
        reason = failure.reason if isinstance(failure, StepFailed) else failure
        print(f"build: {step} failed: {reason}", file=sys.stderr)
        return 1
    return 0


def parse(arguments: list[str]) -> argparse.Namespace:
    """Return the options."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--universal", action="store_true", help="build for every platform")
    parser.add_argument(
        "--platform",
        action="append",
        default=[],
        choices=targets.PLATFORMS,
        help="build for this platform instead of the running one (repeatable)",
    )
    parser.add_argument(
        "--sources-only",
        action="store_true",
        help="carry no compiled code: slower to start, but the same bytes on every machine",
    )
    parser.add_argument(
        "--interpreter",
        action="append",
        default=[],
        metavar="PATH",
        help="one more CPython to compile with (repeatable)",
    )
    parser.add_argument("--dist", type=Path, default=ROOT / "dist", help="where to write")
    return parser.parse_args(arguments)


def platforms(options: argparse.Namespace) -> list[str]:
    """Return the names of the platforms to build for, in one order."""
    if options.universal:
        return list(targets.PLATFORMS)
    named = options.platform or [this_platform()]
    return [each for each in targets.PLATFORMS if each in named]


def this_platform() -> str:
    """Return the name of the platform that this runs on.

    Raises:
        StepFailed: it is none of the supported ones.
    """
    from store_workers_bootstrap.native import host_key

    platform = host_key().partition("-")[2]
    if platform not in targets.PLATFORMS:
        supported = ", ".join(targets.PLATFORMS)
        raise StepFailed(
            "start", f"{platform} is not supported ({supported}); --platform builds for those"
        )
    return platform


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
