"""How many threads compress or decompress at once: one bound for all that a process transfers."""

from __future__ import annotations

import threading


class CodecThreads:
    """A bound of `most` threads; a context manager around the work on one span or frame.

    Messages share it: each may have as many threads as a single run, but only so many of all of
    them are busy. A turn is short, and so is the wait for one.
    """

    def __init__(self, most: int) -> None:
        self.most = most
        self._turns = threading.Semaphore(most)

    def __enter__(self) -> None:
        self._turns.acquire()

    def __exit__(self, *_error: object) -> None:
        self._turns.release()
