"""Changes to the ground that a worker stands on: a slow disk, a clock that jumps.

A `sitecustomize` module is run by the interpreter before the artifact, and replaces functions of
the standard library: what they stand for cannot be had otherwise without a machine of one's own.
"""

from __future__ import annotations

import textwrap
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pathlib import Path

SLOW_FSYNC = """
    import os, time
    def fsync(descriptor):
        time.sleep(30)
    os.fsync = fsync
"""

JUMPING_CLOCK = """
    import time
    real, step = time.time, [0]
    def jumping():
        step[0] += 1
        return real() + (-1) ** step[0] * 3e8
    time.time = jumping
    time.time_ns = lambda: int(jumping() * 1e9)
"""

FORESEEABLE_NAMES = """
    import os
    os.urandom = bytes
"""


def shim(folder: Path, code: str) -> dict[str, str | None]:
    """Write a shim into a folder; return the environment that has it loaded."""
    home = folder / "shim"
    home.mkdir()
    (home / "sitecustomize.py").write_text(textwrap.dedent(code))
    return {"PYTHONPATH": str(home)}
