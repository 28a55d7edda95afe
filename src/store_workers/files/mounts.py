"""Detects files that are mount points (bind mounts of containers): a rename cannot replace them."""

from __future__ import annotations

import os
from contextlib import suppress

_TABLE = "/proc/self/mountinfo"
_PLACE = 4  # the field of the mount point, from 0: proc(5)


def is_mount_point(path: str) -> bool:
    """Return whether this path is a mount point; false if the system does not tell."""
    folder, name = os.path.split(path)
    wanted = os.fsencode(os.path.join(os.path.realpath(folder or os.curdir), name))
    with suppress(OSError), open(_TABLE, "rb") as table:
        return any(_place(line) == wanted for line in table)
    return False


def _place(line: bytes) -> bytes:
    """Return the mount point of a line, in which spaces and similar are octal numbers."""
    import re

    fields = line.split(b" ", _PLACE + 1)
    return re.sub(rb"\\(\d{3})", lambda found: bytes([int(found[1], 8)]), fields[_PLACE])
