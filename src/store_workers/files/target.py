"""The target of a download: a temporary file that is renamed, or a stream."""

from __future__ import annotations

import errno
import os
import stat
import threading
from contextlib import suppress

from store_workers.errors import ErrorCode, WorkerError, file_error, shown
from store_workers.files.atomic_file import (
    AtomicFile,
    TemporaryFiles,
    directory_of,
    remove_stale_files,
    write_all,
    write_all_at,
)
from store_workers.files.descriptors import (
    ATOMIC_WRITE,
    named_descriptor,
    open_to_write,
    wait_until,
)
from store_workers.files.paths import system_path
from store_workers.files.sparse import stretches
from store_workers.files.syncing import sync_if_possible

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Protocol

    WriteAt = Callable[[memoryview, int], None]

    class Target(Protocol):
        """Receives the file's bytes in order; in any order if there is a `write_at`.

        `spent`: bytes were written to something that cannot be rewound.
        """

        @property
        def write_at(self) -> WriteAt | None: ...
        @property
        def spent(self) -> bool: ...
        def write(self, data: memoryview) -> None: ...
        def commit(self) -> None: ...
        def close(self) -> None: ...


class ReplacedFile:
    """A regular file, which appears under its name when it is complete and durable.

    Long runs of zeros become holes.
    """

    spent = False

    def __init__(self, path: str, files: TemporaryFiles) -> None:
        try:
            self._file = AtomicFile(system_path(path), files)
        except OSError as error:
            raise failure(error, path) from None
        self._path = path
        self._position = 0
        self._lock = threading.Lock()
        self._end = 0  # the end of holes, which can be the end of the file; guarded by the lock

    @property
    def write_at(self) -> WriteAt | None:
        """A function that writes bytes at an offset; None if the system has no call for it."""
        return self._write_at if hasattr(os, "pwrite") else None

    @property
    def directory(self) -> str:
        """The directory of the file."""
        return directory_of(system_path(self._path))

    def tidy_up(self) -> None:
        """Remove old temporary files of killed workers beside the file."""
        remove_stale_files(self.directory)

    def write(self, data: memoryview) -> None:
        """Append bytes. Raises `WorkerError`."""
        if hasattr(os, "pwrite"):
            self._write_at(data, self._position)
            self._position += len(data)
            return
        try:
            write_all(self._file.descriptor, [data])
        except OSError as error:
            raise failure(error, self._path) from None

    def _write_at(self, data: memoryview, offset: int) -> None:
        end = 0
        try:
            for begin, end in stretches(data, offset):
                write_all_at(self._file.descriptor, data[begin:end], offset + begin)
        except OSError as error:
            raise failure(error, self._path) from None
        if end < len(data):
            with self._lock:
                self._end = max(self._end, offset + len(data))

    def commit(self) -> None:
        """Give the file its name. Raises `WorkerError`."""
        try:
            if self._end > os.fstat(self._file.descriptor).st_size:
                write_all_at(self._file.descriptor, memoryview(b"\0"), self._end - 1)
            self._file.commit()
        except OSError as error:
            raise failure(error, self._path) from None

    def close(self) -> None:
        """Close the file, whether it was completed or not."""
        self._file.close()


class PassedThrough:
    """A FIFO, a device or a descriptor of the owner: bytes are written as they arrive."""

    write_at: WriteAt | None = None

    def __init__(self, path: str, number: int | None, check: Callable[[], None]) -> None:
        self._path = path
        self._check = check
        self.spent = False
        try:
            self._descriptor = open_to_write(path, number, check)
            mode = os.fstat(self._descriptor).st_mode
        except OSError as error:
            raise failure(error, path) from None
        self._waits = stat.S_ISFIFO(mode) or stat.S_ISSOCK(mode) or os.isatty(self._descriptor)
        blocking = getattr(os, "get_blocking", lambda _descriptor: False)
        # A longer write could block, although the descriptor is ready, and could not be ended.
        self._most = ATOMIC_WRITE if self._waits and blocking(self._descriptor) else None

    def write(self, data: memoryview) -> None:
        """Append bytes, waiting for their reader. Raises `WorkerError`."""
        rest = data
        try:
            while rest:
                rest = rest[self._write_some(rest) :]
        except OSError as error:
            raise failure(error, self._path) from None

    def _write_some(self, data: memoryview) -> int:
        if self._waits:
            wait_until(self._descriptor, self._check, readable=False)
        self.spent = True
        try:
            return os.write(self._descriptor, data[: self._most])
        except BlockingIOError:
            wait_until(self._descriptor, self._check, readable=False)
            return 0

    def commit(self) -> None:
        """Sync, if possible, and close. Raises an error of either."""
        try:
            sync_if_possible(self._descriptor)
            descriptor, self._descriptor = self._descriptor, -1
            os.close(descriptor)
        except OSError as error:
            raise failure(error, self._path) from None

    def close(self) -> None:
        """Close it."""
        descriptor, self._descriptor = self._descriptor, -1
        if descriptor >= 0:
            with suppress(OSError):
                os.close(descriptor)


def open_target(
    path: str, files: TemporaryFiles, check: Callable[[], None] = lambda: None
) -> Target:
    """Return the target for a path. Raises `WorkerError`.

    `check` is called repeatedly while waiting for a FIFO or similar; an exception from it ends the
    wait.
    """
    number = named_descriptor(path)
    if number is not None:
        return PassedThrough(path, number, check)
    try:
        mode = os.stat(system_path(path)).st_mode
    except OSError as error:
        if error.errno != errno.ENOENT:
            raise failure(error, path) from None
        return ReplacedFile(path, files)
    if stat.S_ISDIR(mode):
        raise WorkerError(ErrorCode.FILE_WRITE_FAILED, f"{shown(path)}: is a directory", path=path)
    return ReplacedFile(path, files) if stat.S_ISREG(mode) else PassedThrough(path, None, check)


def failure(error: OSError, path: str) -> WorkerError:
    """Return the error of a file that cannot be written."""
    return file_error(error, path, ErrorCode.FILE_WRITE_FAILED)
