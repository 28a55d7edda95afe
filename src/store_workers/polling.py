"""Wait for descriptors, with a time limit.

By poll(2), since select(2) is limited to descriptors below 1024. If there is no poll (Windows, for
pipes), every descriptor counts as ready, and the call that follows blocks.
"""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

LONGEST_WAIT = 0.25
"""Seconds between two calls of `check` while waiting."""

ATOMIC_WRITE = 4096
"""Bytes that a pipe that is ready for writing accepts at once (PIPE_BUF of POSIX, on Linux)."""


def is_ready(descriptor: int, seconds: float, *, readable: bool) -> bool:
    """Return whether a descriptor becomes ready in time. A closed or broken one is ready."""
    try:
        from select import POLLIN, POLLOUT, poll
    except ImportError:
        return True
    watch = poll()
    watch.register(descriptor, POLLIN if readable else POLLOUT)
    return bool(watch.poll(seconds * 1000))


class Writable:
    """Tells whether a descriptor accepts a write. For repeated use by one thread at a time."""

    def __init__(self, descriptor: int) -> None:
        self._descriptor = descriptor
        self._poll: Callable[[float], list[tuple[int, int]]] | None = None

    def within(self, seconds: float) -> bool:
        """Return whether it becomes ready within that time. A closed or broken one is ready."""
        if self._poll is None:
            try:
                from select import POLLOUT, poll
            except ImportError:
                return True
            watch = poll()
            watch.register(self._descriptor, POLLOUT)
            self._poll = watch.poll
        return bool(self._poll(seconds * 1000))


def is_hung_up(descriptor: int) -> bool:
    """Return whether the other end of a pipe was closed; false if that cannot be determined."""
    try:
        from select import POLLERR, POLLHUP, POLLNVAL, poll
    except ImportError:
        return False
    watch = poll()
    watch.register(descriptor, 0)
    return any(events & (POLLERR | POLLHUP | POLLNVAL) for _, events in watch.poll(0))


def wait_until_ready(descriptor: int, check: Callable[[], None], *, readable: bool) -> None:
    """Wait for a descriptor. `check` is called repeatedly; an exception from it ends the wait."""
    check()
    while not is_ready(descriptor, LONGEST_WAIT, readable=readable):
        check()
