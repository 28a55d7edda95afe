"""The partial file of a resumable download: beside its target, with a journal.

The journal has a record for each frame whose content was written, in order. Each record has the
digest of that content and a checksum of itself. So any damage to either file, by a crash, a full
disk or an edit, is detected, and nothing has to be synced during the download.

There are three files. The partial file becomes the target by a rename, so it contains nothing else.
The digests are stored because nothing else proves the content: the stream has 32 bits for each
frame, at its end. The chunks have a file of their own, so that a full disk can use its space.
"""

from __future__ import annotations

import errno
import os
import stat
import struct
from contextlib import suppress
from hashlib import sha256

from store_workers.errors import ErrorCode, WorkerError, file_error, shown
from store_workers.files.atomic_file import (
    OPEN,
    TemporaryFiles,
    directory_of,
    replaced_file,
    write_all_at,
)
from store_workers.files.kept_chunks import KeptChunks
from store_workers.files.paths import system_path
from store_workers.files.permissions import keep_permissions
from store_workers.files.replaceable import check_replaceable
from store_workers.files.sparse import stretches
from store_workers.files.syncing import SyncedDirectory, sync_file

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from store_workers.files.target import WriteAt

LONGEST_NAME = 255
"""Maximum length of a file name in bytes on nearly every file system."""

PART, JOURNAL, CHUNKS = ".part", ".jrnl", ".chnk"
LIST_DIGITS = 16

_BODY = struct.Struct("<QIQIIQQ32s")
_CHECK_SIZE = 8
_RECORD_SIZE = _BODY.size + _CHECK_SIZE
_MOST_LOOKS = 5
_FLAGS = (
    os.O_RDWR
    | getattr(os, "O_NOFOLLOW", 0)
    | getattr(os, "O_NONBLOCK", 0)
    | getattr(os, "O_BINARY", 0)
    | getattr(os, "O_CLOEXEC", 0)
)


class Piece:
    """One frame whose content was written.

    `offset` and `length` are those of the frame in the stream, `content_offset` and `size` those of
    its content in the file, `checksum` that of the frame. The stream continues in chunk `chunk` of
    the list, which begins at `chunk_offset` of the stream.
    """

    __slots__ = ("checksum", "chunk", "chunk_offset", "content_offset", "length", "offset", "size")

    def __init__(
        self,
        offset: int,
        length: int,
        content_offset: int,
        size: int,
        checksum: int,
        chunk: int,
        chunk_offset: int,
    ) -> None:
        self.offset = offset
        self.length = length
        self.content_offset = content_offset
        self.size = size
        self.checksum = checksum
        self.chunk = chunk
        self.chunk_offset = chunk_offset

    @property
    def end(self) -> int:
        """The end of the frame in the stream."""
        return self.offset + self.length

    @property
    def content_end(self) -> int:
        """The end of its content in the file."""
        return self.content_offset + self.size

    def follows(self, other: Piece | None) -> bool:
        """Return whether this frame follows `other`, or is the stream's first if that is None."""
        if other is None:
            return (self.offset, self.content_offset) == (0, 0)
        return (self.offset, self.content_offset) == (other.end, other.content_end)


class PartialFile:
    """A target that keeps what was written when its run fails or dies.

    `list_digest` identifies the file's list, in 32 bytes: records of another list do not count.
    Only this process may use the file until it is closed (`FILE_WRITE_FAILED` for any other), and
    nobody else may read it (mode 0600). `kept` are the chunks that were fetched last. Raises
    `WorkerError`.
    """

    write_at: WriteAt | None = None
    spent = False

    def __init__(self, path: str, list_digest: bytes, files: TemporaryFiles) -> None:
        self._path = path
        self._target = system_path(path)
        self._list_digest = list_digest
        self._files = files
        self._position = 0
        self._pieces = 0
        self._unwanted = False
        self._looked = False  # at what was there: before that, nothing of it is given up
        stem = partial_stem(self._target, list_digest)
        self._part, self._others = stem + PART, (stem + JOURNAL, stem + CHUNKS)
        self._descriptor = self._journal = self._ring = -1
        if not hasattr(os, "pread"):
            raise WorkerError(ErrorCode.HOST_UNSUPPORTED, "this system cannot resume a download")
        self._names: SyncedDirectory | None = None
        try:
            _check_target(self._target)
            self._names = SyncedDirectory(directory_of(self._target))
            self._descriptor = self._open_alone()
            self._journal = _open_own(self._others[0])
            self._ring = _open_own(self._others[1])
        except OSError as error:
            self._part = ""  # an existing file of another run must not be removed
            self.close()
            raise self._failure(error) from None
        self.kept = KeptChunks(self._ring)

    def checked(self) -> Iterator[tuple[Piece, bytes]]:
        """Yield the frames that an earlier run wrote correctly, with their content."""
        last = None
        with suppress(OSError):
            for piece, digest in self._records():
                content = self._read(piece)
                if not piece.follows(last) or sha256(content).digest() != digest:
                    return
                last = piece
                yield piece, content

    def go_on_behind(self, pieces: int, position: int) -> None:
        """Keep so many frames, whose content ends at `position`, and drop the rest."""
        self._position = position
        self._pieces = pieces
        self._looked = True
        try:
            os.ftruncate(self._descriptor, self._position)
            os.ftruncate(self._journal, self._pieces * _RECORD_SIZE)
        except OSError as error:
            raise self._failure(error) from None

    def write(self, data: memoryview) -> None:
        """Append bytes without a record: a later run does not use them."""
        self._make_room_for(lambda: self._write_at_end(data))
        self._position += len(data)

    def _make_room_for(self, write: Callable[[], None]) -> None:
        """Write. If the disk is full, try again after freeing the kept chunks."""
        try:
            write()
        except OSError as error:
            full = error.errno in (errno.ENOSPC, getattr(errno, "EDQUOT", None))
            if not full or not self.kept.give_up():
                raise self._failure(error) from None
            self._make_room_for(write)

    def _write_at_end(self, data: memoryview) -> None:
        # The file was truncated here, so zeros need not be written.
        for begin, end in stretches(data, self._position):
            write_all_at(self._descriptor, data[begin:end], self._position + begin)

    def append(self, piece: Piece, content: memoryview) -> None:
        """Append the content of the next piece, and its record."""
        self.write(content)
        body = _BODY.pack(
            piece.offset,
            piece.length,
            piece.content_offset,
            piece.size,
            piece.checksum,
            piece.chunk,
            piece.chunk_offset,
            sha256(content).digest(),
        )
        record = memoryview(body + self._check(body))
        place = self._pieces * _RECORD_SIZE
        self._make_room_for(lambda: write_all_at(self._journal, record, place))
        self._pieces += 1

    def commit(self) -> None:
        """Give the file its name, and remove journal and kept chunks."""
        try:
            if os.fstat(self._descriptor).st_size < self._position:  # the file ends in zeros
                write_all_at(self._descriptor, memoryview(b"\0"), self._position - 1)
            replaced = replaced_file(self._target)
            if replaced is not None:
                keep_permissions(self._descriptor, replaced, self._target)
            elif hasattr(os, "fchmod"):
                with suppress(OSError):
                    os.fchmod(self._descriptor, OPEN & ~_umask())
            sync_file(self._descriptor)
            _unlink(self._others[1])  # large: after this, a killed run leaves only the journal
            self._files.rename(self._part, self._target)
        except OSError as error:
            raise self._failure(error) from None
        if self._names is not None:
            self._names.sync(self._descriptor)
        for path in self._others:
            _unlink(path)
        self._part = ""
        self.close()

    def discard(self) -> None:
        """Remove the files: the content is not the expected one, so they are useless."""
        self._unwanted = True

    def close(self) -> None:
        """Close the files, and remove those without useful content."""
        if self._descriptor >= 0 and self._part and self._is_worthless():
            for path in (self._part, *self._others):
                _unlink(path)
        if self._names is not None:
            self._names.close()
        for descriptor in (self._ring, self._journal, self._descriptor):
            if descriptor >= 0:
                with suppress(OSError):
                    os.close(descriptor)
        self._descriptor = self._journal = self._ring = -1

    def _is_worthless(self) -> bool:
        if self._unwanted or self._pieces or not self.kept.is_empty():
            return self._unwanted
        with suppress(OSError):
            return self._looked or not os.fstat(self._descriptor).st_size
        return False

    def _open_alone(self) -> int:
        """Open the partial file, and lock it; another run can rename it at the same moment."""
        for _ in range(_MOST_LOOKS):
            descriptor = _open_own(self._part)
            try:
                _lock(descriptor)
                if _is_named(descriptor, self._part):
                    os.chmod(self._part, 0o600)
                    return descriptor
            except OSError:
                os.close(descriptor)
                raise
            os.close(descriptor)
        raise OSError(errno.EBUSY, "other runs keep using its partial file")

    def _read(self, piece: Piece) -> bytes:
        """Return the content of a piece; it is shorter if the file ends before."""
        data = b""
        while len(data) < piece.size:
            place = piece.content_offset + len(data)
            more = os.pread(self._descriptor, piece.size - len(data), place)
            if not more:
                break
            data += more
        return data

    def _records(self) -> Iterator[tuple[Piece, bytes]]:
        place = 0
        while len(record := os.pread(self._journal, _RECORD_SIZE, place)) == _RECORD_SIZE:
            body = record[: _BODY.size]
            if record[_BODY.size :] != self._check(body):
                return
            *fields, digest = _BODY.unpack(body)
            yield Piece(*fields), digest
            place += _RECORD_SIZE

    def _check(self, body: bytes) -> bytes:
        return sha256(self._list_digest + body).digest()[:_CHECK_SIZE]

    def _failure(self, error: OSError) -> WorkerError:
        return file_error(error, self._path, ErrorCode.FILE_WRITE_FAILED)


def partial_stem(target: str, list_digest: bytes) -> str:
    """Return the common beginning of the paths of the partial file, journal and chunks."""
    folder, name = os.path.split(target)
    digits = list_digest.hex()[:LIST_DIGITS]
    room = LONGEST_NAME - len(f"..{digits}{PART}")
    return os.path.join(folder, f".{os.fsdecode(os.fsencode(name)[:room])}.{digits}")


def _check_target(target: str) -> None:
    """Raise `OSError` if no regular file can be created at this path."""
    try:
        mode = os.stat(target).st_mode
    except FileNotFoundError:
        return
    if stat.S_ISDIR(mode):
        raise IsADirectoryError(errno.EISDIR, "is a directory")
    if not stat.S_ISREG(mode):
        raise OSError(errno.EINVAL, "is not a regular file: writing to it cannot be resumed")
    check_replaceable(target)


def _open_own(path: str) -> int:
    """Open or create a file that only this user can have created.

    A partial file whose run died during the rename already has its final mode. Its content counts
    only with a journal, whose mode is always 0600.
    """
    with suppress(FileExistsError):
        return os.open(path, _FLAGS | os.O_CREAT | os.O_EXCL, 0o600)
    try:
        descriptor = os.open(path, _FLAGS)
    except OSError as error:
        if error.errno not in _NO_FILE:
            raise
        raise _not_own(path) from None
    found = os.fstat(descriptor)
    own = not hasattr(os, "geteuid") or found.st_uid == os.geteuid()
    closed = not found.st_mode & 0o077 or path.endswith(PART)
    if not stat.S_ISREG(found.st_mode) or found.st_nlink > 1 or not own or not closed:
        os.close(descriptor)
        raise _not_own(path)
    return descriptor


_NO_FILE = frozenset({errno.ELOOP, errno.ENXIO, errno.EISDIR})
"""Errors of opening a link, a socket or a directory."""


def _not_own(path: str) -> OSError:
    name = shown(os.path.basename(path))
    return OSError(
        errno.EEXIST, f"{name} beside it is not a partial file of this user alone: remove it"
    )


def _is_named(descriptor: int, path: str) -> bool:
    try:
        return os.path.samestat(os.fstat(descriptor), os.lstat(path))
    except FileNotFoundError:
        return False


def _lock(descriptor: int) -> None:
    """Lock a file against other runs, if the file system has locks."""
    try:
        import fcntl
    except ImportError:
        return
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        raise OSError(errno.EBUSY, "another run is using its partial file") from None
    except OSError:
        pass


def _umask() -> int:
    """Return the umask of this process."""
    mask = os.umask(0o077)
    os.umask(mask)
    return mask


def _unlink(path: str) -> None:
    with suppress(OSError):
        os.unlink(path)
