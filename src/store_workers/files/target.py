"""The file of a download: written aside and renamed, or written straight through."""

from __future__ import annotations

import errno
import os
import stat

from store_workers.errors import ErrorCode, WorkerError, file_error, shown
from store_workers.files.atomic_file import (
    AtomicFile,
    TemporaryFiles,
    directory_of,
    remove_stale_files,
    sync_file,
    write_all,
)
from store_workers.files.descriptors import named_descriptor, take_over, wait_until
from store_workers.files.paths import system_path

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Protocol

    WriteAt = Callable[[bytes, int], None]

    class Target(Protocol):
        """Takes the file's bytes in order; in any order where there is a `write_at`."""

        write_at: WriteAt | None

        def write(self, data: bytes) -> None: ...
        def commit(self) -> None: ...


class ReplacedFile:
    """A regular file: nothing shows under its name before it is whole and durable."""

    def __init__(self, path: str, files: TemporaryFiles) -> None:
        try:
            self._file = AtomicFile(system_path(path), files)
        except OSError as error:
            raise failure(error, path) from None
        self._path = path
        self.write_at: WriteAt | None = self._write_at if hasattr(os, "pwrite") else None

    def tidy_up(self) -> None:
        """Remove what killed workers left beside the file, once it is old enough."""
        remove_stale_files(directory_of(system_path(self._path)))

    def write(self, data: bytes) -> None:
        """Append bytes; raises `WorkerError`."""
        try:
            write_all(self._file.descriptor, [memoryview(data)])
        except OSError as error:
            raise failure(error, self._path) from None

    def _write_at(self, data: bytes, offset: int) -> None:
        rest = memoryview(data)
        try:
            while rest:
                count = os.pwrite(self._file.descriptor, rest, offset)
                rest = rest[count:]
                offset += count
        except OSError as error:
            raise failure(error, self._path) from None

    def commit(self) -> None:
        """Give the file its name; raises `WorkerError`."""
        try:
            self._file.commit()
        except OSError as error:
            raise failure(error, self._path) from None


class PassedThrough:
    """A FIFO, a device or a descriptor of the owner's: bytes go out as they come."""

    write_at: WriteAt | None = None

    def __init__(self, path: str) -> None:
        self._path = path
        try:
            self._descriptor = _open_for_writing(path)
        except OSError as error:
            raise failure(error, path) from None

    def write(self, data: bytes) -> None:
        """Append bytes, waiting for whoever reads them; raises `WorkerError`."""
        rest = memoryview(data)
        while rest:
            try:
                rest = rest[os.write(self._descriptor, rest) :]
            except BlockingIOError:
                wait_until(self._descriptor, readable=False)
            except OSError as error:
                raise failure(error, self._path) from None

    def commit(self) -> None:
        """Make durable what can be, and close."""
        try:
            if stat.S_ISREG(os.fstat(self._descriptor).st_mode):
                sync_file(self._descriptor)
            os.close(self._descriptor)
        except OSError as error:
            raise failure(error, self._path) from None


def open_target(path: str, files: TemporaryFiles) -> Target:
    """The target that a path asks for; raises `WorkerError`."""
    if named_descriptor(path) is not None:
        return PassedThrough(path)
    try:
        mode = os.stat(system_path(path)).st_mode
    except OSError as error:
        if error.errno != errno.ENOENT:
            raise failure(error, path) from None
        return ReplacedFile(path, files)
    if stat.S_ISDIR(mode):
        raise WorkerError(ErrorCode.FILE_WRITE_FAILED, f"{shown(path)}: is a directory", path=path)
    return ReplacedFile(path, files) if stat.S_ISREG(mode) else PassedThrough(path)


def failure(error: OSError, path: str) -> WorkerError:
    """The error of a file that cannot be written."""
    return file_error(error, path, ErrorCode.FILE_WRITE_FAILED)


def _open_for_writing(path: str) -> int:
    number = named_descriptor(path)
    if number is not None:
        return take_over(number)
    flags = os.O_WRONLY | getattr(os, "O_BINARY", 0) | getattr(os, "O_CLOEXEC", 0)
    return os.open(system_path(path), flags)
