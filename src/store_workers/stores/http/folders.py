"""Creates missing directories on WebDAV servers, which require them (RFC 4918, 9.7.1)."""

from __future__ import annotations

import threading
import time

from store_workers.errors import StoreFailure

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

MADE = frozenset({200, 201, 204})
EXISTS = 405
NO_PARENT = frozenset({404, 409})


class Folders:
    """Creates missing directories, each once. Safe from many threads.

    `mkcol` creates one, given its path without a final slash, and returns the answer's status, or
    raises `StoreFailure` if another try can succeed.
    """

    def __init__(
        self, mkcol: Callable[[str], int], clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._mkcol = mkcol
        self._clock = clock
        self._lock = threading.Lock()
        self._advice: dict[str, str] = {}
        self._failed: tuple[float, StoreFailure] | None = None  # when, and how

    def make(self, path: str) -> str:
        """Create a directory and its parents. Return "", or a remedy if this failed.

        Raises the `StoreFailure` of `mkcol`.
        """
        began = self._clock()
        with self._lock:
            if path in self._advice:
                return self._advice[path]
            # Threads that waited must not wait for a silent server one after the other.
            if self._failed is not None and self._failed[0] > began:
                raise self._failed[1]
            try:
                advice = self._advice[path] = self._make(path)
            except StoreFailure as failure:
                self._failed = (self._clock(), failure)
                raise
            return advice

    def _make(self, path: str) -> str:
        if not path:
            return "the server does not accept files at its root: name a directory in the URL"
        status = self._mkcol(path)
        if status in NO_PARENT and not self._make(path.rpartition("/")[0]):
            status = self._mkcol(path)
        if status in MADE or status == EXISTS:
            return ""
        return f"create the directory {path} on the server (it refused MKCOL with {status})"
