"""The folders of a WebDAV server: it takes nothing into one that is not there (RFC 4918, 9.7.1)."""

from __future__ import annotations

import threading

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

MADE = frozenset({200, 201, 204})
EXISTS = 405
NO_PARENT = frozenset({404, 409})


class Folders:
    """Makes folders when they are missed, each once. Safe from many threads.

    `mkcol` makes one, by its path without a slash at its end, and returns the answer's status.
    """

    def __init__(self, mkcol: Callable[[str], int]) -> None:
        self._mkcol = mkcol
        self._lock = threading.Lock()
        self._advice: dict[str, str] = {}

    def make(self, path: str) -> str:
        """Make a folder and those above it; "" where it is there now, else what would mend it."""
        with self._lock:
            if path not in self._advice:
                self._advice[path] = self._make(path)
            return self._advice[path]

    def _make(self, path: str) -> str:
        if not path:
            return "the server does not accept files at its root: name a directory in the URL"
        status = self._mkcol(path)
        if status in NO_PARENT and not self._make(path.rpartition("/")[0]):
            status = self._mkcol(path)
        if status in MADE or status == EXISTS:
            return ""
        return f"create the directory {path} on the server (it refused MKCOL with {status})"
