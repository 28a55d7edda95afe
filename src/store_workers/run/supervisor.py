"""What the main thread does while the work goes on elsewhere: it listens.

To signals, to the work's end, to the owner's going away; and it sends the heartbeat. Being never
busy itself, it can end a run whatever the other threads are waiting for.
"""

from __future__ import annotations

import os
import signal
import time
from queue import Empty, SimpleQueue

from store_workers.errors import Cancelled
from store_workers.wire.writer import EventWriter, OwnerGone

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from types import FrameType

    from store_workers.wire.events import Event

LONGEST_NAP = 0.25
"""Seconds after which it is looked up whether the owner is still there."""

SIGNALS = ("SIGINT", "SIGTERM", "SIGHUP", "SIGBREAK")


class Mailbox:
    """What the main thread is to know: None for "done", why the run is over, or its heartbeat.

    `SimpleQueue.put` is reentrant, so a signal's handler may call it wherever it interrupts.
    `on_stop` is called by the first signal; `signalled` is its number, 0 before.
    """

    def __init__(self, on_stop: Callable[[], None] = lambda: None) -> None:
        self._queue: SimpleQueue[BaseException | Heartbeat | None] = SimpleQueue()
        self._on_stop = on_stop
        self.signalled = 0

    def done(self) -> None:
        """The work is complete."""
        self._queue.put(None)

    def failed(self, failure: BaseException) -> None:
        """The run is over because of `failure`."""
        self._queue.put(failure)

    def begin(self, heartbeat: Heartbeat) -> None:
        """The work has begun, and this tells how far it is."""
        self._queue.put(heartbeat)

    def next(self, seconds: float) -> BaseException | Heartbeat | None:
        """The next note; raises `queue.Empty` where none comes within that time."""
        return self._queue.get(timeout=seconds)

    def on_signal(self, number: int, frame: FrameType | None) -> None:
        """Note that a signal asks to stop; the second one ends the process at once."""
        if self.signalled:
            os._exit(128 + number)
        self.signalled = number
        self._on_stop()
        self._queue.put(Cancelled(number, signal.Signals(number).name))

    def listen_to_signals(self) -> None:
        """Have the signals that ask a process to stop noted here."""
        for name in SIGNALS:
            number = getattr(signal, name, None)
            # nohup has SIGHUP ignored on purpose.
            if number is None or (name == "SIGHUP" and signal.getsignal(number) == signal.SIG_IGN):
                continue
            signal.signal(number, self.on_signal)


class Heartbeat:
    """When the next PROGRESS is due, and what it says."""

    def __init__(self, interval: float, progress: Callable[[], Event]) -> None:
        self.interval = interval
        self.progress = progress
        self.due = time.monotonic() + interval

    def beat(self, owner: EventWriter) -> None:
        """Tell the progress if it is due; an owner that does not read misses that one."""
        now = time.monotonic()
        if now >= self.due:
            owner.emit_within(self.progress(), 0)
            self.due = max(self.due + self.interval, now)


class Supervisor:
    """Waits for the end of a run. There is a `heartbeat` once the work has something to tell."""

    def __init__(self, owner: EventWriter, mailbox: Mailbox) -> None:
        self._owner = owner
        self._mailbox = mailbox
        self.heartbeat: Heartbeat | None = None
        self.on_tick: Callable[[], None] = lambda: None

    def wait(self) -> BaseException | None:
        """Wait for the end: None where the work is done, else why the run is over.

        Raises `OwnerGone`.
        """
        while True:
            try:
                note = self._mailbox.next(self._nap())
            except Empty:
                pass
            else:
                if not isinstance(note, Heartbeat):
                    return note
                self.heartbeat = note
                continue
            if self._owner.is_gone():
                raise OwnerGone
            if self.heartbeat is not None:
                self.heartbeat.beat(self._owner)
            self.on_tick()

    def emit_last(self, event: Event) -> None:
        """Write the last line, however slowly the owner reads, unless it asked to stop.

        Raises `OwnerGone`.
        """
        while not self._owner.emit_within(event, LONGEST_NAP):
            if self._owner.is_gone() or not self._owner.is_patient():
                raise OwnerGone

    def _nap(self) -> float:
        if self.heartbeat is None:
            return LONGEST_NAP
        return min(LONGEST_NAP, max(0.0, self.heartbeat.due - time.monotonic()))
