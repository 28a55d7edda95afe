"""The permissions of a file that replaces another: nobody gains access.

The new file belongs to the worker's user, so users can move from one class of permissions (owner,
group, others) to another. A class gets at most the permissions of every class that its users can
come from.
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
    """Give a new file the mode of the one at `path`, as far as nobody gains access.

    If the file system has fixed modes (FUSE, SMB), nothing is changed.
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
    """Return the mode for the file `made`, which replaces `replaced`.

    `old_list` and `new_list` are their POSIX access control lists, or None. Other bits than the
    nine of permissions (set-user-ID and similar) are removed.
    """
    mode = stat.S_IMODE(replaced.st_mode) & ALL
    owner, group, others = mode >> OWNER_SHIFT, mode >> GROUP_SHIFT & 7, mode & 7
    if replaced.st_uid != made.st_uid:  # the old owner is now in the group or among the others
        group &= owner
        others &= owner
    if replaced.st_gid != made.st_gid:  # members of the old group are others now
        others &= group
        group = 0
    if old_list is not None:  # users that it named are in the group or among the others now
        others &= least_permissions(old_list)
        group = 0
    # The list is the directory's default: the group's bits would limit the users that it names.
    if new_list is not None:
        group = 0
    return owner << OWNER_SHIFT | group << GROUP_SHIFT | others


def least_permissions(access_list: bytes) -> int:
    """Return the permissions (0 to 7) that all users of a POSIX access control list have.

    The list is the extended attribute of acl(5): entries of a tag, permissions and an id.
    """
    least = 7
    for start in range(_ACL_HEADER, len(access_list) - _ACL_ENTRY + 1, _ACL_ENTRY):
        tag = int.from_bytes(access_list[start : start + 2], "little")
        if tag not in (_ACL_OWNER, _ACL_OTHER):  # the mask limits all others
            least &= access_list[start + 2]
    return least


def access_list(file: str | int) -> bytes | None:
    """Return a file's POSIX access control list; None if it has only a mode."""
    if hasattr(os, "getxattr"):
        with suppress(OSError):
            return os.getxattr(file, _ACL)
    return None
