"""Checks of the length of stored chunks, and the check after a PUT."""

from __future__ import annotations

import threading
import time

from store_workers.errors import ErrorCode, StoreFailure

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

    from store_workers.stores.base import Chunk


PAUSES_WHERE_SHORTER = (0.05, 0.2)
"""Seconds before a shorter length is asked for again.

On a server that writes in place, the partial PUT of another worker is visible for a moment.
"""


class LengthCheck:
    """Checks chunks that were just stored, if there is a reason.

    These are the first one of a run, and each that was present with another length: a login page
    answers 200 to everything, and some servers rename existing files.

    `ask` returns the length of the object of a hash, None if it is missing or not reported. `shown`
    is the store's name, and `question` a hint for its operator if it does not store. `pause` waits
    for some seconds. Safe from many threads.
    """

    def __init__(
        self,
        ask: Callable[[str], int | None],
        shown: str,
        question: str,
        pause: Callable[[float], None] = time.sleep,
    ) -> None:
        self._ask = ask
        self._pause = pause
        self._shown = shown
        self._question = question
        self._lock = threading.Lock()
        self._any_checked = False
        self._doubtful: set[str] = set()
        """The hashes under which a chunk of another length was found."""

    def is_right(self, hash: str, size: int, length: int | None) -> bool:
        """Return whether the found length is that of the chunk, and record another one."""
        if length is not None and length != size:
            # A server that truncated a chunk has it under its name, too.
            self._doubtful.add(hash)
        return length == size

    def doubts(self, hash: str) -> bool:
        """Return whether a chunk of another length was found under this hash."""
        return hash in self._doubtful

    def after_put(self, chunk: Chunk) -> None:
        """Check that the store has the chunk that it accepted, if there is a reason.

        Raises `StoreFailure` if it does not, and the exceptions of `ask`.
        """
        with self._lock:
            first, self._any_checked = not self._any_checked, True
        if not first and not self.doubts(chunk.hash):
            return
        try:
            length = self._settled_length(chunk)
        except BaseException:
            with self._lock:
                self._any_checked = self._any_checked and not first
            raise
        if length is not None and not self.is_right(chunk.hash, chunk.size, length):
            raise StoreFailure(
                ErrorCode.STORE_REJECTED,
                f"{self._shown} does not store chunks: it accepted {chunk.size} bytes, and reports"
                f" {length} bytes under the same name; {self._question}",
            )
        self._doubtful.discard(chunk.hash)

    def _settled_length(self, chunk: Chunk) -> int | None:
        """Return the length that the store reports, once it is not that of a partial PUT."""
        length = self._ask(chunk.hash)
        for seconds in PAUSES_WHERE_SHORTER:
            if length is None or length >= chunk.size:
                break
            self._pause(seconds)
            length = self._ask(chunk.hash)
        return length
