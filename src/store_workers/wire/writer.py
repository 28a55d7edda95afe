"""The owner's end of the wire: the one writer of events, and whether it still listens."""

from __future__ import annotations

import os
import threading
import time

from store_workers.wire.events import TERMINAL

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any, Protocol

    from store_workers.errors import StoreFailure
    from store_workers.wire.events import Event, EventType
    from store_workers.wire.messages import Message

    class Observer(Protocol):
        """Is shown what the owner is told, for people or operators; it never waits nor raises."""

        def begin(self, message: Message, store: str, progress: Callable[[], Any]) -> None:
            """The message was accepted; `store` has no secrets, `progress` makes an event."""

        def tried(
            self, index: int, hash: str, attempt: int, seconds: float, failure: StoreFailure | None
        ) -> None:
            """One try of a chunk came to its end."""

        def before(self) -> None:
            """A line is about to be written."""

        def after(self, event: Event) -> None:
            """It was written."""

        def tick(self) -> None:
            """A moment has passed."""

        def close(self) -> None:
            """The run is over."""


LONGEST_WRITE = 4096
"""Bytes that a pipe which is ready for writing takes at once (POSIX's PIPE_BUF on Linux)."""


PATIENCE = 1.5
"""Seconds that an owner which asked the worker to stop has for taking the last lines."""

LONGEST_WAIT = 0.25
"""Seconds after which a writer that waits looks up whether that time is over."""


class OwnerGone(Exception):
    """Nobody reads the events any more."""


class EventWriter:
    """Writes one JSON object per line to a descriptor, whole lines only, and nothing after the end.

    A pipe that is full makes the writer wait: no event is lost and none is kept in memory.
    """

    def __init__(self, descriptor: int) -> None:
        self.id: str | None = None
        self.observer: Observer | None = None
        self.descriptor = descriptor
        self._lock = threading.Lock()
        self._patient_until = float("inf")
        self.ended_with: EventType | None = None

    def hurry(self) -> None:
        """Wait for a full pipe no longer than `PATIENCE` from now on: the run was asked to stop."""
        self._patient_until = time.monotonic() + PATIENCE

    def is_patient(self) -> bool:
        """Is it still worth waiting for a full pipe?"""
        return time.monotonic() < self._patient_until

    def emit(self, event: Event) -> None:
        """Write an event, waiting as long as it takes, or until `hurry`. Raises `OwnerGone`.

        Nothing is written any more once a terminal event was.
        """
        with self._lock:
            self._write(event)

    def emit_within(self, event: Event, seconds: float) -> bool:
        """Write an event if the owner takes it within that time; was it written?

        Raises `OwnerGone`.
        """
        if not self._lock.acquire(timeout=seconds):
            return False
        try:
            if not self._is_writable(seconds):
                return False
            self._write(event)
            return True
        finally:
            self._lock.release()

    def is_gone(self) -> bool:
        """Has the other end of the pipe been closed? False where that cannot be known."""
        try:
            from select import POLLERR, POLLHUP, POLLNVAL, poll
        except ImportError:  # Windows: the next write tells
            return False
        watch = poll()
        watch.register(self.descriptor, 0)
        return any(events & (POLLERR | POLLHUP | POLLNVAL) for _, events in watch.poll(0))

    def is_on_screen(self) -> bool:
        """Do the events go to a terminal?"""
        return os.isatty(self.descriptor)

    def _write(self, event: Event) -> None:
        if self.ended_with is not None:
            return
        if event.type in TERMINAL:
            self.ended_with = event.type
        if self.observer is not None:
            self.observer.before()
        self._write_line(self.encode(event))
        if self.observer is not None:
            self.observer.after(event)

    def _write_line(self, line: memoryview) -> None:
        while line:
            if not self._is_writable(LONGEST_WAIT):
                if not self.is_patient():
                    raise OwnerGone
                continue
            try:
                line = line[os.write(self.descriptor, line[:LONGEST_WRITE]) :]
            except BlockingIOError:
                time.sleep(0.001)  # the owner's end is non-blocking, and has less room than that
            except OSError:
                raise OwnerGone from None

    def encode(self, event: Event) -> memoryview:
        """An event as its line: ASCII, so that no locale can garble it."""
        from json import dumps

        fields: dict[str, Any] = {"type": event.type}
        if self.id is not None:
            fields["id"] = self.id
        fields.update(event.encode())
        return memoryview(dumps(fields, separators=(",", ":")).encode("ascii") + b"\n")

    def _is_writable(self, seconds: float) -> bool:
        """Wait until a write would not block; a blocking write could not be given up."""
        try:
            from select import POLLOUT, poll
        except ImportError:
            return True
        watch = poll()
        watch.register(self.descriptor, POLLOUT)
        return bool(watch.poll(seconds * 1000))
