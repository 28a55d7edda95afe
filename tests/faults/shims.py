"""Changes of a worker's environment: a slow disk, a clock that jumps.

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

BUCKET_MOUNT = """
    import errno, itertools, os, stat
    numbers = itertools.count()
    real_stat, real_fsync, real_replace = os.stat, os.fsync, os.replace
    def another_number(*arguments, **named):
        found = real_stat(*arguments, **named)
        if not stat.S_ISDIR(found.st_mode):
            return found
        return os.stat_result((found[0], next(numbers), *found[2:]))
    def fsync(descriptor):
        raise OSError(errno.EINVAL, "no sync here")
    def replace(source, target):
        if os.path.lexists(target):
            raise FileExistsError(errno.EEXIST, "no replacing here")
        real_replace(source, target)
    os.stat, os.fsync, os.replace = another_number, fsync, replace
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
