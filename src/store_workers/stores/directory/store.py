"""Chunks as files: `<root>/<first two digits>/<hash>`.

A chunk is written to a temporary file in the root, synced and renamed, and its directory is synced.
So a partial chunk never appears under a hash, and a reported chunk survives a loss of power.
"""

from __future__ import annotations

import errno
import os
import stat
import threading
from contextlib import contextmanager, suppress

from store_workers.errors import DENIED, MISSING, ErrorCode, StoreFailure, reason, shown
from store_workers.files.atomic_file import (
    TemporaryFiles,
    directory_of,
    remove_stale_files,
    write_all,
)
from store_workers.files.syncing import sync_if_possible
from store_workers.stores.base import LONGEST_ANSWER, TRIES_OF_LASTING_DAMAGE, Properties
from store_workers.stores.directory.syncing import GroupSync, sync_names

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator

    from store_workers.stores.base import Chunk
    from store_workers.transfer.rate_limit import RateLimit

_PASSING = frozenset({errno.EIO, errno.EMFILE, errno.ENFILE, errno.EAGAIN, errno.ENOMEM})
_PASSING_NAMES = ("ESTALE", "ETIMEDOUT", "EBUSY", "EINTR")
_TRANSIENT = _PASSING | {getattr(errno, name) for name in _PASSING_NAMES if hasattr(errno, name)}

_NO_FILE = frozenset({errno.ELOOP, errno.ENXIO})
"""Errors of opening something other than a file: a link to itself, a socket."""

_UNREADABLE_NAMES = ("EIO", "EUCLEAN", "EBADMSG")
_UNREADABLE = {getattr(errno, name) for name in _UNREADABLE_NAMES if hasattr(errno, name)}
"""Errors of reading damaged places of a disk: bad sectors, checksums of the file system."""

READ_ON = 64 * 1024
"""Bytes that are read at once after the expected end of a chunk's file."""


class DirectoryStore:
    """A directory, on this host or mounted.

    `root` need not exist before the first chunk is put; a `get` from a root that does not exist
    is `STORE_UNAVAILABLE`. Files and directories get the modes that the umask leaves. No lock is
    held while the file system works, but for the first look at the root. Without `create` the
    root must exist.
    """

    properties = Properties(asking_is_free=True, damage_lasts=True)

    def __init__(
        self, root: str, *, create: bool = True, rate_limit: RateLimit | None = None
    ) -> None:
        self._root = root
        self._below = os.path.join(root, "")  # the beginning of every path in it
        self._create_root = create
        self._rate_limit = rate_limit
        self._files = TemporaryFiles()
        self._syncing = GroupSync()
        self._lock = threading.Lock()  # guards the attributes below
        self._identity: tuple[int, int] | None = None  # of the root, after its first use
        self._told: str | None = None  # a reported chunk, which is durable in the root
        self._known: set[str] = set()  # directories that are durable in the root
        # Directories in which names of other runs are durable, with the time up to which (ns).
        self._synced: dict[str, int] = {}
        self._doubtful: set[str] = set()  # chunks whose name is possibly not durable

    def has(self, hash: str, size: int) -> bool:
        try:
            found = os.stat(self._path(hash))
            if not stat.S_ISREG(found.st_mode) or found.st_size != size or hash in self._doubtful:
                return False
            self._look_at_root()
            self._sync_unless_older(hash[:2], found.st_ctime_ns)
        except OSError as error:
            if error.errno in MISSING or error.errno in _NO_FILE:
                return False
            raise self._failure(error) from None
        self._told = hash
        return True

    def length(self, hash: str) -> int | None:
        try:
            found = os.stat(self._path(hash))
        except OSError as error:
            raise self._unread(hash, error) from None
        if not stat.S_ISREG(found.st_mode):
            raise _no_file()
        return found.st_size

    def put(self, chunk: Chunk, *, overwrite: bool = False) -> bool:
        try:
            self._write(chunk)
        except OSError as error:
            raise self._failure(error) from None
        self._told = chunk.hash
        return True

    def get(self, hash: str) -> bytes:
        with self._reading(hash) as (descriptor, size):
            return self._read(descriptor, size)

    def close(self) -> None:
        """Remove temporary files, and prevent further renames."""
        self._files.close()

    def remove_stale_files(self) -> int:
        return remove_stale_files(self._root)

    def _path(self, hash: str) -> str:
        return f"{self._below}{hash[:2]}{os.sep}{hash}"

    @contextmanager
    def _reading(self, hash: str) -> Iterator[tuple[int, int]]:
        """A chunk's file, opened: (its descriptor, its size)."""
        try:
            # A FIFO under the name of a chunk must not block the worker.
            flags = os.O_RDONLY | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_BINARY", 0)
            descriptor = os.open(self._path(hash), flags)
        except OSError as error:
            raise self._unread(hash, error) from None
        try:
            found = os.fstat(descriptor)
            if not stat.S_ISREG(found.st_mode):
                raise _no_file()
            yield descriptor, found.st_size
        except OSError as error:
            raise self._unread(hash, error) from None
        finally:
            with suppress(OSError):  # nothing was written that could be lost
                os.close(descriptor)

    def _write(self, chunk: Chunk) -> None:
        prefix = chunk.hash[:2]
        descriptor, aside = self._create()
        try:
            try:
                self._write_pieces(descriptor, chunk.pieces)
                sync_if_possible(descriptor)
            finally:
                os.close(descriptor)
            self._make_directory(prefix)
            self._rename(aside, self._path(chunk.hash))
        except BaseException:
            self._files.discard(aside)
            self._known.discard(prefix)
            raise
        # A sync that failed can succeed the second time without having written anything. Then
        # only another rename makes the directory's names worth another sync.
        self._doubtful.add(chunk.hash)
        self._syncing.sync(self._below + prefix)
        self._doubtful.discard(chunk.hash)

    def _write_pieces(self, descriptor: int, pieces: list[memoryview]) -> None:
        if self._rate_limit is None:
            write_all(descriptor, pieces)
            return
        for piece in self._rate_limit.pieces(pieces):
            write_all(descriptor, [piece])

    def _read(self, descriptor: int, size: int) -> bytes:
        """Return the file's bytes, up to the longest answer, with two calls for most chunks.

        `size` is how many it is said to have.
        """
        size = min(size + 1, LONGEST_ANSWER)
        if self._rate_limit is None:
            data = os.read(descriptor, size)
        else:
            data = b"".join(self._read_pieces(descriptor, size, self._rate_limit))
        while left := LONGEST_ANSWER - len(data):
            if not (more := os.read(descriptor, min(left, READ_ON))):
                break
            data += more
        return data

    def _read_pieces(self, descriptor: int, size: int, limit: RateLimit) -> Iterator[bytes]:
        while size and (data := os.read(descriptor, min(size, limit.piece))):
            limit.take(len(data))
            size -= len(data)
            yield data

    def _create(self) -> tuple[int, str]:
        if self._identity is None and self._create_root:
            make_directories(self._root)
        self._look_at_root()
        return self._files.create(self._root)

    def _rename(self, aside: str, path: str) -> None:
        """Give a chunk its name, also on file systems where a rename does not replace files."""
        try:
            self._files.rename(aside, path)
        except FileExistsError:
            os.unlink(path)
            self._files.rename(aside, path)

    def _look_at_root(self) -> None:
        """Fail if the root was replaced: the chunks that were reported would not be in it.

        On some file systems inode numbers change, so the last reported chunk decides. Before the
        first one, any directory is accepted.
        """
        found = os.stat(self._root)
        identity = (found.st_dev, found.st_ino)
        if identity == self._identity:
            return
        with self._lock:
            if identity == self._identity:
                return
            if self._told is None:
                self._look_at_first()
            elif not os.path.isfile(self._path(self._told)):
                raise StoreFailure(
                    ErrorCode.STORE_UNAVAILABLE,
                    f"the store directory {shown(self._root)} was replaced during the run",
                    transient=True,
                )
            self._identity = identity

    def _look_at_first(self) -> None:
        """Make durable what other runs made in the root, and the root itself."""
        names: list[str] = []
        # With write permission only, each directory is created again.
        with suppress(PermissionError):
            names = os.listdir(self._root)
        sync_names(self._root)
        with suppress(PermissionError):
            sync_names(directory_of(self._root.rstrip(os.sep)))
        self._synced.clear()
        self._known.clear()
        self._known.update(names)

    def _make_directory(self, prefix: str) -> None:
        if prefix in self._known:
            return
        with suppress(FileExistsError):
            os.mkdir(self._below + prefix)
        # Also if another worker created it, which may have been killed before it synced.
        self._syncing.sync(self._root)
        self._known.add(prefix)

    def _sync_unless_older(self, prefix: str, named: int) -> None:
        """Sync a directory whose names another run may have left unsynced.

        `named` is the time of a name in it, as the file system recorded it in the file. Names that
        are not newer than a change of the directory before its last sync are durable.
        """
        if named > self._synced.get(prefix, -1):
            self._make_directory(prefix)
            changed = os.stat(self._below + prefix).st_mtime_ns
            self._syncing.sync(self._below + prefix)
            self._synced[prefix] = max(named, changed)

    def _unread(self, hash: str, error: OSError) -> StoreFailure:
        """Return the failure for an error of opening or reading a chunk's file."""
        if error.errno in MISSING:
            return self._absent()
        if error.errno in _NO_FILE:
            return _no_file()
        if error.errno in DENIED and os.path.isfile(self._path(hash)):
            return StoreFailure(
                ErrorCode.STORE_ACCESS_DENIED, f"its file: {reason(error)}", one_chunk=True
            )
        if error.errno not in _UNREADABLE or self._is_unreadable():
            return self._failure(error)
        return StoreFailure(
            ErrorCode.CHUNK_CORRUPT,
            f"its file cannot be read: {reason(error)}",
            transient=True,
            most_tries=TRIES_OF_LASTING_DAMAGE,
        )

    def _absent(self) -> StoreFailure:
        if os.path.isdir(self._root):
            return StoreFailure(ErrorCode.CHUNK_NOT_FOUND, "the store does not have this chunk")
        if os.path.exists(self._root):
            return self._failure(NotADirectoryError(errno.ENOTDIR, os.strerror(errno.ENOTDIR)))
        return StoreFailure(
            ErrorCode.STORE_UNAVAILABLE,
            f"the store directory {shown(self._root)} does not exist",
        )

    def _is_unreadable(self) -> bool:
        """Return whether nothing of the store can be read: then no single chunk is damaged."""
        try:
            os.listdir(self._root)
        except OSError as error:
            return error.errno not in DENIED
        return False

    def _failure(self, error: OSError) -> StoreFailure:
        message = f"the store directory {shown(self._root)}: {reason(error)}"
        if error.errno in DENIED:
            return StoreFailure(ErrorCode.STORE_ACCESS_DENIED, message)
        if error.errno in _TRANSIENT:
            return StoreFailure(ErrorCode.STORE_UNAVAILABLE, message, transient=True)
        if error.errno not in MISSING:
            return StoreFailure(ErrorCode.STORE_REJECTED, message)
        # It existed a moment ago: a mount that disappeared can return. A file in its place stays.
        returns = error.errno == errno.ENOENT
        return StoreFailure(ErrorCode.STORE_UNAVAILABLE, message, transient=returns)


def _no_file() -> StoreFailure:
    return StoreFailure(
        ErrorCode.CHUNK_CORRUPT, "there is something other than a file under its name"
    )


def make_directories(path: str) -> None:
    """Create a directory and its missing parents, each durable in the one above it."""
    if os.path.isdir(path):
        return
    parent = directory_of(path.rstrip(os.sep) or os.sep)
    if parent != path:
        make_directories(parent)
    try:
        os.mkdir(path)
    except FileExistsError:
        return
    sync_names(parent)
