"""The permissions of a file that replaces another: readable by nobody who could not read that.

The new file belongs to whoever the worker runs as, which moves people from one class of
permissions (owner, group, others) to another. No class may get more than any class that its people
can come from.
"""

from __future__ import annotations

import os
import stat
from contextlib import suppress

ALL = 0o777
GROUP_SHIFT, OWNER_SHIFT = 3, 6
_ACL = "system.posix_acl_access"
_ACL_HEADER, _ACL_ENTRY = 4, 8
_ACL_OWNER, _ACL_OTHER = 0x01, 0x20


def keep_permissions(descriptor: int, replaced: os.stat_result, path: str) -> None:
    """Give a new file the mode of the one at `path`, as far as that widens nothing.

    Where the file system has modes of its own (FUSE, SMB) it keeps what it got.
    """
    if not hasattr(os, "fchmod"):
        return
    mode = kept_mode(replaced, os.fstat(descriptor), access_list(path), access_list(descriptor))
    with suppress(OSError):
        os.fchmod(descriptor, mode)


def kept_mode(
    replaced: os.stat_result,
    made: os.stat_result,
    old_list: bytes | None,
    new_list: bytes | None,
) -> int:
    """The mode for the file `made`, which takes the place of `replaced`.

    `old_list` and `new_list` are their POSIX access control lists, None for none. Bits beyond the
    nine (set-user-ID and the like) are dropped.
    """
    mode = stat.S_IMODE(replaced.st_mode) & ALL
    owner, group, others = mode >> OWNER_SHIFT, mode >> GROUP_SHIFT & 7, mode & 7
    if replaced.st_uid != made.st_uid:  # the old owner is now one of the group or of the others
        group &= owner
        others &= owner
    if replaced.st_gid != made.st_gid:  # the old group's people are others now
        others &= group
        group = 0
    if old_list is not None:  # whom it named is one of the group or of the others now
        others &= least_permissions(old_list)
        group = 0
    if new_list is not None:  # the directory's default: the group's bits would bound whom it names
        group = 0
    return owner << OWNER_SHIFT | group << GROUP_SHIFT | others


def least_permissions(access_list: bytes) -> int:
    """The permissions (0 to 7) that everybody has whom a POSIX access control list names.

    Its form is that of acl(5)'s extended attribute: entries of a tag, permissions and an id.
    """
    least = 7
    for start in range(_ACL_HEADER, len(access_list) - _ACL_ENTRY + 1, _ACL_ENTRY):
        tag = int.from_bytes(access_list[start : start + 2], "little")
        if tag not in (_ACL_OWNER, _ACL_OTHER):  # the mask bounds all the rest
            least &= access_list[start + 2]
    return least


def access_list(file: str | int) -> bytes | None:
    """A file's POSIX access control list beyond its mode, None where it has none."""
    if hasattr(os, "getxattr"):
        with suppress(OSError):
            return os.getxattr(file, _ACL)
    return None
