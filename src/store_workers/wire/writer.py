"""Write events to the owner as complete lines, and detect that nobody reads them any more."""

from __future__ import annotations

import os
import threading
import time

from store_workers.polling import ATOMIC_WRITE, LONGEST_WAIT, Writable, is_hung_up
from store_workers.wire import json_text
from store_workers.wire.events import TERMINAL

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any, Protocol

    from store_workers.errors import Try
    from store_workers.wire.events import Event, EventType
    from store_workers.wire.messages import Message

    class Observer(Protocol):
        """Receives every event, for people or operators. It neither waits nor raises.

        `id` is that of the message concerned, None where it has none.
        """

        def begin(self, message: Message, store: str, progress: Callable[[], Any]) -> None:
            """The message was accepted; `store` has no secrets, `progress` makes an event."""

        def tried(self, id: str | None, result: Try) -> None:
            """A try of a chunk has ended."""

        def before(self) -> None:
            """Called before a line is written."""

        def after(self, event: Event, id: str | None) -> None:
            """Called after it was written."""

        def tick(self) -> None:
            """Called from time to time."""

        def close(self) -> None:
            """The run is over."""


PATIENCE = 1.5
"""Seconds that an owner has to read the last lines after it asked the worker to stop."""


class OwnerGone(Exception):
    """Nobody reads the events any more."""


class OwnerPipe:
    """A descriptor that receives one JSON object per line, complete lines only, from many threads.

    If the pipe is full, the writer waits: no event is lost or queued in memory.
    """

    def __init__(self, descriptor: int) -> None:
        self.descriptor = descriptor
        self.observer: Observer | None = None
        self.lock = threading.Lock()  # held while a line is written
        self.ended = False  # the run's last line was written
        self._writable = Writable(descriptor)
        self._patient_until = float("inf")

    def hurry(self) -> None:
        """From now on, wait for a full pipe at most `PATIENCE`: the run was asked to stop."""
        self._patient_until = min(self._patient_until, time.monotonic() + PATIENCE)

    def is_patient(self) -> bool:
        """Return whether to continue waiting for a full pipe."""
        return time.monotonic() < self._patient_until

    def is_gone(self) -> bool:
        """Return whether the other end was closed; false if that cannot be determined."""
        return is_hung_up(self.descriptor)

    def is_on_screen(self) -> bool:
        """Return whether the events go to a terminal."""
        return os.isatty(self.descriptor)

    def is_writable(self, seconds: float) -> bool:
        """Wait, holding the lock, until a write does not block, since that cannot be abandoned."""
        return self._writable.within(seconds)

    def write(self, event: Event, id: str | None) -> None:
        """Write an event, holding the lock. Wait without limit, or until `hurry`.

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
                # The owner set the pipe to non-blocking, and it has less room than that.
                time.sleep(0.001)
            except OSError:
                raise OwnerGone from None


class EventWriter:
    """Writes the events of a run or of one message: with its `id`, and one terminal event.

    Nothing is written after the terminal event; `ended_with` is its type. `ends_run`: the terminal
    event also ends the run, and all other events with it. `on_end` is called with that type just
    before the event is written; no event of others comes in between.
    """

    def __init__(
        self,
        pipe: OwnerPipe,
        id: str | None = None,
        *,
        ends_run: bool = True,
        on_end: Callable[[EventType], None] | None = None,
    ) -> None:
        self.pipe = pipe
        self.id = id
        self._ends_run = ends_run
        self._on_end = on_end
        self.ended_with: EventType | None = None

    def emit(self, event: Event) -> bool:
        """Write an event, waiting without limit. Return false if the terminal event was written.

        Raises `OwnerGone`.
        """
        with self.pipe.lock:
            return self._write(event)

    def emit_within(self, event: Event, seconds: float) -> bool:
        """Write an event if the owner accepts it within that time. Return whether it is done with.

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
        """Write the terminal event, without limit unless the owner is gone or asked to stop.

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
            on_end, self._on_end = self._on_end, None  # it can refer to this writer
            if on_end is not None:
                on_end(event.type)
        self.pipe.write(event, self.id)
        return True


def encode(event: Event, id: str | None) -> memoryview:
    """Return the line of an event."""
    fields: dict[str, Any] = {"type": event.type}
    if id is not None:
        fields["id"] = id
    fields.update(event.encode())
    return memoryview(json_text.encode(fields) + b"\n")
