"""Files that appear complete under their name or not at all, and removal of temporary files.

All steps are necessary: write a temporary file, fsync it (or a crash can leave an empty file under
the name), rename, fsync the directory (or a crash can lose the name).
"""

from __future__ import annotations

import errno
import os
import stat
import threading
import time
from contextlib import suppress

from store_workers.files.permissions import keep_permissions
from store_workers.files.replaceable import check_replaceable
from store_workers.files.syncing import OWN_DESCRIPTORS, SyncedDirectory, sync_file
from store_workers.threads import Abandoned

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator

STALE_AFTER = 24 * 60 * 60
"""Seconds after which a temporary file cannot belong to a running worker."""

TEMPORARY_PREFIX = ".store-workers-"
TEMPORARY_SUFFIX = ".part"

LONGEST_CLOSE = 1.0
"""Seconds that closing waits for a system call in another thread."""

OPEN, CLOSED = 0o666, 0o600
"""Modes of a new file: according to the umask, or owner only while it replaces another file."""

_FLAGS = (
    os.O_RDWR
    | os.O_CREAT
    | os.O_EXCL
    | getattr(os, "O_NOFOLLOW", 0)
    | getattr(os, "O_BINARY", 0)
    | getattr(os, "O_CLOEXEC", 0)
)
_UNNAMED = getattr(os, "O_TMPFILE", 0)
_RANDOM_BYTES = 8
_TEMPORARY_LENGTH = len(TEMPORARY_PREFIX) + 2 * _RANDOM_BYTES + len(TEMPORARY_SUFFIX)
_LONGEST_PATH = 4095  # Linux's PATH_MAX without the NUL; not used elsewhere


class TemporaryFiles:
    """All temporary files of a run; closing removes them.

    Names are random and opened exclusively without following links, so that nobody can prepare
    another file there. `renamed`: a file was given its name by `rename`.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()  # guards the attributes below, never held during I/O
        self._quiet = threading.Condition(self._lock)
        self.renamed = False
        self._paths: set[str] = set()
        self._under_way = 0  # running system calls that create or rename a file
        self._closed = False
        self._forsaken = False  # closed: nobody would remove what is added now

    def create(self, directory: str, mode: int = 0o666) -> tuple[int, str]:
        """Create an empty file in `directory`. Return (descriptor, path). Raises `OSError`."""
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
        """Give an unnamed file a temporary name in its directory."""
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
        """Rename a file to its name, replacing an existing file."""
        self._begin()
        try:
            os.replace(path, target)
        except BaseException:
            self._end()
            raise
        self.renamed = True  # before closing stops waiting for this call
        self._end(removed=path)

    def move_aside(self, path: str, directory: str) -> str:
        """Give a file another temporary name, to check that renaming works. Return its path."""
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
        """Remove a file."""
        _unlink(path)
        with self._lock:
            self._paths.discard(path)

    def close(self) -> None:
        """Remove all temporary files, and prevent creating or renaming further ones.

        A file system that hangs in another thread's call delays this only briefly.
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
        """Record a running system call, for which closing waits."""
        with self._lock:
            if self._closed:
                raise Abandoned
            self._under_way += 1

    def _end(self, added: str | None = None, removed: str | None = None) -> None:
        """Record that the call has returned, and its effect on a file.

        If closing stopped waiting for it, its effect is undone here.
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
    """A temporary file that appears under `target` by one rename.

    If the system supports it, the file has no name until it is complete, so that even a killed
    worker leaves nothing. Nobody can read it who could not read the replaced file (`permissions`).
    Functions that the file system refuses are detected on creation, before anything is written.
    """

    def __init__(self, target: str, files: TemporaryFiles) -> None:
        self._target = target
        self._files = files
        self._directory = directory_of(target)
        self._path: str | None = None
        self.descriptor = -1
        replaced = replaced_file(target)
        if replaced is not None:
            check_replaceable(target)
        self._names = SyncedDirectory(self._directory)
        try:
            self._create(OPEN if replaced is None else CLOSED)
        except OSError:
            self._names.close()
            raise

    def commit(self) -> None:
        """Make the content durable and give it its name.

        Raises `OSError`: the target is then unchanged.
        """
        replaced = replaced_file(self._target)
        if replaced is not None:
            keep_permissions(self.descriptor, replaced, self._target)
        sync_file(self.descriptor)
        if self._path is None:
            self._path = self._files.name(self.descriptor, self._directory)
        self._files.rename(self._path, self._target)
        # From here on the file exists, so no error may be reported.
        self._names.sync(self.descriptor)
        self.close()

    def close(self) -> None:
        """Close the file and its directory, whether it was completed or not."""
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
        """Return a path of the directory that is short enough for temporary names in it."""
        if len(os.fsencode(self._directory)) + 1 + _TEMPORARY_LENGTH <= _LONGEST_PATH:
            return self._directory
        short = self._names.short_path()
        if short is None:
            raise OSError(errno.ENAMETOOLONG, os.strerror(errno.ENAMETOOLONG))
        return short

    def _create_unnamed(self, mode: int) -> int:
        """Open a file without a name; return -1 if this is not supported."""
        if not _UNNAMED:
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
        """Create a file with a temporary name, if it can be renamed: (descriptor, path)."""
        descriptor, path = self._files.create(self._directory, mode)
        try:
            return descriptor, self._files.move_aside(path, self._directory)
        except OSError:
            os.close(descriptor)
            self._files.discard(path)
            raise


def replaced_file(target: str) -> os.stat_result | None:
    """Return the regular file of this name, following links; None if there is none."""
    try:
        found = os.stat(target)
    except OSError:
        return None
    return found if stat.S_ISREG(found.st_mode) else None


def temporary_name() -> str:
    """Return an unpredictable name."""
    return f"{TEMPORARY_PREFIX}{os.urandom(_RANDOM_BYTES).hex()}{TEMPORARY_SUFFIX}"


def remove_stale_files(directory: str, now: float | None = None) -> int:
    """Remove old temporary files of killed workers from a directory. Return their number.

    Errors are ignored: this cleanup must not fail a run.
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
    """Return the entries of a directory that have the name of a temporary file."""
    with os.scandir(directory) as entries:
        for entry in entries:
            if entry.name.startswith(TEMPORARY_PREFIX) and entry.name.endswith(TEMPORARY_SUFFIX):
                yield entry


def directory_of(path: str) -> str:
    """Return the directory of a path."""
    return os.path.dirname(path) or os.curdir


def write_all(descriptor: int, pieces: list[memoryview]) -> None:
    """Write all bytes of `pieces`, in as few calls as possible. Raises `OSError`."""
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
    """Write all bytes of `data` at an offset of a file. Raises `OSError`."""
    while data:
        count = os.pwrite(descriptor, data, offset)
        data = data[count:]
        offset += count


_MOST_PIECES = 512


def _without(pieces: list[memoryview], count: int) -> list[memoryview]:
    """Return the rest of `pieces` after their first `count` bytes."""
    for position, piece in enumerate(pieces):
        if count < len(piece):
            return [piece[count:], *pieces[position + 1 :]]
        count -= len(piece)
    return []


def _can_link(descriptor: int, directory: str) -> bool:
    """Return whether an unnamed file can be linked here, by trying a name that always exists."""
    try:
        _link_descriptor(descriptor, os.path.join(directory, os.curdir))
    except FileExistsError:
        return True
    except OSError:
        pass
    return False


def _link_descriptor(descriptor: int, path: str) -> None:
    """Give an unnamed file a name (open(2), O_TMPFILE)."""
    # Python makes the call that follows the link only if a descriptor is given. Since the path is
    # absolute, the system does not use it.
    own = f"{OWN_DESCRIPTORS}/{descriptor}"
    os.link(own, path, src_dir_fd=descriptor, follow_symlinks=True)


def _unlink(path: str) -> None:
    with suppress(OSError):  # the file or its directory is gone already
        os.unlink(path)
