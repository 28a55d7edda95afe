"""Resources that all messages of a run share, and their release."""

from __future__ import annotations

from contextlib import ExitStack

from store_workers.run.limits import codec_threads, most_requests
from store_workers.threads import ThreadGroup, ThreadPool

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from store_workers.run.supervisor import Heartbeats
    from store_workers.stream.codec_threads import CodecThreads
    from store_workers.transfer.limiter import Limiter
    from store_workers.transfer.rate_limit import RateLimit
    from store_workers.wire.messages import Settings
    from store_workers.wire.writer import Observer, OwnerPipe


MOST_DIRECTORIES = 1000
"""Maximum number of remembered directories."""


class Shared:
    """Threads, stores and the limiter of one run; `close` releases them.

    Nothing is global: two instances are independent. `settings` apply to the run, not to a message:
    the requests in flight and the number of threads that compress.
    """

    def __init__(
        self,
        pipe: OwnerPipe,
        heartbeats: Heartbeats,
        environment: Mapping[str, str],
        on_failure: Callable[[BaseException], None],
    ) -> None:
        self.pipe = pipe
        self.heartbeats = heartbeats
        self.environment = environment
        self.pool = ThreadPool()
        self.group = ThreadGroup(on_failure, pool=self.pool)
        self._threads: CodecThreads | None = None
        self._directories: set[str] = set()  # directories that files were written to
        self._undo = ExitStack()
        self._limiter: Limiter | None = None
        self.rate_limit: RateLimit | None = None

    @property
    def observer(self) -> Observer | None:
        """The observer of the events besides the owner."""
        return self.pipe.observer

    def settle(self, settings: Settings) -> None:
        """Take the settings of the whole run from its message, before any work begins."""
        from store_workers.stream.codec_threads import CodecThreads
        from store_workers.transfer.limiter import Limiter

        self._threads = CodecThreads(settings.compression_threads or codec_threads())
        most = most_requests()
        if settings.rate_limit:
            from store_workers.transfer.rate_limit import RateLimit

            self.rate_limit = RateLimit(settings.rate_limit, sleep=self.group.sleep)
            if not settings.concurrency:
                most = min(most, self.rate_limit.most_requests)
        self._limiter = Limiter(settings.concurrency, most=most)

    @property
    def limiter(self) -> Limiter:
        """The maximum of requests in flight, all messages together."""
        assert self._limiter is not None  # noqa: S101 - `settle` comes first
        return self._limiter

    @property
    def threads(self) -> CodecThreads:
        """The number of threads that compress or decompress at once, all messages together."""
        assert self._threads is not None  # noqa: S101 - `settle` comes first
        return self._threads

    def is_first_in(self, directory: str) -> bool:
        """Return whether this is the first remembered message that writes to a directory."""
        if directory in self._directories:
            return False
        if len(self._directories) >= MOST_DIRECTORIES:
            self._directories.clear()
        self._directories.add(directory)
        return True

    def close_with(self, undo: Callable[[], None]) -> None:
        """Call `undo` on closing, in reverse order."""
        self._undo.callback(undo)

    def close(self, seconds: float) -> bool:
        """Release everything, and wait that long for the threads. Return whether all have ended."""
        self.group.close()
        self._undo.close()
        if self.observer is not None:
            self.observer.close()
        return self.pool.close(seconds)
