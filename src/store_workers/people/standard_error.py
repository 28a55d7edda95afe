"""Standard error, written to without ever waiting for whoever should read it."""

from __future__ import annotations

import os

DESCRIPTOR = 2

LONGEST_WRITE = 4096
"""Bytes that a pipe which is ready for writing takes at once (POSIX's PIPE_BUF on Linux)."""

PATIENCE = 0.1
"""Seconds that a reader is waited for, once: from then on what it does not take is dropped."""


class StandardError:
    """Takes text for people and operators; what nobody reads in time is lost.

    A terminal that is held (Ctrl-S) or a pipe that nobody empties must hold up neither the work
    nor its end.
    """

    def __init__(self, descriptor: int = DESCRIPTOR) -> None:
        self._descriptor = descriptor
        self._patience = PATIENCE

    def write(self, text: str) -> int:
        """Write a text, or as much of it as is taken; the number of its characters."""
        data = memoryview(text.encode("utf-8", "replace"))
        while data:
            if not self._is_ready():
                self._patience = 0.0
                break
            self._patience = PATIENCE
            try:
                data = data[os.write(self._descriptor, data[:LONGEST_WRITE]) :]
            except OSError:  # closed, or full: there is nobody to tell
                break
        return len(text)

    def flush(self) -> None:
        """Nothing is kept back."""

    def isatty(self) -> bool:
        """Is it a terminal?"""
        return os.isatty(self._descriptor)

    def fileno(self) -> int:
        """The descriptor, for those who ask a terminal for its size."""
        return self._descriptor

    def _is_ready(self) -> bool:
        try:
            from select import POLLOUT, poll
        except ImportError:  # Windows: a write may wait there
            return True
        watch = poll()
        watch.register(self._descriptor, POLLOUT)
        return any(events & POLLOUT for _, events in watch.poll(self._patience * 1000))
