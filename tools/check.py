#!/usr/bin/env python3
"""Run one of the pinned checks, such as ``ruff check``: what the pre-commit hooks call.

    python3 tools/check.py ruff check --quiet src

The environment is that of ``tools/test.py``, made when it is missing.
"""

from __future__ import annotations

import runpy
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent


def main(arguments: list[str]) -> int:
    """Run a module of the tests' environment; return its exit status."""
    python = runpy.run_path(str(ROOT / "tools" / "test.py"))["environment"]()
    return subprocess.call([python, "-m", *arguments], cwd=ROOT)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
