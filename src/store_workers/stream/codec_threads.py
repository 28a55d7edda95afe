"""Limits the threads that compress or decompress at once in a process."""

from __future__ import annotations

import threading


class CodecThreads:
    """A limit of `most` threads; a context manager around the work on one span or frame.

    Messages share it: each may have as many threads as a single run, but only `most` of them all
    are busy at once. The work and therefore the wait are short.
    """

    def __init__(self, most: int) -> None:
        self.most = most
        self._turns = threading.Semaphore(most)

    def __enter__(self) -> None:
        self._turns.acquire()

    def __exit__(self, *_error: object) -> None:
        self._turns.release()
