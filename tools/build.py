#!/usr/bin/env python3
"""Build ``dist/store-workers.pyz``, the one file that runs on every host.

Needs nothing but a CPython of a supported version with pip:

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
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable

ROOT = Path(__file__).resolve().parent.parent
sys.path[:0] = [str(ROOT / "tools"), str(ROOT / "src")]


def main(arguments: list[str]) -> int:
    """Build; return 0, or 1 with a line on stderr that says which step failed and why."""
    if sys.version_info < (3, 10):
        print("build: start failed: needs CPython 3.10 or newer", file=sys.stderr)
        return 1
    from artifact import pipeline, wheels
    from artifact.environment import StepFailed

    options = parse(arguments, list(wheels.PLATFORMS))
    started = time.monotonic()
    try:
        named = options.platform or [this_platform(wheels.PLATFORMS)]
        platforms = [each for each in wheels.PLATFORMS if options.universal or each in named]
        sources_only = options.sources_only
        built = pipeline.build(
            ROOT, options.dist, platforms, options.interpreter, sources_only=sources_only
        )
    except (StepFailed, OSError) as failure:
        step = "" if isinstance(failure, StepFailed) else "files failed: "
        print(f"build: {step}{failure}", file=sys.stderr)
        return 1
    print(f"{built} in {time.monotonic() - started:.1f} s")
    return 0


def parse(arguments: list[str], platforms: list[str]) -> argparse.Namespace:
    """Return the options."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    add = parser.add_argument
    add("--universal", action="store_true", help="build for every platform")
    add(
        "--platform",
        action="append",
        choices=platforms,
        help="build for this platform instead of the running one (repeatable)",
    )
    add(
        "--sources-only",
        action="store_true",
        help="carry no compiled code: slower to start, but the same bytes on every machine",
    )
    add(
        "--interpreter",
        action="append",
        default=[],
        metavar="PATH",
        help="one more CPython to compile with (repeatable)",
    )
    add("--dist", type=Path, default=ROOT / "dist", help="where to write")
    return parser.parse_args(arguments)


def this_platform(supported: Iterable[str]) -> str:
    """Return the name of the platform that this runs on, if it is supported."""
    from artifact.environment import StepFailed

    from store_workers_bootstrap.native import host_key

    platform = host_key().partition("-")[2]
    if platform not in supported:
        hint = f"({', '.join(supported)}); --platform builds for those"
        raise StepFailed("start", f"{platform} is not supported {hint}")
    return platform


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
