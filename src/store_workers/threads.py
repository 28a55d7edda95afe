"""The threads of one run: the first failure ends it, and is told once."""

from __future__ import annotations

import threading

from store_workers.errors import ErrorCode, WorkerError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable


class Abandoned(Exception):
    """The run is over; the thread that meets this has nothing left to do."""


class Condition(threading.Condition):
    """A lock with a condition, whose waiters also wake when the run is over."""

    def __init__(self, group: ThreadGroup) -> None:
        super().__init__(threading.Lock())
        self._group = group

    def wait_while(self, holds: Callable[[], bool]) -> None:
        """Wait, holding the lock, until `holds()` is false; raise `Abandoned` if the run failed."""
        self._group.check()
        while holds():
            self.wait()
            self._group.check()


class ThreadGroup:
    """Starts the threads of a run and keeps its first failure.

    Threads are daemons: a run that has failed does not wait for those that are held up in a
    silent store or a pipe that gives nothing. Every other wait ends by `fail`, which wakes all who
    wait at a condition.
    """

    def __init__(self, on_failure: Callable[[BaseException], None] = lambda _failure: None) -> None:
        self.failure: BaseException | None = None
        self._on_failure = on_failure
        self._lock = threading.Lock()
        self._conditions: list[Condition] = []

    def condition(self) -> Condition:
        """A lock with a condition for what threads of this run share."""
        condition = Condition(self)
        self._conditions.append(condition)
        return condition

    def check(self) -> None:
        """Raise `Abandoned` if the run has failed."""
        if self.failure is not None:
            raise Abandoned

    def start(self, work: Callable[[], None], name: str, *, spare: bool = False) -> bool:
        """Run `work` on a thread of its own; what it raises fails the run.

        False where the host gives no further thread and a `spare` one can be done without; one
        that cannot be is `INTERNAL`.
        """
        thread = threading.Thread(target=self._guarded, args=(work,), name=name, daemon=True)
        try:
            thread.start()
        except (RuntimeError, MemoryError):
            if spare:
                return False
            raise WorkerError(
                ErrorCode.INTERNAL, "no thread can be started: memory or processes are limited"
            ) from None
        return True

    def fail(self, failure: BaseException) -> None:
        """End the run with `failure`, unless it has failed already."""
        with self._lock:
            if self.failure is not None:
                return
            self.failure = failure
        for condition in self._conditions:
            with condition:
                condition.notify_all()
        self._on_failure(failure)

    def _guarded(self, work: Callable[[], None]) -> None:
        try:
            work()
        except Abandoned:
            pass
        except BaseException as failure:  # noqa: BLE001 - whatever it is, the run must not hang on it
            self.fail(failure)
