"""A download that can be gone on with: what was written lies beside its target, with a journal.

The journal has a record for each frame whose content was written, in order, and each record has
the digest of that content and one of itself. So whatever a crash, a full disk or anybody's hand
left in either file shows, and nothing has to be synced on the way.

There are three files. The partial file becomes the file by a rename, so it can hold nothing else.
The digests are kept because nothing else says that content is right: the stream has 32 bits for
each frame, at its far end. The chunks lie by themselves so that a full disk can have their space.
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
from store_workers.files.mounts import is_mount_point
from store_workers.files.paths import system_path
from store_workers.files.permissions import keep_permissions
from store_workers.files.sparse import stretches
from store_workers.files.syncing import SyncedDirectory, sync_file

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from store_workers.files.target import WriteAt

LONGEST_NAME = 255
"""Bytes of a file's name that nearly every file system takes."""

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

    `offset` and `length` are the frame's in the stream, `content_offset` and `size` its content's
    in the file, `checksum` what the frame says of it. The stream goes on in chunk number `chunk`
    of the list, which begins at `chunk_offset` of the stream.
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
        """Where the frame ends in the stream."""
        return self.offset + self.length

    @property
    def content_end(self) -> int:
        """Where its content ends in the file."""
        return self.content_offset + self.size

    def follows(self, other: Piece | None) -> bool:
        """Is this the frame behind `other`, or the stream's first where that is None?"""
        if other is None:
            return (self.offset, self.content_offset) == (0, 0)
        return (self.offset, self.content_offset) == (other.end, other.content_end)


class PartialFile:
    """A target that keeps what was written when its run fails or dies.

    `list_digest` is what the file's list is known by, 32 bytes: records of another list are none.
    It is this process's alone until it is closed (`FILE_WRITE_FAILED` for every other one), and
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
            self._part = ""  # what lies there is not this run's to remove
            self.close()
            raise self._failure(error) from None
        self.kept = KeptChunks(self._ring)

    def checked(self) -> Iterator[tuple[Piece, bytes]]:
        """Go through what an earlier run wrote, as far as it is right: each frame, its content."""
        last = None
        with suppress(OSError):
            for piece, digest in self._records():
                content = self._read(piece)
                if not piece.follows(last) or sha256(content).digest() != digest:
                    return
                last = piece
                yield piece, content

    def go_on_behind(self, pieces: int, position: int) -> None:
        """Keep so many frames, whose content ends at `position`, and forget all behind them."""
        self._position = position
        self._pieces = pieces
        self._looked = True
        try:
            os.ftruncate(self._descriptor, self._position)
            os.ftruncate(self._journal, self._pieces * _RECORD_SIZE)
        except OSError as error:
            raise self._failure(error) from None

    def write(self, data: bytes) -> None:
        """Append bytes; a run that follows will not know of them."""
        self._make_room_for(lambda: self._write_at_end(data))
        self._position += len(data)

    def _make_room_for(self, write: Callable[[], None]) -> None:
        """Write; where the disk is full, once more without the kept chunks."""
        try:
            write()
        except OSError as error:
            full = error.errno in (errno.ENOSPC, getattr(errno, "EDQUOT", None))
            if not full or not self.kept.give_up():
                raise self._failure(error) from None
            self._make_room_for(write)

    def _write_at_end(self, data: bytes) -> None:
        # What was behind the end is gone, so zeros need not be written.
        for begin, end in stretches(data, self._position):
            part = memoryview(data)[begin:end]
            write_all_at(self._descriptor, part, self._position + begin)

    def append(self, piece: Piece, content: bytes) -> None:
        """Append the content of the next piece, and note that it is there."""
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
        """Give the file its name, and remove what belongs to it."""
        try:
            if os.fstat(self._descriptor).st_size < self._position:  # it ends in zeros
                write_all_at(self._descriptor, memoryview(b"\0"), self._position - 1)
            replaced = replaced_file(self._target)
            if replaced is not None:
                keep_permissions(self._descriptor, replaced, self._target)
            elif hasattr(os, "fchmod"):
                with suppress(OSError):
                    os.fchmod(self._descriptor, OPEN & ~_umask())
            sync_file(self._descriptor)
            _unlink(self._others[1])  # large: a run that dies now leaves no more than the journal
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
        """Remove what was written: it is not what was wanted, and going on would not mend it."""
        self._unwanted = True

    def close(self) -> None:
        """Let go of the files. Those in which nothing is worth keeping are removed."""
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
        """Open the partial file, and lock it; another run may just then have given it its name."""
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
        """The content at a piece's place; short where the file ends before it does."""
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
    """What the paths of a target's partial file and of what belongs to it begin with."""
    folder, name = os.path.split(target)
    digits = list_digest.hex()[:LIST_DIGITS]
    room = LONGEST_NAME - len(f"..{digits}{PART}")
    return os.path.join(folder, f".{os.fsdecode(os.fsencode(name)[:room])}.{digits}")


def _check_target(target: str) -> None:
    """Raise `OSError` where no regular file can come to lie."""
    try:
        mode = os.stat(target).st_mode
    except FileNotFoundError:
        return
    if stat.S_ISDIR(mode):
        raise IsADirectoryError(errno.EISDIR, "is a directory")
    if not stat.S_ISREG(mode):
        raise OSError(errno.EINVAL, "is not a regular file: writing to it cannot be resumed")
    if is_mount_point(target):
        raise OSError(errno.EBUSY, "is a mount point and cannot be replaced")


def _open_own(path: str) -> int:
    """Open a file that only this user can have made, or make it.

    A partial file whose run died while it got its name has its last mode already; without a
    journal, which never has another mode, nothing in it counts.
    """
    with suppress(FileExistsError):
        return os.open(path, _FLAGS | os.O_CREAT | os.O_EXCL, 0o600)
    descriptor = os.open(path, _FLAGS)
    found = os.fstat(descriptor)
    own = not hasattr(os, "geteuid") or found.st_uid == os.geteuid()
    closed = not found.st_mode & 0o077 or path.endswith(PART)
    if not stat.S_ISREG(found.st_mode) or found.st_nlink > 1 or not own or not closed:
        os.close(descriptor)
        name = shown(os.path.basename(path))
        raise OSError(errno.EEXIST, f"{name} beside it is not a partial file of this user alone")
    return descriptor


def _is_named(descriptor: int, path: str) -> bool:
    try:
        return os.path.samestat(os.fstat(descriptor), os.lstat(path))
    except FileNotFoundError:
        return False


def _lock(descriptor: int) -> None:
    """Lock a file against other runs, where the file system has locks."""
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
    """What new files of this process are not to have."""
    mask = os.umask(0o077)
    os.umask(mask)
    return mask


def _unlink(path: str) -> None:
    with suppress(OSError):
        os.unlink(path)
