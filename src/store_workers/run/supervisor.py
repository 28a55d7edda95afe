"""The main thread: waits for signals and for the end of the work, and emits the heartbeats.

It also detects that the owner has gone. Since it never blocks in the work itself, it can end a run
whatever the other threads wait for.
"""

from __future__ import annotations

import os
import signal
import threading
import time
from queue import Empty, SimpleQueue

from store_workers.errors import Cancelled
from store_workers.polling import LONGEST_WAIT
from store_workers.wire.writer import OwnerGone

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from types import FrameType

    from typing_extensions import Self

    from store_workers.wire.events import Event
    from store_workers.wire.writer import EventWriter, OwnerPipe

SIGNALS = ("SIGINT", "SIGTERM", "SIGHUP", "SIGBREAK")

ONE_WISH = 1.5
"""Seconds after the first signal in which further signals have no effect: a shell and a supervisor
often send two."""


_LOOK = Empty()
"""A note without content, which wakes the main thread."""


class Mailbox:
    """Notes for the main thread: the work is done, or why it ended.

    `SimpleQueue.put` is reentrant, so a signal handler may call it at any point.
    `on_stop` is called by the first signal; `signalled` is its number, 0 before.
    """

    def __init__(
        self,
        on_stop: Callable[[], None] = lambda: None,
        *,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._queue: SimpleQueue[BaseException | None] = SimpleQueue()
        self._on_stop = on_stop
        self._clock = clock
        self._first = 0.0
        self.signalled = 0

    def done(self) -> None:
        """The work is complete."""
        self._queue.put(None)

    def failed(self, failure: BaseException) -> None:
        """The run is over because of `failure`."""
        self._queue.put(failure)

    def wake(self) -> None:
        """Wake the main thread before its next regular check."""
        self._queue.put(_LOOK)

    def next(self, seconds: float) -> BaseException | None:
        """Return the next note, None for "done". Raises `queue.Empty` after a timeout."""
        note = self._queue.get(timeout=seconds)
        if note is _LOOK:
            raise _LOOK
        return note

    def on_signal(self, number: int, frame: FrameType | None) -> None:
        """Note a signal that asks to stop. A later one ends the process at once."""
        if not self.signalled:
            self.signalled = number
            self._first = self._clock()
            self._on_stop()
            self._queue.put(Cancelled(number, signal.Signals(number).name))
        elif self._clock() - self._first > ONE_WISH:
            os._exit(128 + number)


def hold_signals() -> None:
    """Make signals wait until `Signals` handles them.

    While standard output is being moved, and after the last line, nobody could report them.
    """
    if hasattr(signal, "pthread_sigmask"):
        signal.pthread_sigmask(signal.SIG_BLOCK, signal_numbers())


def signal_numbers() -> list[signal.Signals]:
    """Return the signals of this system that ask to stop."""
    return [getattr(signal, name) for name in SIGNALS if hasattr(signal, name)]


class Signals:
    """A context in which signals that ask to stop are put into a mailbox.

    Signals that the owner blocked are unblocked, since otherwise nobody could stop the worker.
    Signals that it ignored stay ignored: `nohup` relies on this for SIGHUP, and shells for SIGINT
    of background processes. Only for the main thread.
    """

    def __init__(self, mailbox: Mailbox) -> None:
        self._mailbox = mailbox
        self._before: dict[int, object] = {}

    def __enter__(self) -> Self:
        numbers = signal_numbers()
        for number in numbers:
            if signal.getsignal(number) != signal.SIG_IGN:
                self._before[number] = signal.signal(number, self._mailbox.on_signal)
        # If the owner ignored SIGCHLD, the system would discard the exit status of a command.
        if hasattr(signal, "SIGCHLD") and signal.getsignal(signal.SIGCHLD) == signal.SIG_IGN:
            self._before[signal.SIGCHLD] = signal.signal(signal.SIGCHLD, signal.SIG_DFL)
        if hasattr(signal, "pthread_sigmask"):
            self._blocked = signal.pthread_sigmask(signal.SIG_UNBLOCK, numbers)
        return self

    def __exit__(self, *_error: object) -> None:
        if hasattr(signal, "pthread_sigmask"):
            signal.pthread_sigmask(signal.SIG_SETMASK, self._blocked)
        for number, handler in self._before.items():
            signal.signal(number, handler)  # type: ignore[arg-type]  # as it was got


class Heartbeat:
    """The next PROGRESS of a message: its time and its content."""

    def __init__(self, interval: float, progress: Callable[[], Event], events: EventWriter) -> None:
        self.interval = interval
        self.progress = progress
        self.events = events
        self.due = time.monotonic() + interval

    def beat(self, now: float) -> None:
        """Emit PROGRESS if it is due. It is skipped if the owner does not read."""
        if now >= self.due:
            self.events.emit_within(self.progress(), 0)
            self.due = max(self.due + self.interval, now)


class Heartbeats:
    """The heartbeats of the messages in progress. Safe from many threads.

    `wake` is called for an interval shorter than that of the main thread's checks.
    """

    def __init__(self, wake: Callable[[], None] = lambda: None) -> None:
        self._wake = wake
        self._lock = threading.Lock()
        self._all: set[Heartbeat] = set()

    def add(self, heartbeat: Heartbeat) -> None:
        """Begin the heartbeats of a message; `progress` returns its state."""
        with self._lock:
            self._all.add(heartbeat)
        if heartbeat.interval < LONGEST_WAIT:
            self._wake()

    def remove(self, heartbeat: Heartbeat) -> None:
        """It is over."""
        with self._lock:
            self._all.discard(heartbeat)

    def beat(self) -> float:
        """Emit what is due. Return the seconds until the next check, at most `LONGEST_WAIT`."""
        with self._lock:
            beating = tuple(self._all)
        now = time.monotonic()
        for heartbeat in beating:
            heartbeat.beat(now)
        due = min((heartbeat.due for heartbeat in beating), default=now + LONGEST_WAIT)
        return min(LONGEST_WAIT, max(0.0, due - now))


class Supervisor:
    """Waits for the end of a run."""

    def __init__(self, pipe: OwnerPipe, mailbox: Mailbox, heartbeats: Heartbeats) -> None:
        self._pipe = pipe
        self._mailbox = mailbox
        self._heartbeats = heartbeats

    def wait(self) -> BaseException | None:
        """Wait for the end. Return None if the work is done, otherwise why the run ended.

        Raises `OwnerGone`.
        """
        nap = 0.0
        while True:
            try:
                return self._mailbox.next(nap)
            except Empty:
                pass
            if self._pipe.is_gone():
                raise OwnerGone
            nap = self._heartbeats.beat()
            if self._pipe.observer is not None:
                self._pipe.observer.tick()
