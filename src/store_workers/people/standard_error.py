"""Standard error, written to without ever waiting for whoever should read it."""

from __future__ import annotations

import os

from store_workers.polling import ATOMIC_WRITE, is_ready

DESCRIPTOR = 2

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
            if not is_ready(self._descriptor, self._patience, readable=False):
                self._patience = 0.0
                break
            self._patience = PATIENCE
            try:
                data = data[os.write(self._descriptor, data[:ATOMIC_WRITE]) :]
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
