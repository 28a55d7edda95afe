"""Descriptors that an owner passes on as a path such as `/dev/fd/3`, and waiting for them."""

from __future__ import annotations

import errno
import os
import stat
import sys
from contextlib import suppress

from store_workers.files.paths import system_path
from store_workers.files.syncing import OWN_DESCRIPTORS

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

_FOLDERS = ("/dev/fd/", "/proc/self/fd/", "/proc/thread-self/fd/")
_NAMES = {"/dev/stdin": 0, "/dev/stdout": 1, "/dev/stderr": 2}
_MOST_LINKS = 40
"""Maximum number of links in a path: Linux's limit."""

MESSAGE_DESCRIPTOR = 0
EVENTS_DESCRIPTOR = 1

LONGEST_WAIT = 0.1
"""Seconds between two calls of `check` while waiting."""

ATOMIC_WRITE = 4096
"""Bytes that a pipe that is ready accepts without blocking (Linux's PIPE_BUF)."""


def named_descriptor(path: str) -> int | None:
    """Return the descriptor of this process that a path names; None for any other path.

    In any spelling: `/dev//fd/3`, `/proc/<pid>/fd/3`, a link to one of them.
    """
    if _is_no_descriptor(path):
        return None
    for _ in range(_MOST_LINKS):
        number = _spelt_descriptor(path)
        if number is not None:
            return number
        folder, name = os.path.split(system_path(path))
        # The last link is not followed: a descriptor's link leads to the file, not to the number.
        with suppress(OSError, ValueError):
            path = os.path.join(os.path.realpath(folder or os.curdir), name)
        number = _spelt_descriptor(path)
        if number is not None:
            return number
        try:
            path = os.path.join(os.path.dirname(path), os.readlink(path))
        except (OSError, ValueError):
            return None
    return None


def _is_no_descriptor(path: str) -> bool:
    """Return whether a path certainly names no descriptor; false if that is not known.

    On Linux, descriptors are links, in a folder of procfs. So one call decides for most paths: of
    files that exist, and of files that do not exist yet and whose name is not a number.
    """
    if not sys.platform.startswith("linux"):
        return False
    try:
        return not stat.S_ISLNK(os.lstat(system_path(path)).st_mode)
    except (OSError, ValueError):
        folder, _, name = path.rpartition("/")
        if path in _NAMES:
            return False
        return not (name.isascii() and name.isdigit() and _may_be_procfs(folder))


def _may_be_procfs(folder: str) -> bool:
    try:
        procfs = os.stat(OWN_DESCRIPTORS).st_dev
    except OSError:
        return True
    with suppress(OSError, ValueError):
        return os.stat(system_path(folder or os.curdir)).st_dev == procfs
    return False


def _spelt_descriptor(path: str) -> int | None:
    if path in _NAMES:
        return _NAMES[path]
    folder, slash, number = path.rpartition("/")
    own = f"/proc/{os.getpid()}/"
    # The last one is the target of /proc/thread-self: /proc/<pid>/task/<thread>/fd
    thread = folder.removeprefix(f"{own}task/").removesuffix("/fd")
    if folder + slash in (*_FOLDERS, f"{own}fd/") or folder == f"{own}task/{thread}/fd":
        # The system knows no other spelling: `/dev/fd/01` is nothing.
        usual = number.isascii() and number.isdigit() and (number == "0" or number[0] != "0")
        return int(number[:9]) if usual else None
    return None


class Reserved:
    """The files that messages and events pass through; no message may read or write them.

    `events` is the descriptor that events are written to, which may have been moved from number 1.
    """

    def __init__(self, events: int) -> None:
        self._files: list[tuple[int, os.stat_result]] = []
        for number, descriptor in ((EVENTS_DESCRIPTOR, events), (MESSAGE_DESCRIPTOR, 0)):
            with suppress(OSError):
                self._files.append((number, os.fstat(descriptor)))

    def number_of(self, path: str) -> int | None:
        """Return which of standard input (0) and output (1) a path opens; None for neither.

        The opened file is compared, so that the spelling of the path does not matter.
        """
        found = _status(system_path(path))
        if found is None:  # there is no such file yet, or it cannot be opened either
            return None
        if not stat.S_ISREG(found.st_mode):
            number = named_descriptor(path)
            if number in (MESSAGE_DESCRIPTOR, EVENTS_DESCRIPTOR):
                return number
            if number is not None:
                found = _status(number)
            if found is None or _is_null_device(found):
                return None
        for reserved, file in self._files:
            if os.path.samestat(found, file):
                return reserved
        return None


def _status(file: str | int) -> os.stat_result | None:
    try:
        return os.stat(file)
    except (OSError, ValueError):
        return None


def _is_null_device(found: os.stat_result) -> bool:
    """Return whether it is the null device, where nothing can be mixed up."""
    try:
        return stat.S_ISCHR(found.st_mode) and os.path.samestat(found, os.stat(os.devnull))
    except OSError:
        return False


def take_over(number: int) -> int:
    """Return a duplicate of a descriptor that the owner passed on. Raises `OSError`.

    Descriptors that this process opened itself are refused. Python opens them as not inheritable,
    while those of the owner were inherited.
    """
    try:
        if os.get_inheritable(number):
            return os.dup(number)
    except OSError as error:
        if error.errno != errno.EBADF:
            raise
    raise FileNotFoundError(errno.ENOENT, "there is no such descriptor")


def open_to_read(path: str, number: int | None, check: Callable[[], None]) -> int:
    """Open a file for reading; a FIFO without waiting for its writer. Raises `OSError`.

    `number` is the descriptor that the path names, or None (`named_descriptor`). `check` is called
    repeatedly while this waits; an exception from it ends the wait.
    """
    return _open(path, number, os.O_RDONLY, check)


def open_to_write(path: str, number: int | None, check: Callable[[], None]) -> int:
    """Open a file that is not regular for writing; wait for a FIFO's reader. Raises `OSError`."""
    return _open(path, number, os.O_WRONLY, check)


def _open(path: str, number: int | None, flags: int, check: Callable[[], None]) -> int:
    if number is not None:
        return take_over(number)
    place = system_path(path)
    flags |= getattr(os, "O_BINARY", 0) | getattr(os, "O_CLOEXEC", 0) | getattr(os, "O_NOCTTY", 0)
    # On other systems, a FIFO that was opened like this looks as if its writer had closed it.
    if not sys.platform.startswith("linux") or not stat.S_ISFIFO(os.stat(place).st_mode):
        return os.open(place, flags)
    while True:
        check()
        try:
            return os.open(place, flags | os.O_NONBLOCK)
        except OSError as error:
            if error.errno != errno.ENXIO:  # it has no reader yet
                raise
        _pause()


def wait_until(descriptor: int, check: Callable[[], None], *, readable: bool) -> None:
    """Wait until a descriptor is ready or closed; `check` as for `open_to_read`."""
    check()
    try:
        from select import POLLIN, POLLOUT, poll
    except ImportError:  # Windows, which cannot wait for pipes
        return
    poller = poll()
    poller.register(descriptor, POLLIN if readable else POLLOUT)
    while not poller.poll(LONGEST_WAIT * 1000):
        check()
    check()  # what came after the end is for another reader


def _pause() -> None:
    import time

    time.sleep(LONGEST_WAIT / 2)
