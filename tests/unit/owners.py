"""An owner and the complete run of a process, in this process, with pipes and without artifact."""

from __future__ import annotations

import contextlib
import json
import os
import threading
from typing import TYPE_CHECKING, Any

from store_workers.polling import is_ready
from store_workers.run.process_run import ProcessRun
from store_workers.wire.writer import OwnerPipe
from tests.unit.in_process import TIMEOUT, beside

if TYPE_CHECKING:
    from collections.abc import Callable

    from typing_extensions import Self

Event = dict[str, Any]
TERMINAL = {"FILE_UPLOADED", "FILE_DOWNLOADED", "FILE_VERIFIED", "SESSION_ENDED", "ERROR"}


class Owner:
    """Starts a run, writes messages and reads events; leaving the context releases everything."""

    def __init__(self, *messages: Any, environment: dict[str, str] | None = None) -> None:
        self._stdin, self.to_worker = os.pipe()
        self.from_worker, self._stdout = os.pipe()
        self.run = ProcessRun(self._stdin, OwnerPipe(self._stdout), environment or {})
        self.events: list[Event] = []
        self.status: int | None = None
        self._open = {self._stdin, self.to_worker, self.from_worker, self._stdout}
        self._news = threading.Condition()
        self._gone = False
        self._runner = beside(self._run)
        self._reader = beside(self._read)
        for message in messages:
            self.send(message)

    def send(self, message: Any) -> None:
        """Write one message, or a line that is not a message."""
        line = message if isinstance(message, bytes) else json.dumps(message).encode()
        view = memoryview(line + b"\n")
        while view:
            view = view[os.write(self.to_worker, view) :]

    def end_input(self) -> None:
        """Close the input."""
        self._close(self.to_worker)

    def go(self) -> None:
        """Close the output."""
        self._gone = True
        self._reader.join(TIMEOUT)
        self._close(self.from_worker)

    def wait_for(self, accepts: Callable[[Event], bool]) -> Event:
        """Return the first event of a type; fails if the run ends without it."""
        with self._news:
            assert self._news.wait_for(
                lambda: any(map(accepts, self.events)) or not self._reader.is_alive(), TIMEOUT
            )
            return next(event for event in self.events if accepts(event))

    def finish(self) -> tuple[int | None, Event]:
        """End the input and wait for the end: (exit status, last event)."""
        self.end_input()
        self._runner.join(TIMEOUT)
        self._close(self._stdout)
        self._reader.join(TIMEOUT)
        return self.status, self.events[-1]

    def ends(self) -> dict[str | None, Event]:
        """Return the terminal events by their ids."""
        found = [event for event in self.events if event["type"] in TERMINAL]
        by_id = {event.get("id"): event for event in found}
        assert len(by_id) == len(found), "one message has two ends"
        return by_id

    def close(self) -> None:
        """Release everything; the run must release all its threads."""
        self.run.mailbox.failed(ValueError("the test is over"))
        self._runner.join(TIMEOUT)
        assert self.run.close(TIMEOUT)
        self._close(self._stdout)
        self._reader.join(TIMEOUT)
        for descriptor in tuple(self._open):
            self._close(descriptor)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_error: object) -> None:
        self.close()

    def _close(self, descriptor: int) -> None:
        if descriptor in self._open:
            self._open.remove(descriptor)
            os.close(descriptor)

    def _run(self) -> None:
        self.status = self.run.status()

    def _read(self) -> None:
        rest = b""
        with contextlib.suppress(OSError):
            while not self._gone:
                # A descriptor that a thread reads from is not closed by closing it.
                if not is_ready(self.from_worker, 0.02, readable=True):
                    continue
                block = os.read(self.from_worker, 65536)
                if not block:
                    break
                *lines, rest = (rest + block).split(b"\n")
                with self._news:
                    self.events += [json.loads(line) for line in lines]
                    self._news.notify_all()
        with self._news:
            self._news.notify_all()
