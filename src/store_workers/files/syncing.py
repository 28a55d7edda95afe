"""Makes files and names durable, also on file systems without some of the calls for it."""

from __future__ import annotations

import errno
import os
import sys
from contextlib import suppress

UNSYNCABLE = frozenset(
    getattr(errno, name)
    for name in ("EINVAL", "ENOTSUP", "EOPNOTSUPP", "ENOSYS", "EBADF", "EISDIR", "ENOTTY")
    if hasattr(errno, name)
)
"""Errors if there is nothing to sync, or no such call: pipes, some network mounts."""

REFUSED = UNSYNCABLE | {errno.EACCES, errno.EPERM}
"""Further errors of file systems that do not sync directories."""

OWN_DESCRIPTORS = "/proc/self/fd"


def sync_file(descriptor: int) -> None:
    """Make a file's content durable. macOS needs another call to flush the drive's cache.

    Raises `OSError`, also if the file system has no such call.
    """
    if sys.platform == "darwin":
        import fcntl

        with suppress(OSError):  # not every file system supports it
            fcntl.fcntl(descriptor, fcntl.F_FULLFSYNC)
            return
    os.fsync(descriptor)


def sync_if_possible(descriptor: int) -> None:
    """Make durable what was written to a device, a pipe or a descriptor of the owner.

    Raises `OSError`, except if there is nothing to sync.
    """
    try:
        sync_file(descriptor)
    except OSError as error:
        if error.errno not in UNSYNCABLE:
            raise


def sync_directory(directory: str) -> None:
    """Make the names in a directory durable. Does nothing if directories cannot be opened.

    Some network file systems cannot sync a directory: fsync(2).
    """
    if os.name == "nt":
        return
    descriptor = os.open(directory, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    except OSError as error:
        if error.errno not in UNSYNCABLE:
            raise
    finally:
        os.close(descriptor)


class SyncedDirectory:
    """A directory to sync later. This is tried on creation, so that it does not fail later.

    Raises `OSError` if the directory is missing or its disk fails. If it may not be read (mode
    0300) or cannot be synced, its whole file system is synced instead.
    """

    def __init__(self, path: str) -> None:
        self._descriptor = -1
        if os.name == "nt":
            return
        try:
            self._descriptor = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
            os.fsync(self._descriptor)
        except OSError as error:
            self.close()
            if error.errno not in REFUSED:
                raise

    def short_path(self) -> str | None:
        """Another path of the directory, of some twenty characters; None if there is none."""
        if self._descriptor < 0 or not os.path.isdir(OWN_DESCRIPTORS):
            return None
        return f"{OWN_DESCRIPTORS}/{self._descriptor}"

    def sync(self, file: int) -> None:
        """Make the names durable; `file` is the descriptor of a file in it. Does not raise."""
        if self._descriptor >= 0:
            with suppress(OSError):
                os.fsync(self._descriptor)
                return
        sync_file_system(file)

    def close(self) -> None:
        """Close the directory."""
        if self._descriptor >= 0:
            os.close(self._descriptor)
            self._descriptor = -1


def sync_file_system(descriptor: int) -> None:
    """Sync the file system of a file (syncfs(2), Linux). Does not raise."""
    with suppress(ImportError, AttributeError, OSError):
        import ctypes

        ctypes.CDLL(None).syncfs(descriptor)
