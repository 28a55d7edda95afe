"""Many messages in one process, in parallel, each with a terminal event of its own."""

from __future__ import annotations

import threading
import time
from collections import deque
from contextlib import suppress
from functools import partial

from store_workers.errors import BadMessage, Cancelled, ErrorCode, forget_frames
from store_workers.files.descriptors import Reserved
from store_workers.run.failures import as_worker_error
from store_workers.run.message_run import MessageRun, conclude, refuse_reserved_path
from store_workers.run.open_stores import OpenStores
from store_workers.run.supervisor import Heartbeat
from store_workers.threads import LONGEST_CLOSE, Abandoned, ThreadGroup
from store_workers.wire import json_text
from store_workers.wire.events import EventType, SessionEnded, error_event
from store_workers.wire.messages import Cancel, decode_next, message_id
from store_workers.wire.reader import decode_line
from store_workers.wire.writer import EventWriter, OwnerGone

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from store_workers.run.open_stores import Borrowed, Key
    from store_workers.run.shared import Shared
    from store_workers.stores.base import Location, Store
    from store_workers.wire.events import Event
    from store_workers.wire.messages import Common, Message, SessionStart
    from store_workers.wire.reader import MessageReader

MOST_WAITING = 1000
"""Maximum number of waiting messages: while there are so many, no further line is read."""

ROOM_AGAIN = MOST_WAITING // 2
"""Number of waiting messages at which reading continues, to read several lines at once."""

SHORT, SHORT_IF_IDLE = 0.01, 0.001
"""Seconds of work on a message after which another one is started in parallel: usually, and while
the process leaves the processor idle.

Python runs one thread at a time, so threads that hardly wait slow each other down, and each then
seems to be held up: with 2 ms here, 2000 small files to a directory took 2.6 s on eight threads,
and 1.6 s on one. But one thread that waits 4 ms for each answer of a server leaves most of the time
unused.
"""

BUSY, LOAD_SECONDS = 0.8, 0.05
"""The share of time in which a process that is not idle uses a processor, and how long that is
measured.
"""

OF_THE_STORE = ("store", "auth", "headers", "tls")
"""Fields that identify the store and the credentials."""

MOST_LOCATIONS = 16
"""Maximum number of remembered locations."""


class Job:
    """One accepted message: waiting, running or ended."""

    def __init__(self, message: Message, location: Location, key: Key, session: Session) -> None:
        self.message = message
        self.location = location
        self.key = key
        self.events = EventWriter(
            session.shared.pipe, message.id, ends_run=False, on_end=partial(session.forget, self)
        )
        self.group = ThreadGroup(
            partial(session.conclude, self), pool=session.shared.pool, parent=session.shared.group
        )
        self.borrowed: Borrowed | None = None
        self.late: Heartbeat | None = None  # reports a failure if threads do not return
        self.group.when_over(partial(session.over, self))
        self.run = MessageRun(
            message, location, session.shared, self.events, self.group, partial(session.open, self)
        )

    def stop(self, failure: BaseException) -> None:
        """End the message with `failure`, unless it has ended."""
        self.group.fail(failure)


class Session:
    """Accepts messages until the input ends, and completes them.

    `start` is the session's own message.

    Messages start in the order in which they arrive, up to `max_files` of them in parallel, each on
    a thread. Another thread joins when the running ones have started nothing for a moment: they
    wait for the store, or one has a large file. Memory: `MOST_WAITING` messages, and that of the
    worker of each running one; the limiter bounds the chunks in flight of all.
    """

    def __init__(
        self,
        start: SessionStart,
        reader: MessageReader,
        shared: Shared,
        events: EventWriter,
    ) -> None:
        self.shared = shared
        self._start = start
        self._reader = reader
        self._events = events
        self._reserved = Reserved(events.pipe.descriptor)
        self._stores = OpenStores(shared.group)
        shared.close_with(self._stores.close)
        self._began = time.monotonic()
        self._lock = threading.Lock()  # guards the attributes below
        self._changed = shared.group.condition(self._lock)  # a message has ended
        self._room = shared.group.condition(self._lock)  # there is room for another message
        self._more = shared.group.condition(self._lock)  # there are messages for idle threads
        self._waiting: deque[Job] = deque()
        self._jobs: dict[str, Job] = {}  # by id: waiting or running
        self._threads = 0
        self._free = 0
        self._watched = False  # true if an idle thread watches the waiting messages
        self._begun_at = 0.0  # the last start of a message
        self._short = SHORT
        self._measured = (time.monotonic(), time.process_time())
        self._stopped: BaseException | None = None
        self._files = 0
        self._failed = 0
        self._place = _place(start)
        self._locations: dict[Key, Location] = {}

    def run(self) -> SessionEnded:
        """Carry out all messages. Return the terminal event."""
        while self._take_line():
            pass
        with self._changed:
            self._changed.wait_while(self._is_busy)
            if self._stopped is not None:  # a signal ended the last messages
                raise Abandoned
        return SessionEnded(
            files=self._files,
            failed=self._failed,
            duration_ms=int((time.monotonic() - self._began) * 1000),
        )

    def stop(self, failure: BaseException) -> None:
        """End every message, waiting or running, with `failure`, and accept no more.

        Wait a moment for their threads; what these do not report then is reported here.
        """
        with self._lock:
            self._stopped = failure
            jobs = tuple(self._jobs.values())
        for job in jobs:
            job.stop(failure)
        deadline = time.monotonic() + LONGEST_CLOSE
        with self._changed:
            while self._jobs and (left := deadline - time.monotonic()) > 0:
                self._changed.wait(left)
            jobs = tuple(self._jobs.values())
        for job in jobs:
            self._report(job, failure)

    def close(self) -> None:
        """Release the resources of messages that have not ended."""
        with self._lock:
            jobs = tuple(self._jobs.values())
        for job in jobs:
            job.run.close()

    def _is_busy(self) -> bool:
        return bool(self._jobs) or self._free < self._threads

    def _take_line(self) -> bool:
        """Handle the next line, or wait for one. Return false at the end of the input."""
        with self._room:
            self._room.wait_while(lambda: len(self._waiting) >= MOST_WAITING)
        value: Any = None
        try:
            line = self._reader.next_line()
            if line is None:
                return False
            value = decode_line(line)
            message = decode_next(value, self._start)
            if isinstance(message, Cancel):
                self._cancel(message.id)
            else:
                self._accept(message, value)
        except BadMessage as refused:
            self._refuse(refused, message_id(value))
        return True

    def _refuse(self, refused: BadMessage, id: str | None) -> None:
        """Report that a line is not a message, with its id if no other message has it."""
        with self._lock:
            self._failed += 1
            own = id if id not in self._jobs else None
        EventWriter(self.shared.pipe, own, ends_run=False).emit(error_event(refused))

    def _accept(self, message: Message, value: dict[str, Any]) -> None:
        assert message.id is not None  # noqa: S101 - `decode_next` sees to it
        refuse_reserved_path(message, self._reserved)
        job = Job(message, *self._locate(message, value), self)
        with self._lock:
            if message.id in self._jobs:
                job.group.close()
                raise BadMessage("id", "is in use by a message that has not ended")
            if self._stopped is not None:
                raise Abandoned
            self._files += 1
            self._jobs[message.id] = job
            self._waiting.append(job)
            more = len(self._waiting) > self._free and self._threads < self._start.max_files
            if more:
                self._threads += 1
                self._free += 1
            if not self._watched:
                self._more.notify()
        if more and not self._one_more_thread():
            with self._lock:
                self._threads -= 1
                self._free -= 1

    def _one_more_thread(self) -> bool:
        return self.shared.group.start(self._work, "file", spare=self._threads > 1)

    def _cancel(self, id: str) -> None:
        with self._lock:
            job = self._jobs.get(id)
        if job is not None:
            job.stop(Cancelled(0, "CANCEL"))

    def _work(self) -> None:
        """Carry out messages one after the other, in the order in which they arrived."""
        took_long = False
        while True:
            job = self._next(at_once=took_long)
            began = time.monotonic()
            job.group.run(partial(self._do, job))
            self._end(job)
            del job  # otherwise it stays alive until the next one comes
            took_long = time.monotonic() - began > self._short

    def _next(self, *, at_once: bool) -> Job:
        """Return the next message when this thread should start it.

        With `at_once`, for a thread whose last message took long, that is as soon as there is one.
        Otherwise no other thread may be busy, or the busy ones have started none for a moment.
        """
        with self._more:
            self._more.wait_while(lambda: not self._waiting)
            while not (at_once or self._is_held_up()):
                self._look_after_the_waiting()
                self._more.wait_while(lambda: not self._waiting)
            if self._stopped is not None:
                raise Abandoned
            job = self._waiting.popleft()
            self._free -= 1
            self._begun_at = time.monotonic()
            self._measure_load()
            if self._waiting and not self._watched:
                self._more.notify()
            if len(self._waiting) == ROOM_AGAIN:
                self._room.notify()
            return job

    def _measure_load(self) -> None:
        """Set how soon another thread joins, from the processor time of the process."""
        now, used = time.monotonic(), time.process_time()
        since, used_before = self._measured
        if now - since >= LOAD_SECONDS:
            self._measured = now, used
            busy = used - used_before > BUSY * (now - since)
            self._short = SHORT if busy else SHORT_IF_IDLE

    def _is_held_up(self) -> bool:
        return self._free == self._threads or time.monotonic() - self._begun_at > self._short

    def _look_after_the_waiting(self) -> None:
        """Wait until others may be too slow: one thread a moment, the others until notified."""
        if self._watched:
            self._more.wait()
        else:
            self._watched = True
            self._more.wait(self._short)
            self._watched = False

    def _do(self, job: Job) -> None:
        job.events.emit(job.run.work())

    def conclude(self, job: Job, failure: BaseException) -> None:
        """End a message that failed, on any thread. `over` reports it, or a thread that is late."""
        if isinstance(failure, OwnerGone):
            self.shared.group.fail(failure)
        elif not isinstance(failure, Abandoned):
            job.late = Heartbeat(LONGEST_CLOSE, partial(_error, job, failure), job.events)
            self.shared.heartbeats.add(job.late)
            job.run.close()
            if job.run.is_complete or job.events.ended_with is not None:
                self._forget_late(job)

    def over(self, job: Job) -> None:
        """Report a failure when all threads of the message have returned and its files are closed.

        Not before: the owner can then send the same message again.
        """
        failure = job.group.failure
        if failure is not None and not isinstance(failure, (Abandoned, OwnerGone)):
            self._report(job, failure)
            self._forget_late(job)
            forget_frames(failure)

    def _report(self, job: Job, failure: BaseException) -> None:
        try:
            conclude(failure, job.events, spent=job.run.spent)
        except OwnerGone as gone:
            self.shared.group.fail(gone)

    def _forget_late(self, job: Job) -> None:
        late, job.late = job.late, None
        if late is not None:
            self.shared.heartbeats.remove(late)

    def forget(self, job: Job, end: EventType) -> None:
        """Allow a message's id to be used again, just before its last event is written."""
        assert job.message.id is not None  # noqa: S101 - `decode_next` sees to it
        with self._lock:
            del self._jobs[job.message.id]
            if end is EventType.ERROR:
                self._failed += 1
                with suppress(ValueError):  # it was under way
                    self._waiting.remove(job)
                    self._room.notify()
            self._changed.notify_all()

    def _end(self, job: Job) -> None:
        """Release the resources of a message."""
        job.run.close()
        if job.borrowed is not None:
            self._stores.give_back(job.borrowed, fit=not _shows_unfit(job.group.failure))
        with self._changed:
            self._free += 1
            self._changed.notify()

    def _locate(self, message: Message, value: dict[str, Any]) -> tuple[Location, Key]:
        """Return the location of a message's store, and the key that distinguishes it."""
        from store_workers.stores.location import locate

        settings = message.settings
        has_own = any(name in value for name in OF_THE_STORE)
        place = _place(message) if has_own else self._place
        key = (place, settings.timeout_ms, settings.create_store)
        location = self._locations.get(key)
        if location is None:
            if len(self._locations) >= MOST_LOCATIONS:
                self._locations.clear()
            location = self._locations[key] = locate(message, self.shared.environment)
        return location, key

    def open(self, job: Job) -> tuple[Store, bool]:
        """Return the store of a message, and whether it is the first one to use it."""
        settings = job.message.settings
        job.borrowed = self._stores.borrow(
            job.key,
            lambda: job.location.open(settings, self.shared.rate_limit),
            settings.timeout_ms / 1000,
        )
        assert job.borrowed.store is not None  # noqa: S101 - it was opened
        first, job.borrowed.fresh = job.borrowed.fresh, False
        return job.borrowed.store, first


def _place(message: Common) -> bytes:
    """Return what identifies the store of a message, and the credentials for it."""
    auth, tls = message.auth, message.tls
    return json_text.encode(
        [message.store, auth and auth.encode(), message.headers, tls and tls.encode()]
    )


def _error(job: Job, failure: BaseException) -> Event:
    return error_event(as_worker_error(failure), spent=job.run.spent)


def _shows_unfit(failure: BaseException | None) -> bool:
    """Return whether the next message should open the store again after this failure."""
    return getattr(failure, "code", None) is ErrorCode.STORE_UNAVAILABLE
