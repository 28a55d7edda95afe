"""The owner's end of the wire: events as whole lines, and whether somebody still reads them."""

from __future__ import annotations

import os
import threading
import time
from json import JSONEncoder

from store_workers.polling import ATOMIC_WRITE, LONGEST_WAIT, Writable, is_hung_up
from store_workers.wire.events import TERMINAL

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any, Protocol

    from store_workers.errors import Try
    from store_workers.wire.events import Event, EventType
    from store_workers.wire.messages import Message

    class Observer(Protocol):
        """Receives every event too, for people or operators; it never waits nor raises.

        `id` is that of the message concerned, None where it has none.
        """

        def begin(self, message: Message, store: str, progress: Callable[[], Any]) -> None:
            """The message was accepted; `store` has no secrets, `progress` makes an event."""

        def tried(self, id: str | None, result: Try) -> None:
            """One try of a chunk came to its end."""

        def before(self) -> None:
            """A line is about to be written."""

        def after(self, event: Event, id: str | None) -> None:
            """It was written."""

        def tick(self) -> None:
            """A moment has passed."""

        def close(self) -> None:
            """The run is over."""


PATIENCE = 1.5
"""Seconds that an owner which asked the worker to stop has for taking the last lines."""


class OwnerGone(Exception):
    """Nobody reads the events any more."""


class OwnerPipe:
    """A descriptor that takes one JSON object per line, whole lines only, from many threads.

    A pipe that is full makes the writer wait: no event is lost and none is kept in memory.
    """

    def __init__(self, descriptor: int) -> None:
        self.descriptor = descriptor
        self.observer: Observer | None = None
        self.lock = threading.Lock()  # held while a line is written
        self.ended = False  # the run's last line was written
        self._writable = Writable(descriptor)
        self._patient_until = float("inf")

    def hurry(self) -> None:
        """Wait for a full pipe no longer than `PATIENCE` from now on: the run was asked to stop."""
        self._patient_until = min(self._patient_until, time.monotonic() + PATIENCE)

    def is_patient(self) -> bool:
        """Is it still worth waiting for a full pipe?"""
        return time.monotonic() < self._patient_until

    def is_gone(self) -> bool:
        """Has the other end of the pipe been closed? False where that cannot be known."""
        return is_hung_up(self.descriptor)

    def is_on_screen(self) -> bool:
        """Do the events go to a terminal?"""
        return os.isatty(self.descriptor)

    def is_writable(self, seconds: float) -> bool:
        """Wait, holding the lock, until a write would not block: that could not be given up."""
        return self._writable.within(seconds)

    def write(self, event: Event, id: str | None) -> None:
        """Write an event, waiting as long as it takes, or until `hurry`, with the lock held.

        Raises `OwnerGone`.
        """
        if self.observer is not None:
            self.observer.before()
        self._write_line(encode(event, id))
        if self.observer is not None:
            self.observer.after(event, id)

    def _write_line(self, line: memoryview) -> None:
        while line:
            if not self.is_writable(LONGEST_WAIT):
                if not self.is_patient():
                    raise OwnerGone
                continue
            try:
                line = line[os.write(self.descriptor, line[:ATOMIC_WRITE]) :]
            except BlockingIOError:
                time.sleep(0.001)  # the owner's end is non-blocking, and has less room than that
            except OSError:
                raise OwnerGone from None


class EventWriter:
    """The events of a run, or of one message in it: they carry its `id`, and have one end.

    Nothing is written any more once a terminal event was; `ended_with` is its type. `ends_run`:
    does that event end the run as well, and all other events with it?
    """

    def __init__(self, pipe: OwnerPipe, id: str | None = None, *, ends_run: bool = True) -> None:
        self.pipe = pipe
        self.id = id
        self._ends_run = ends_run
        self.ended_with: EventType | None = None

    def emit(self, event: Event) -> bool:
        """Write an event, waiting as long as it takes; false where it came after the end.

        Raises `OwnerGone`.
        """
        with self.pipe.lock:
            return self._write(event)

    def emit_within(self, event: Event, seconds: float) -> bool:
        """Write an event if the owner takes it within that time; is it dealt with?

        Raises `OwnerGone`.
        """
        lock = self.pipe.lock
        if not lock.acquire(timeout=seconds):
            return False
        try:
            if not self.pipe.is_writable(seconds):
                return False
            self._write(event)
            return True
        finally:
            lock.release()

    def emit_last(self, event: Event) -> None:
        """Write the end, however slowly the owner reads, unless it is gone or asked to stop.

        Raises `OwnerGone`.
        """
        while not self.emit_within(event, LONGEST_WAIT):
            if self.pipe.is_gone() or not self.pipe.is_patient():
                raise OwnerGone

    def _write(self, event: Event) -> bool:
        if self.ended_with is not None or self.pipe.ended:
            return False
        if event.type in TERMINAL:
            self.ended_with = event.type
            self.pipe.ended = self._ends_run
        self.pipe.write(event, self.id)
        return True


_to_json = JSONEncoder(separators=(",", ":")).encode


def encode(event: Event, id: str | None) -> memoryview:
    """An event as its line: ASCII, so that no locale can garble it."""
    fields: dict[str, Any] = {"type": event.type}
    if id is not None:
        fields["id"] = id
    fields.update(event.encode())
    return memoryview(_to_json(fields).encode("ascii") + b"\n")
