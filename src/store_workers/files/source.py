"""The source of an upload, which is read once from beginning to end."""

from __future__ import annotations

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
    """A stream of bytes with an end: the part that is common to all sources.

    `name` is its name in messages; `path` is the path in errors, if it has one. `total` is its
    length in bytes, if known. With `size`, the stream must have exactly that many bytes. `digest`,
    a `hashlib` object, is updated with them. `check` is called repeatedly while waiting; an
    exception from it ends the wait.
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
        """Return whether bytes were read from something that cannot be read again."""
        return False

    def fill(self, buffer: memoryview) -> int:
        """Fill the buffer. A smaller count means that the stream has ended.

        Raises `FILE_READ_FAILED`, and `FILE_MISMATCH` if the stream does not have the expected
        length, before its last bytes can be stored.
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
        """Return whether the source may have changed while it was read."""
        return False

    def close(self) -> None:
        """Close the stream. Raises `FILE_READ_FAILED` if that reports an error."""
        descriptor, self._descriptor = self._descriptor, -1
        if descriptor < 0:
            return
        try:
            os.close(descriptor)
        except OSError as error:
            raise self._error(error) from None

    def _ended(self) -> None:
        """Check the end of the stream; raises if it is not a success."""

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
    """A regular file or anything else that can be read: a FIFO, a descriptor of the owner."""

    def __init__(
        self,
        path: str,
        size: int | None,
        digest: Any = None,
        check: Callable[[], None] = lambda: None,
    ) -> None:
        super().__init__(path, path, size, digest, check)
        self._place = system_path(path)
        number = named_descriptor(path)
        self._named = number is None
        try:
            self._descriptor = open_to_read(path, number, self._check)
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
        """Return whether bytes were read from something that cannot be read again."""
        return self.read_bytes > 0 and not (self._always_ready and self._named)

    def changed(self) -> bool:
        """Return whether the file's size or modification time changed, or the file was replaced.

        Inodes are not compared: on some mounts a file's number changes.
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
