"""Standard error, written without waiting for its reader."""

from __future__ import annotations

import os

from store_workers.polling import ATOMIC_WRITE, is_ready

DESCRIPTOR = 2

PATIENCE = 0.1
"""Seconds to wait for a reader, once. After that, text that it does not accept is dropped."""


class StandardError:
    """Accepts text for people and operators. Text that nobody reads in time is dropped.

    A stopped terminal (Ctrl-S) or a full pipe must delay neither the work nor its end.
    """

    def __init__(self, descriptor: int = DESCRIPTOR) -> None:
        self._descriptor = descriptor
        self._patience = PATIENCE

    def write(self, text: str) -> int:
        """Write a text, or as much of it as is accepted. Return its number of characters."""
        data = memoryview(text.encode("utf-8", "replace"))
        while data:
            if not is_ready(self._descriptor, self._patience, readable=False):
                self._patience = 0.0
                break
            self._patience = PATIENCE
            try:
                data = data[os.write(self._descriptor, data[:ATOMIC_WRITE]) :]
            except OSError:  # closed or full: this cannot be reported
                break
        return len(text)

    def flush(self) -> None:
        """Do nothing: text is not buffered."""

    def isatty(self) -> bool:
        """Return whether it is a terminal."""
        return os.isatty(self._descriptor)

    def fileno(self) -> int:
        """Return the descriptor, for functions that query the terminal's size."""
        return self._descriptor
