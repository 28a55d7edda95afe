"""One run: read the message, put the parts together, wait for the end, choose the exit status."""

from __future__ import annotations

import os
import sys

from store_workers.errors import (
    BadMessage,
    Cancelled,
    ChunkFailure,
    ErrorCode,
    StoreFailure,
    WorkerError,
)
from store_workers.run.limits import within_limits
from store_workers.run.supervisor import Heartbeat, Mailbox, Supervisor
from store_workers.threads import Abandoned, ThreadGroup
from store_workers.wire.events import ChunkRetry, ErrorEvent, Warning, error_event
from store_workers.wire.messages import DownloadStart, decode_message, message_id
from store_workers.wire.reader import read_message
from store_workers.wire.writer import EventWriter, OwnerGone

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping
    from typing import NoReturn

    from store_workers.files.atomic_file import TemporaryFiles
    from store_workers.stores.base import Location, Store
    from store_workers.wire.messages import Message
    from store_workers.wire.writer import Observer
    from store_workers.workers.download import Download
    from store_workers.workers.upload import Upload

SUCCESS, FAILURE, NOT_ACCEPTED = 0, 1, 2
DEBUG_VARIABLE = "STORE_WORKERS_DEBUG"
LOG_VARIABLE = "STORE_WORKERS_LOG"
FLAGS = ("--help", "--version", "--schema")


class Run:
    """One message's way from standard input to its last event."""

    def __init__(self, owner: EventWriter) -> None:
        self._owner = owner
        self._mailbox = Mailbox(owner.hurry)
        self._group = ThreadGroup(self._mailbox.failed)
        self._supervisor = Supervisor(owner, self._mailbox)
        self._files: TemporaryFiles | None = None
        self._store: Store | None = None
        self._worker: Upload | Download | None = None
        self._slow_store: SlowStore | None = None
        owner.observer = find_observer(os.environ, owner)
        if owner.observer is not None:
            self._supervisor.on_tick = owner.observer.tick

    def status(self) -> int:
        """Do what the message asks for; the exit status that tells how it went."""
        self._mailbox.listen_to_signals()
        self._group.start(self._work, "work")
        try:
            failure = self._supervisor.wait()
            if failure is None:
                return SUCCESS
            return self._conclude(failure)
        except OwnerGone:
            self._discard()
            return self._unheard()
        finally:
            if self._owner.observer is not None:
                self._owner.observer.close()

    def _work(self) -> None:
        """What the thread beside the supervisor does, from the first byte of the message on."""
        value = read_message(sys.stdin.fileno() if sys.stdin else 0)
        self._owner.id = message_id(value)
        message = within_limits(decode_message(value))
        refuse_reserved_paths(message, self._owner.descriptor)
        location = find_store(message)
        self._slow_store = SlowStore(message.settings.timeout_ms / 1000)
        worker = self._worker = self._make_worker(message, location)
        if self._owner.observer is not None:
            self._owner.observer.begin(message, location.shown, worker.progress)
        interval = message.settings.progress_interval_ms / 1000
        if interval:
            self._mailbox.begin(Heartbeat(interval, worker.progress))
        self._owner.emit(worker.run())
        self._mailbox.done()

    def _make_worker(self, message: Message, location: Location) -> Upload | Download:
        from store_workers.files.atomic_file import TemporaryFiles
        from store_workers.transfer.limiter import Limiter
        from store_workers.transfer.retry import Retrier, RetryPolicy
        from store_workers.workers.context import Context

        settings = message.settings
        self._files = TemporaryFiles()
        store = self._store = open_store(location, message)
        limiter = Limiter(settings.concurrency)
        places = limiter.places(self._group, quick=store.properties.asking_is_free)
        policy = RetryPolicy.of(settings)
        retrier = Retrier(
            policy, places, self._emit_retry, on_try=self._observe_try, sleep=self._group.sleep
        )
        threads = settings.compression_threads or usable_cores()
        context = Context(
            group=self._group,
            emit=self._owner.emit,
            store=store,
            places=places,
            retrier=retrier,
            files=self._files,
            threads=threads,
        )
        if isinstance(message, DownloadStart):
            from store_workers.workers.download import Download

            return Download(message, context)
        from store_workers.workers.upload import Upload

        self._tidy_up(store)
        return Upload(message, context)

    def _tidy_up(self, store: Store) -> None:
        removed = store.remove_stale_files()
        if removed:
            self._owner.emit(
                Warning(
                    code=ErrorCode.CANCELLED,
                    message=f"removed {removed} temporary {'file' if removed == 1 else 'files'} of"
                    " earlier runs that were cut off",
                )
            )

    def _emit_retry(self, failure: ChunkFailure, pause: float) -> None:
        self._owner.emit(
            ChunkRetry(
                index=failure.index or 0,
                hash=failure.hash or "",
                code=failure.code,
                message=failure.message,
                attempt=failure.attempt,
                delay_ms=round(pause * 1000),
            )
        )

    def _observe_try(
        self, index: int, hash: str, attempt: int, seconds: float, failure: StoreFailure | None
    ) -> None:
        if self._owner.observer is not None:
            self._owner.observer.tried(index, hash, attempt, seconds, failure)
        if failure is None and self._slow_store is not None and self._slow_store.shows_in(seconds):
            self._owner.emit(
                Warning(
                    code=ErrorCode.STORE_UNAVAILABLE,
                    message=f"the store is slow: one chunk took {seconds:.1f} s, more than half of"
                    " settings.timeout_ms",
                    index=index,
                    hash=hash,
                )
            )

    def _conclude(self, failure: BaseException) -> int:
        """Leave nothing half done, tell the failure, and choose the status."""
        self._group.fail(Abandoned())
        self._discard()
        if isinstance(failure, OwnerGone):
            return self._unheard()
        error = as_worker_error(failure)
        spent = self._worker is not None and self._worker.spent
        self._supervisor.emit_last(error_event(error, spent=spent))
        if self._owner.ended_with not in (None, ErrorEvent.type):
            return SUCCESS  # it was complete before the failure came in
        if isinstance(error, Cancelled):
            return 128 + error.signal_number
        return NOT_ACCEPTED if isinstance(error, BadMessage) else FAILURE

    def _unheard(self) -> int:
        """The status where nobody takes the last line: a signal's, if there still is an owner."""
        number = self._mailbox.signalled
        return 128 + number if number and not self._owner.is_gone() else FAILURE

    def _discard(self) -> None:
        if self._files is not None:
            self._files.close()
        if self._store is not None:
            self._store.close()


class SlowStore:
    """Finds out, once a run, that a store takes more than half of its timeout for one chunk."""

    def __init__(self, timeout: float) -> None:
        self._limit = timeout / 2
        self._unsaid = [True]

    def shows_in(self, seconds: float) -> bool:
        """Is this the first try that took so long? Safe from many threads."""
        if seconds <= self._limit:
            return False
        try:
            return self._unsaid.pop()
        except IndexError:
            return False


def find_observer(environment: Mapping[str, str], owner: EventWriter) -> Observer | None:
    """Who is shown the events besides the owner: operators that ask for a log, else a person.

    Nothing is imported where nobody looks.
    """
    level = environment.get(LOG_VARIABLE)
    if level:
        from store_workers.people.log import Log
        from store_workers.people.standard_error import StandardError

        return Log(level, StandardError())
    if os.isatty(2):
        from store_workers.people.progress_bar import ProgressBar
        from store_workers.people.standard_error import StandardError

        return ProgressBar(StandardError(), on_screen=owner.is_on_screen())
    return None


def refuse_reserved_paths(message: Message, events: int) -> None:
    """Refuse a path that opens what the message came by, or what `events`, a descriptor, is."""
    from store_workers.files.descriptors import (
        EVENTS_DESCRIPTOR,
        MESSAGE_DESCRIPTOR,
        reserved_descriptor,
    )

    number = reserved_descriptor(message.path, events)
    if number == EVENTS_DESCRIPTOR:
        raise BadMessage("path", "standard output carries the events: name another file")
    if number == MESSAGE_DESCRIPTOR:
        raise BadMessage("path", "standard input carries the message: name another file")


def find_store(message: Message) -> Location:
    """The place that the message or the environment names."""
    from store_workers.stores.location import locate

    return locate(message, os.environ)


def open_store(location: Location, message: Message) -> Store:
    """Open the store; what it needs of this host may be missing."""
    try:
        return location.open(message.settings)
    except StoreFailure as failure:
        raise WorkerError(failure.code, failure.message) from failure


def usable_cores() -> int:
    """The cores that this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def as_worker_error(failure: BaseException) -> WorkerError:
    """Any failure as one that has a code; what nobody foresaw is a bug of ours."""
    if os.environ.get(DEBUG_VARIABLE) == "1":
        import traceback

        traceback.print_exception(type(failure), failure, failure.__traceback__)
    if isinstance(failure, WorkerError):
        return failure
    if isinstance(failure, MemoryError):
        return WorkerError(ErrorCode.INTERNAL, "out of memory")
    trace = failure.__traceback__
    while trace is not None and trace.tb_next is not None:
        trace = trace.tb_next
    place = ""
    if trace is not None:
        code = trace.tb_frame.f_code
        place = f" in {os.path.basename(code.co_filename)}, {code.co_name}, line {trace.tb_lineno}"
    return WorkerError(ErrorCode.INTERNAL, f"a bug of this worker: {type(failure).__name__}{place}")


def take_standard_output() -> int:
    """Keep standard output for events alone: a descriptor of our own for it.

    Whatever a library prints goes to standard error from here on. Raises `OSError` where there is
    no standard output.
    """
    events = os.dup(1)
    try:
        os.fstat(2)
    except OSError:
        null = os.open(os.devnull, os.O_WRONLY)
        if null != 2:
            os.dup2(null, 2)
    os.dup2(2, 1)
    return events


def run(arguments: list[str]) -> int:
    """Do what the command line and standard input ask for; the exit status."""
    if arguments and arguments[0] in FLAGS:
        from store_workers.people.flags import answer

        return answer(arguments[0])
    try:
        owner = EventWriter(take_standard_output())
    except OSError:
        return FAILURE
    if arguments:
        problem = f"expected no argument but {', '.join(FLAGS)}: the work comes on standard input"
        owner.emit(error_event(BadMessage("", problem)))
        return NOT_ACCEPTED
    if os.isatty(0):
        from store_workers.people.flags import help_text

        os.write(2, (help_text() + "\n").encode())
        problem = "expected one JSON object on standard input, which is a terminal"
        owner.emit(error_event(BadMessage("", problem)))
        return NOT_ACCEPTED
    return Run(owner).status()


def main() -> NoReturn:
    """Run, and exit at once: threads that are held up must not hold the exit up."""
    status = run(sys.argv[1:])
    for stream in (sys.stdout, sys.stderr):
        try:
            if stream is not None:
                stream.flush()
        except OSError:
            pass
    os._exit(status)


if __name__ == "__main__":
    main()
