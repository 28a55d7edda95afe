"""The run of one message: from its acceptance to its last event, and the release after it."""

from __future__ import annotations

from contextlib import suppress

from store_workers.errors import BadMessage, StoreFailure, WarningCode, WorkerError
from store_workers.run.failures import as_worker_error
from store_workers.run.supervisor import Heartbeat
from store_workers.threads import Abandoned
from store_workers.wire.events import ChunkRetry, EventType, Warning, error_event
from store_workers.wire.messages import DownloadStart, VerifyStart

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

    from store_workers.errors import ChunkFailure, Try
    from store_workers.files.atomic_file import TemporaryFiles
    from store_workers.files.descriptors import Reserved
    from store_workers.run.shared import Shared
    from store_workers.stores.base import Location, Store
    from store_workers.threads import ThreadGroup
    from store_workers.transfer.limiter import Places
    from store_workers.transfer.retry import Retrier
    from store_workers.wire.events import Event
    from store_workers.wire.messages import Message
    from store_workers.wire.writer import EventWriter
    from store_workers.workers.context import Worker


class MessageRun:
    """Carries out one accepted message.

    `events` receives its events; `group` has its threads, and ends with the message. `location` is
    that of its store; `open_store` returns the store, and whether it was not used before.
    """

    def __init__(
        self,
        message: Message,
        location: Location,
        shared: Shared,
        events: EventWriter,
        group: ThreadGroup,
        open_store: Callable[[], tuple[Store, bool]],
    ) -> None:
        self._message = message
        self._location = location
        self._shared = shared
        self._events = events
        self._group = group
        self._open_store: Callable[[], tuple[Store, bool]] | None = open_store
        self._slow_store = SlowStore(message.settings.timeout_ms / 1000)
        self._files: TemporaryFiles | None = None
        self._heartbeat: Heartbeat | None = None
        self._worker: Worker | None = None
        self._spent = False

    def work(self) -> Event:
        """Do the work, on a thread of the group. Return the event of success.

        Raises its failure; another thread may have failed the group before.
        """
        worker = self._worker = self._make_worker()
        self._group.when_over(self._close_worker)
        if self._shared.observer is not None:
            self._shared.observer.begin(self._message, self._location.shown, worker.progress)
        interval = self._message.settings.progress_interval_ms / 1000
        if interval:
            self._heartbeat = Heartbeat(interval, worker.progress, self._events)
            self._shared.heartbeats.add(self._heartbeat)
        return worker.run()

    @property
    def spent(self) -> bool:
        """Return whether bytes were read from, or written to, something that cannot be rewound."""
        worker = self._worker
        return self._spent if worker is None else worker.spent

    @property
    def is_complete(self) -> bool:
        """Return whether a downloaded file has its name. After `close`, this does not change.

        Then it is too late to cancel the message: its own thread reports the success.
        """
        return self._files is not None and self._files.renamed

    def close(self) -> None:
        """Release the resources of the message: threads, heartbeat, temporary files."""
        self._open_store = None
        heartbeat, self._heartbeat = self._heartbeat, None
        if heartbeat is not None:
            self._shared.heartbeats.remove(heartbeat)
        self._group.close()
        if self._files is not None:
            self._files.close()

    def _close_worker(self) -> None:
        """Release the worker, too: it refers to this run, so both would stay alive."""
        worker = self._worker
        if worker is not None:
            self._spent, self._worker = worker.spent, None
            with suppress(WorkerError):  # an earlier error counts
                worker.close()

    def _make_worker(self) -> Worker:
        from store_workers.files.atomic_file import TemporaryFiles
        from store_workers.workers.context import Context

        self._files = TemporaryFiles()
        store, fresh = self._store()
        places = self._shared.limiter.places(
            self._group, self._location.shown, quick=store.properties.asking_is_free
        )
        context = Context(
            group=self._group,
            emit=self._emit,
            store=store,
            store_name=self._location.shown,
            places=places,
            retrier=self._retrier(places),
            files=self._files,
            threads=self._shared.threads,
            is_first_in=self._shared.is_first_in,
        )
        if isinstance(self._message, DownloadStart):
            if self._message.resume:
                from store_workers.workers.resumed_download import ResumedDownload

                return ResumedDownload(self._message, context)
            if self._message.range is not None:
                from store_workers.workers.range_download import RangeDownload

                return RangeDownload(self._message, self._message.range, context)
            from store_workers.workers.download import Download

            return Download(self._message, context)
        if isinstance(self._message, VerifyStart):
            from store_workers.workers.verify import Verify

            return Verify(self._message, context)
        from store_workers.workers.upload import Upload

        if fresh:
            self._tidy_up(store)
        return Upload(self._message, context)

    def _store(self) -> tuple[Store, bool]:
        """Open the store, which can fail if this host lacks something."""
        open_store, self._open_store = self._open_store, None
        if open_store is None:  # closed before it started
            raise Abandoned
        try:
            return open_store()
        except StoreFailure as failure:
            raise WorkerError(failure.code, failure.message) from failure

    def _retrier(self, places: Places) -> Retrier:
        from store_workers.transfer.retry import Retrier, RetryPolicy

        return Retrier(
            RetryPolicy.of(self._message.settings),
            places,
            self._emit_retry,
            on_try=self._observe_try,
            sleep=self._group.sleep,
        )

    def _emit(self, event: Event) -> None:
        if event.type is not EventType.CHUNK or self._message.settings.chunk_events:
            self._events.emit(event)

    def _tidy_up(self, store: Store) -> None:
        removed = store.remove_stale_files()
        if removed:
            self._emit(leftovers_removed(removed))

    def _emit_retry(self, failure: ChunkFailure, pause: float) -> None:
        self._emit(
            ChunkRetry(
                index=failure.index or 0,
                hash=failure.hash or "",
                code=failure.code,
                message=failure.message,
                attempt=failure.attempt,
                delay_ms=round(pause * 1000),
            )
        )

    def _observe_try(self, result: Try) -> None:
        observer = self._shared.observer
        if observer is not None:
            observer.tried(self._message.id, result)
        if result.failure is None and self._slow_store.shows_in(result.seconds):
            self._emit(store_slow(result))


def conclude(failure: BaseException, events: EventWriter, *, spent: bool = False) -> WorkerError:
    """Report that a message or a run failed. Raises `OwnerGone` if nobody reads events.

    `spent`: were bytes taken from, or written to, what cannot be rewound?
    """
    error = as_worker_error(failure)
    events.emit_last(error_event(error, spent=spent))
    return error


class SlowStore:
    """Detects, once per message, that a chunk took more than half of the store's timeout."""

    def __init__(self, timeout: float) -> None:
        self._limit = timeout / 2
        self._unsaid = [True]

    def shows_in(self, seconds: float) -> bool:
        """Return whether this is the first try that took so long. Safe from many threads."""
        if seconds <= self._limit:
            return False
        try:
            return self._unsaid.pop()
        except IndexError:
            return False


def store_slow(result: Try) -> Warning:
    """Return the warning about a slow store."""
    return Warning(
        code=WarningCode.STORE_SLOW,
        message=f"the store is slow: one chunk took {result.seconds:.1f} s, more than half of"
        " settings.timeout_ms",
        index=result.index,
        hash=result.hash,
    )


def leftovers_removed(count: int) -> Warning:
    """Return the warning about removed files of killed workers in a directory store."""
    return Warning(
        code=WarningCode.LEFTOVERS_REMOVED,
        message=f"removed {count} temporary {'file' if count == 1 else 'files'} of"
        " interrupted runs",
    )


def refuse_reserved_path(message: Message, reserved: Reserved) -> None:
    """Refuse a path that opens the descriptor of the messages or of the events."""
    if isinstance(message, VerifyStart) or message.path is None:
        return
    from store_workers.files.descriptors import EVENTS_DESCRIPTOR, MESSAGE_DESCRIPTOR

    number = reserved.number_of(message.path)
    if number == EVENTS_DESCRIPTOR:
        raise BadMessage("path", "standard output carries the events: use another descriptor")
    if number == MESSAGE_DESCRIPTOR:
        raise BadMessage("path", "standard input carries the message: use another descriptor")
