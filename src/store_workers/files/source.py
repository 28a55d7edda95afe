"""What an upload reads, once from its beginning to its end: any source, and a file."""

from __future__ import annotations

import errno
import os
import stat

from store_workers.errors import ErrorCode, WorkerError, file_error, shown
from store_workers.files.descriptors import named_descriptor, open_to_read, wait_until
from store_workers.files.paths import system_path

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any


class Source:
    """A stream of bytes with an end; what is read and checked alike whatever it comes from.

    `name` stands for it in sentences; `path` is in the errors where it has one. `total` is its
    length in bytes where that is known. With `size` the stream must have exactly that many bytes;
    with `digest` a `hashlib` object is fed with them. `check` is called again and again while the
    stream gives nothing; what it raises ends the wait.
    """

    def __init__(
        self,
        name: str,
        path: str | None,
        size: int | None,
        digest: Any,
        check: Callable[[], None],
    ) -> None:
        self.name = name
        self._path = path
        self._size = size
        self._digest = digest
        self._check = check
        self._descriptor = -1
        self._always_ready = False
        self.total = size
        self.read_bytes = 0

    @property
    def spent(self) -> bool:
        """Were bytes taken from what cannot be read again from its beginning?"""
        return False

    def fill(self, buffer: memoryview) -> int:
        """Fill the buffer; a shorter count means that the stream has ended.

        Raises `FILE_READ_FAILED`, and `FILE_MISMATCH` where the stream is not as long as it must
        be: before its last bytes can be stored as if they were whole.
        """
        filled = 0
        while filled < len(buffer):
            count = self._read(buffer[filled:])
            if not count:
                self._ended()
                break
            filled += count
            self.read_bytes += count
        self._check_size(ended=filled < len(buffer))
        if self._digest is not None:
            self._digest.update(buffer[:filled])
        return filled

    def changed(self) -> bool:
        """Is what was read maybe no state that the source ever was in?"""
        return False

    def close(self) -> None:
        """Let go of the stream; raises `FILE_READ_FAILED` where that tells of an error."""
        descriptor, self._descriptor = self._descriptor, -1
        if descriptor < 0:
            return
        try:
            os.close(descriptor)
        except OSError as error:
            raise self._error(error) from None

    def _ended(self) -> None:
        """Nothing more will come: raises what makes that no good end."""

    def _read(self, buffer: memoryview) -> int:
        while True:
            if not self._always_ready:
                wait_until(self._descriptor, self._check, readable=True)
            try:
                return _read_into(self._descriptor, buffer)
            except BlockingIOError:
                continue
            except OSError as error:
                raise self._error(error) from None

    def _check_size(self, ended: bool) -> None:
        if self._size is None:
            return
        if self.read_bytes > self._size or (ended and self.read_bytes != self._size):
            relation = "ended after" if ended else "goes on after"
            raise WorkerError(
                ErrorCode.FILE_MISMATCH,
                f"{shown(self.name)}: the stream {relation} {self.read_bytes} bytes,"
                f" expected {self._size}",
                path=self._path,
            )

    def _error(self, error: OSError) -> WorkerError:
        failure = file_error(error, self.name, ErrorCode.FILE_READ_FAILED)
        failure.path = self._path
        return failure


class FileSource(Source):
    """A regular file, or anything else that can be read: a FIFO, a descriptor of the owner's."""

    def __init__(
        self,
        path: str,
        size: int | None,
        digest: Any = None,
        check: Callable[[], None] = lambda: None,
    ) -> None:
        super().__init__(path, path, size, digest, check)
        self._place = system_path(path)
        self._named = named_descriptor(path) is None
        try:
            self._descriptor = self._open(path)
            self._begin = os.fstat(self._descriptor)
        except OSError as error:
            raise self._error(error) from None
        if stat.S_ISDIR(self._begin.st_mode):
            self.close()
            raise WorkerError(
                ErrorCode.FILE_READ_FAILED, f"{shown(path)}: is a directory", path=path
            )
        self._always_ready = stat.S_ISREG(self._begin.st_mode)
        if self._always_ready:
            self.total = self._begin.st_size

    @property
    def spent(self) -> bool:
        """Were bytes taken from what cannot be read again from its beginning?"""
        return self.read_bytes > 0 and not (self._always_ready and self._named)

    def changed(self) -> bool:
        """Did the file's size or modification time move, or was it replaced, while it was read?

        Inodes are not compared: some mounts give a file another number at each look.
        """
        if not self._always_ready:
            return False
        try:
            end = os.fstat(self._descriptor)
        except OSError as error:
            raise self._error(error) from None
        if self._named:
            try:
                end_of_name = os.stat(self._place)
            except OSError:
                return True
            if _state(end_of_name) != _state(self._begin):
                return True
        return _state(end) != _state(self._begin)

    def _open(self, path: str) -> int:
        try:
            return open_to_read(path, self._check)
        except OSError as error:
            if not self._named and error.errno == errno.EBADF:
                raise FileNotFoundError(errno.ENOENT, "there is no such descriptor") from None
            raise


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
