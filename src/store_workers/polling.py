"""Wait for descriptors, with a time limit.

By poll(2): select(2) knows no descriptor beyond 1023. Where there is neither (Windows, for pipes)
every descriptor counts as ready, and the call that follows waits.
"""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

LONGEST_WAIT = 0.25
"""Seconds of silence after which it is looked up whether there is anything left to wait for."""

ATOMIC_WRITE = 4096
"""Bytes that a pipe which is ready for writing takes at once (PIPE_BUF of POSIX, on Linux)."""


def is_ready(descriptor: int, seconds: float, *, readable: bool) -> bool:
    """Does a descriptor become ready within that time? One that is closed or broken is ready."""
    try:
        from select import POLLIN, POLLOUT, poll
    except ImportError:
        return True
    watch = poll()
    watch.register(descriptor, POLLIN if readable else POLLOUT)
    return bool(watch.poll(seconds * 1000))


class Writable:
    """Whether a descriptor takes a write now: asked again and again, by one thread at a time."""

    def __init__(self, descriptor: int) -> None:
        self._descriptor = descriptor
        self._poll: Callable[[float], list[tuple[int, int]]] | None = None

    def within(self, seconds: float) -> bool:
        """Does it become ready within that time? One that is closed or broken is ready."""
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
    """Has the other end of a pipe been closed? False where that cannot be known."""
    try:
        from select import POLLERR, POLLHUP, POLLNVAL, poll
    except ImportError:
        return False
    watch = poll()
    watch.register(descriptor, 0)
    return any(events & (POLLERR | POLLHUP | POLLNVAL) for _, events in watch.poll(0))


def wait_until_ready(descriptor: int, check: Callable[[], None], *, readable: bool) -> None:
    """Wait for a descriptor; `check` is called all along, and what it raises ends the wait."""
    check()
    while not is_ready(descriptor, LONGEST_WAIT, readable=readable):
        check()
