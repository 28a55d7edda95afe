"""Files that appear whole, under their name, or not at all; and the removal of what was begun.

The steps, each needed: write aside, fsync the file (or a crash leaves an empty one under the
name), rename, fsync the directory (or a crash forgets the name).
"""

from __future__ import annotations

import errno
import os
import stat
import threading
import time
from contextlib import suppress

from store_workers.files.mounts import is_mount_point
from store_workers.files.permissions import keep_permissions
from store_workers.files.syncing import OWN_DESCRIPTORS, SyncedDirectory, sync_file
from store_workers.threads import Abandoned

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator

STALE_AFTER = 24 * 60 * 60
"""Seconds after which a temporary file cannot belong to a running worker any more."""

TEMPORARY_PREFIX = ".store-workers-"
TEMPORARY_SUFFIX = ".part"

LONGEST_CLOSE = 1.0
"""Seconds that closing waits for a call under way in another thread."""

OPEN, CLOSED = 0o666, 0o600
"""Modes of a new file: what the umask leaves, or for its owner alone while it replaces another."""

_FLAGS = (
    os.O_RDWR
    | os.O_CREAT
    | os.O_EXCL
    | getattr(os, "O_NOFOLLOW", 0)
    | getattr(os, "O_BINARY", 0)
    | getattr(os, "O_CLOEXEC", 0)
)
_UNNAMED = getattr(os, "O_TMPFILE", 0)
_LONGEST_PATH = 4095  # Linux's PATH_MAX without the NUL; elsewhere nothing goes by it


class TemporaryFiles:
    """All files of a run that are not yet under their name; closing it removes them.

    Names are random and opened exclusively without following links, so that nobody can plant
    something at them.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()  # guards what follows, never held across I/O
        self._quiet = threading.Condition(self._lock)
        self._paths: set[str] = set()
        self._under_way = 0  # calls of the system that make or rename a file
        self._closed = False
        self._forsaken = False  # closed, and what is added now nobody would remove

    def create(self, directory: str, mode: int = 0o666) -> tuple[int, str]:
        """Create an empty file in `directory`: (its descriptor, its path). Raises `OSError`."""
        path = os.path.join(directory, temporary_name())
        self._begin()
        try:
            descriptor = os.open(path, _FLAGS, mode)
        except BaseException:
            self._end()
            raise
        try:
            self._end(added=path)
        except Abandoned:
            os.close(descriptor)
            raise
        return descriptor, path

    def name(self, descriptor: int, directory: str) -> str:
        """Give a file that was opened without a name a temporary one in its directory."""
        path = os.path.join(directory, temporary_name())
        self._begin()
        try:
            _link_descriptor(descriptor, path)
        except BaseException:
            self._end()
            raise
        self._end(added=path)
        return path

    def rename(self, path: str, target: str) -> None:
        """Move a file to its name, replacing what is there."""
        self._begin()
        try:
            os.replace(path, target)
        except BaseException:
            self._end()
            raise
        self._end(removed=path)

    def move_aside(self, path: str, directory: str) -> str:
        """Give a file another temporary name; its path. Tries whether files can be renamed."""
        moved = os.path.join(directory, temporary_name())
        self._begin()
        try:
            os.rename(path, moved)
        except BaseException:
            self._end()
            raise
        self._end(added=moved, removed=path)
        return moved

    def discard(self, path: str) -> None:
        """Remove a file that is not wanted any more."""
        _unlink(path)
        with self._lock:
            self._paths.discard(path)

    def close(self) -> None:
        """Remove every file that has not got its name, and let none be made or renamed any more.

        A file system that hangs in another thread's call does not hold this up for long.
        """
        with self._lock:
            self._closed = True
            self._quiet.wait_for(lambda: not self._under_way, LONGEST_CLOSE)
            paths = tuple(self._paths)
            self._paths.clear()
            self._forsaken = True
        for path in paths:
            _unlink(path)

    def _begin(self) -> None:
        """Note a call of the system, which closing waits for."""
        with self._lock:
            if self._closed:
                raise Abandoned
            self._under_way += 1

    def _end(self, added: str | None = None, removed: str | None = None) -> None:
        """Note that the call is over, and what became of a file by it.

        What closing did not wait for any longer is undone here.
        """
        with self._lock:
            self._under_way -= 1
            if added is not None:
                self._paths.add(added)
            if removed is not None:
                self._paths.discard(removed)
            if self._closed:
                self._quiet.notify_all()
            forsaken = self._forsaken
        if forsaken and added is not None:
            _unlink(added)
            raise Abandoned


class AtomicFile:
    """A file that is written aside and appears under `target` by one rename.

    Where the system can, it has no name at all until it is complete, so that even a killed worker
    leaves nothing behind. Nobody can read it who could not read what it replaces (`permissions`).
    Whatever the file system refuses shows when this is made, before there is anything to lose.
    """

    def __init__(self, target: str, files: TemporaryFiles) -> None:
        self._target = target
        self._files = files
        self._directory = directory_of(target)
        self._path: str | None = None
        self.descriptor = -1
        replaced = replaced_file(target)
        if replaced is not None and is_mount_point(target):
            raise OSError(errno.EBUSY, "is a mount point and cannot be replaced")
        self._names = SyncedDirectory(self._directory)
        try:
            self._create(OPEN if replaced is None else CLOSED)
        except OSError:
            self._names.close()
            raise

    def commit(self) -> None:
        """Make the content durable and give it its name.

        Raises `OSError`, and then the target is what it was.
        """
        replaced = replaced_file(self._target)
        if replaced is not None:
            keep_permissions(self.descriptor, replaced, self._target)
        sync_file(self.descriptor)
        if self._path is None:
            self._path = self._files.name(self.descriptor, self._directory)
        self._files.rename(self._path, self._target)
        # From here on the file is there, so nothing may say otherwise.
        self._names.sync(self.descriptor)
        self.close()

    def close(self) -> None:
        """Let go of the file and of its directory, whatever became of it."""
        self._names.close()
        descriptor, self.descriptor = self.descriptor, -1
        if descriptor >= 0:
            with suppress(OSError):
                os.close(descriptor)

    def _create(self, mode: int) -> None:
        self._directory = self._directory_for_names()
        self.descriptor = self._create_unnamed(mode)
        if self.descriptor < 0:
            self.descriptor, self._path = self._create_named(mode)

    def _directory_for_names(self) -> str:
        """A path of the directory that is short enough for temporary names in it."""
        longest = os.path.join(self._directory, temporary_name())
        if len(os.fsencode(longest)) <= _LONGEST_PATH:
            return self._directory
        short = self._names.short_path()
        if short is None:
            raise OSError(errno.ENAMETOOLONG, os.strerror(errno.ENAMETOOLONG))
        return short

    def _create_unnamed(self, mode: int) -> int:
        """Open a file without a name; -1 where the system or the file system has none."""
        if not _UNNAMED or not os.path.isdir(OWN_DESCRIPTORS):
            return -1
        flags = os.O_RDWR | _UNNAMED | os.O_CLOEXEC
        try:
            descriptor = os.open(self._directory, flags, mode)
        except OSError:
            return -1
        if _can_link(descriptor, self._directory):
            return descriptor
        os.close(descriptor)
        return -1

    def _create_named(self, mode: int) -> tuple[int, str]:
        """Create a file with a temporary name, where names can be changed: (descriptor, path)."""
        descriptor, path = self._files.create(self._directory, mode)
        try:
            return descriptor, self._files.move_aside(path, self._directory)
        except OSError:
            os.close(descriptor)
            self._files.discard(path)
            raise


def replaced_file(target: str) -> os.stat_result | None:
    """The regular file that is read under this name, by way of links too; None where none is."""
    try:
        found = os.stat(target)
    except OSError:
        return None
    return found if stat.S_ISREG(found.st_mode) else None


def temporary_name() -> str:
    """A name that nobody can foresee."""
    return f"{TEMPORARY_PREFIX}{os.urandom(8).hex()}{TEMPORARY_SUFFIX}"


def remove_stale_files(directory: str, now: float | None = None) -> int:
    """Remove what killed workers left in a directory, once it is old enough; how many it was.

    What cannot be looked at or removed stays: tidying up is not worth failing for.
    """
    oldest = (time.time() if now is None else now) - STALE_AFTER
    removed = 0
    with suppress(OSError):
        for entry in temporary_files(directory):
            with suppress(OSError):
                if entry.stat(follow_symlinks=False).st_mtime < oldest:
                    os.unlink(entry.path)
                    removed += 1
    return removed


def temporary_files(directory: str) -> Iterator[os.DirEntry[str]]:
    """The entries of a directory that have the name of a temporary file of ours."""
    with os.scandir(directory) as entries:
        for entry in entries:
            if entry.name.startswith(TEMPORARY_PREFIX) and entry.name.endswith(TEMPORARY_SUFFIX):
                yield entry


def directory_of(path: str) -> str:
    """The directory that a path lies in."""
    return os.path.dirname(path) or os.curdir


def write_all(descriptor: int, pieces: list[memoryview]) -> None:
    """Write every byte of `pieces`, in as few calls as the system needs. Raises `OSError`."""
    if not hasattr(os, "writev"):
        for piece in pieces:
            rest = piece
            while rest:
                rest = rest[os.write(descriptor, rest) :]
        return
    left = pieces
    while left:
        written = os.writev(descriptor, left[:_MOST_PIECES])
        left = _without(left, written)


def write_all_at(descriptor: int, data: memoryview, offset: int) -> None:
    """Write every byte of `data` at a place of a file. Raises `OSError`."""
    while data:
        count = os.pwrite(descriptor, data, offset)
        data = data[count:]
        offset += count


_MOST_PIECES = 512


def _without(pieces: list[memoryview], count: int) -> list[memoryview]:
    """What is left of `pieces` behind their first `count` bytes."""
    for position, piece in enumerate(pieces):
        if count < len(piece):
            return [piece[count:], *pieces[position + 1 :]]
        count -= len(piece)
    return []


def _can_link(descriptor: int, directory: str) -> bool:
    """Can an unnamed file be given a name here? What is tried is a name that every folder has."""
    try:
        _link_descriptor(descriptor, os.path.join(directory, os.curdir))
    except FileExistsError:
        return True
    except OSError:
        pass
    return False


def _link_descriptor(descriptor: int, path: str) -> None:
    """Give an unnamed file a name (open(2), O_TMPFILE)."""
    folder = os.open(OWN_DESCRIPTORS, os.O_RDONLY)
    try:
        # Only with a directory's descriptor does Python make the call that follows the link.
        os.link(str(descriptor), path, src_dir_fd=folder, follow_symlinks=True)
    finally:
        os.close(folder)


def _unlink(path: str) -> None:
    with suppress(OSError):  # gone already, or its directory is: nothing is left to remove
        os.unlink(path)
