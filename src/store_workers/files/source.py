"""The file of an upload, read once from its beginning to its end."""

from __future__ import annotations

import errno
import os
import stat

from store_workers.errors import ErrorCode, WorkerError, file_error, shown
from store_workers.files.descriptors import named_descriptor, take_over, wait_until
from store_workers.files.paths import system_path

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any


class FileSource:
    """A regular file, or anything else that can be read: a FIFO, a descriptor of the owner's.

    `total` is its length in bytes where that is known. With `size` the stream must have exactly
    that many bytes; with `digest` a `hashlib` object is fed with them.
    """

    def __init__(self, path: str, size: int | None, digest: Any = None) -> None:
        self._path = path
        self._size = size
        self._digest = digest
        self.read_bytes = 0
        try:
            self._descriptor = _open(path)
            self._begin = os.fstat(self._descriptor)
        except OSError as error:
            raise self._error(error) from None
        if stat.S_ISDIR(self._begin.st_mode):
            raise WorkerError(
                ErrorCode.FILE_READ_FAILED, f"{shown(path)}: is a directory", path=path
            )
        self._regular = stat.S_ISREG(self._begin.st_mode)
        self.total = self._begin.st_size if self._regular else size

    def fill(self, buffer: memoryview) -> int:
        """Fill the buffer; a shorter count means that the stream has ended.

        Raises `FILE_READ_FAILED`, and `FILE_MISMATCH` where the stream is not as long as it must
        be: before its last bytes can be stored as if they were whole.
        """
        filled = 0
        while filled < len(buffer):
            count = self._read(buffer[filled:])
            if not count:
                break
            filled += count
            self.read_bytes += count
        self._check_size(ended=filled < len(buffer))
        if self._digest is not None:
            self._digest.update(buffer[:filled])
        return filled

    def changed(self) -> bool:
        """Did the file's size or modification time move, or was it replaced, while it was read?"""
        if not self._regular:
            return False
        end = os.fstat(self._descriptor)
        if _state(end) != _state(self._begin):
            return True
        if named_descriptor(self._path) is not None:
            return False
        try:
            named = os.stat(system_path(self._path))
        except OSError:
            return True
        return (named.st_dev, named.st_ino) != (end.st_dev, end.st_ino)

    def close(self) -> None:
        """Let go of the file."""
        os.close(self._descriptor)

    def _read(self, buffer: memoryview) -> int:
        while True:
            try:
                return _read_into(self._descriptor, buffer)
            except BlockingIOError:
                wait_until(self._descriptor, readable=True)
            except OSError as error:
                raise self._error(error) from None

    def _check_size(self, ended: bool) -> None:
        if self._size is None:
            return
        if self.read_bytes > self._size or (ended and self.read_bytes != self._size):
            relation = "ended after" if ended else "goes on after"
            raise WorkerError(
                ErrorCode.FILE_MISMATCH,
                f"{shown(self._path)}: the stream {relation} {self.read_bytes} bytes,"
                f" {self._size} were expected",
                path=self._path,
            )

    def _error(self, error: OSError) -> WorkerError:
        return file_error(error, self._path, ErrorCode.FILE_READ_FAILED)


def _open(path: str) -> int:
    number = named_descriptor(path)
    if number is not None:
        try:
            return take_over(number)
        except OSError as error:
            if error.errno == errno.EBADF:
                raise FileNotFoundError(errno.ENOENT, "there is no such descriptor") from None
            raise
    flags = os.O_RDONLY | getattr(os, "O_BINARY", 0) | getattr(os, "O_CLOEXEC", 0)
    return os.open(system_path(path), flags)


def _state(status: os.stat_result) -> tuple[int, int]:
    return status.st_size, status.st_mtime_ns


if hasattr(os, "readv"):

    def _read_into(descriptor: int, buffer: memoryview) -> int:
        return os.readv(descriptor, [buffer])

else:

    def _read_into(descriptor: int, buffer: memoryview) -> int:
        data = os.read(descriptor, len(buffer))
        buffer[: len(data)] = data
        return len(data)
