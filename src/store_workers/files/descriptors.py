"""File descriptors that an owner hands over, named by a path such as `/dev/fd/3`."""

from __future__ import annotations

import errno
import os

_FOLDERS = ("/dev/fd/", "/proc/self/fd/", "/proc/thread-self/fd/")
_NAMES = {"/dev/stdin": 0, "/dev/stdout": 1, "/dev/stderr": 2}

MESSAGE_DESCRIPTOR = 0
EVENTS_DESCRIPTOR = 1


def named_descriptor(path: str) -> int | None:
    """The descriptor that a path names, None for every other path."""
    if path in _NAMES:
        return _NAMES[path]
    for folder in _FOLDERS:
        number = path[len(folder) :]
        if path.startswith(folder) and number.isascii() and number.isdigit():
            return int(number[:9])
    return None


def take_over(number: int) -> int:
    """A descriptor of our own for one that the owner handed over. Raises `OSError`.

    What this process opened itself is no file of the owner's, whatever its number: Python opens
    everything so that children do not inherit it, and a hand-over is inherited by its nature.
    """
    if not os.get_inheritable(number):
        raise OSError(errno.ENOENT, os.strerror(errno.ENOENT))
    return os.dup(number)


def wait_until(descriptor: int, *, readable: bool) -> None:
    """Wait for a descriptor that its other owners have set to non-blocking."""
    import select

    if readable:
        select.select([descriptor], [], [])
    else:
        select.select([], [descriptor], [])
