"""Makes chunks and their names durable with few calls, also if some calls are refused."""

from __future__ import annotations

import errno
import os
import threading

from store_workers.files.syncing import REFUSED, sync_directory


def sync_names(directory: str) -> None:
    """Make the names in a directory durable, as far as the file system can. Raises `OSError`.

    If the directory may not be read (mode 0300), or its sync is denied, the whole system is synced.
    """
    try:
        sync_directory(directory)
    except OSError as error:
        if error.errno not in REFUSED:
            raise
        if hasattr(os, "sync"):
            os.sync()


class GroupSync:
    """Group commit: one sync of a directory covers all names that were made before it began.

    At most one sync of a directory runs. Threads that arrive meanwhile share the next one, since
    the running one may not cover their names.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()  # guards the attributes below, never held during I/O
        self._next: dict[str, _Round] = {}
        self._running: dict[str, _Round] = {}

    def sync(self, directory: str) -> None:
        """Make all current names of the directory durable. Raises `OSError`."""
        with self._lock:
            shared = self._next.get(directory)
            if shared is None:
                mine = self._next[directory] = _Round()
                before = self._running.get(directory)
        if shared is not None:
            shared.wait()
            if shared.failure is not None:
                raise OSError(shared.failure.errno, shared.failure.strerror)
            return
        if before is not None:
            before.wait()
        self._lead(mine, directory)

    def _lead(self, mine: _Round, directory: str) -> None:
        with self._lock:
            del self._next[directory]
            self._running[directory] = mine
        mine.failure = OSError(errno.EIO, "the directory could not be synced")
        try:
            sync_names(directory)
            mine.failure = None
        except OSError as error:
            mine.failure = error
            raise
        finally:
            with self._lock:
                del self._running[directory]
            mine.end()


class _Round:
    """One sync, which one thread does and others can wait for."""

    __slots__ = ("_latch", "failure")

    def __init__(self) -> None:
        self.failure: OSError | None = None
        self._latch = threading.Lock()
        self._latch.acquire()

    def wait(self) -> None:
        with self._latch:
            pass

    def end(self) -> None:
        self._latch.release()
