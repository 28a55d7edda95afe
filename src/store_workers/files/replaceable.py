"""Detects files that a rename cannot replace, before anything is fetched.

These are mount points (bind mounts of containers), and files of others in directories with the
sticky bit, such as `/tmp`.
"""

from __future__ import annotations

import errno
import os
import stat
from contextlib import suppress

_TABLE = "/proc/self/mountinfo"
_PLACE = 4  # the field of the mount point, from 0: proc(5)


_STATUS = "/proc/self/status"
_CAP_FOWNER = 1 << 3
"""The capability to replace files of others in any directory: capabilities(7)."""


def check_replaceable(path: str) -> None:
    """Raise `OSError` if the file at this path cannot be replaced."""
    if is_mount_point(path):
        raise OSError(errno.EBUSY, "is a mount point and cannot be replaced")
    if is_protected(path):
        raise OSError(
            errno.EPERM,
            "belongs to another user, and cannot be replaced in a directory with the sticky bit",
        )


def is_protected(path: str) -> bool:
    """Return whether the sticky bit protects a file; false if the system does not tell."""
    if not hasattr(os, "geteuid"):
        return False
    folder = os.stat(os.path.dirname(path) or os.curdir)
    if not folder.st_mode & stat.S_ISVTX:
        return False
    owners = (folder.st_uid, os.lstat(path).st_uid)
    return os.geteuid() not in owners and not _may_replace_all()


def _may_replace_all() -> bool:
    with suppress(OSError, ValueError), open(_STATUS, "rb") as status:
        for line in status:
            if line.startswith(b"CapEff:"):
                return bool(int(line.partition(b":")[2], 16) & _CAP_FOWNER)
    return True


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
