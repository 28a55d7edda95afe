"""A pool of threads for a process, and the group of threads of one message.

A `ThreadPool` belongs to the process's run: its threads are used again and again. A `ThreadGroup`
belongs to one message: the first failure ends it, is reported once, and wakes all who wait.
"""

from __future__ import annotations

import threading
import time
from contextlib import suppress
from queue import SimpleQueue

from store_workers.errors import ErrorCode, WorkerError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

THREAD_STACK = 1024 * 1024
"""Bytes of address space for each thread's stack: the usual 8 MiB cost much of `ulimit -v`."""

LONGEST_CLOSE = 1.0
"""Seconds that closing waits for threads that are in a call which nobody can end."""


class Abandoned(Exception):
    """The work is over; the thread that meets this has nothing left to do."""


class NoThread(Exception):
    """The host gives no further thread."""


class Condition(threading.Condition):
    """A lock with a condition, whose waiters also wake when their work is over."""

    def __init__(self, group: ThreadGroup, lock: threading.Lock | None = None) -> None:
        self.lock = lock or threading.Lock()
        super().__init__(self.lock)
        self._group = group
        self._waiting = 0  # threads; most notes go to nobody, and then cost nothing

    def wait(self, timeout: float | None = None) -> bool:
        """Wait for a note, holding the lock; false where the time is over."""
        self._waiting += 1
        try:
            return super().wait(timeout)
        finally:
            self._waiting -= 1

    def notify(self, n: int = 1) -> None:
        """Wake so many of those who wait; the lock is held."""
        if self._waiting:
            super().notify(n)

    def notify_all(self) -> None:
        """Wake all who wait; the lock is held."""
        if self._waiting:
            super().notify_all()

    def wait_while(self, holds: Callable[[], bool]) -> None:
        """Wait, holding the lock, until `holds()` is false; raise `Abandoned` if it is over."""
        self._group.check()
        while holds():
            self.wait()
            self._group.check()


class ThreadPool:
    """Threads of a process's run. One that has done its work waits for the next.

    They are daemons: a thread that is held up in a call of the system that nobody can end must not
    hold up the process's exit.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()  # guards what follows
        self._threads: set[threading.Thread] = set()
        self._idle = 0
        self._closed = False
        self._work: SimpleQueue[tuple[Callable[[], None], str] | None] = SimpleQueue()

    def start(self, work: Callable[[], None], name: str) -> None:
        """Do `work`, which raises nothing, on a thread that is free or new.

        Raises `NoThread`, and `Abandoned` once the pool is closed.
        """
        with self._lock:
            if self._closed:
                raise Abandoned
            if self._idle:
                self._idle -= 1
            else:
                self._add_thread()
            self._work.put((work, name))

    def close(self, seconds: float = LONGEST_CLOSE) -> bool:
        """Let all threads end, and wait for them that long at most; have all of them ended?"""
        deadline = time.monotonic() + seconds
        with self._lock:
            self._closed = True
            for _ in range(self._idle):
                self._work.put(None)
            self._idle = 0
            threads = self._threads - {threading.current_thread()}
        for thread in threads:
            thread.join(max(0.0, deadline - time.monotonic()))
        return not any(thread.is_alive() for thread in threads)

    def _add_thread(self) -> None:
        # The work comes by the queue: a thread keeps what it was made with as long as it lives.
        thread = threading.Thread(target=self._serve, daemon=True)
        try:
            with _small_stack():
                thread.start()
        except (RuntimeError, MemoryError):
            raise NoThread from None
        self._threads.add(thread)

    def _serve(self) -> None:
        this = threading.current_thread()
        while (next_work := self._work.get()) is not None:
            work, this.name = next_work
            work()
            del work, next_work  # or they live on until the next work comes
            with self._lock:
                if self._closed:
                    break
                self._idle += 1


class _small_stack:  # noqa: N801 - used like a function
    """A context in which threads get small stacks: none of ours calls deep.

    The size is the process's, so one thread at a time changes it and puts it back.
    """

    _changing = threading.Lock()

    def __enter__(self) -> None:
        self._changing.acquire()
        self._before: int | None = None
        with suppress(ValueError, RuntimeError):  # the system wants them as they are
            self._before = threading.stack_size(THREAD_STACK)

    def __exit__(self, *_error: object) -> None:
        if self._before is not None:
            threading.stack_size(self._before)
        self._changing.release()


def _say_nothing(_failure: BaseException) -> None:
    """What a group does with its failure where nobody asked for it."""


_working_for = threading.local()
"""`group` is the one that the calling thread works for."""


class ThreadGroup:
    """The threads that work for one message, and their first failure.

    `on_failure` is called with that, on the thread that met it. Groups form a tree: what ends a
    group ends those below it, and a thread that waits at a condition of a group above its own
    wakes when its own is over. So messages can share what is guarded by a condition of the run.

    Without a `pool` the group has one of its own, which ends with it.
    """

    def __init__(
        self,
        on_failure: Callable[[BaseException], None] = _say_nothing,
        *,
        pool: ThreadPool | None = None,
        parent: ThreadGroup | None = None,
    ) -> None:
        self.failure: BaseException | None = None
        self._on_failure = on_failure
        self._parent = parent
        self._own_pool = ThreadPool() if pool is None else None
        self._pool = pool or self._own_pool
        self._lock = threading.Lock()  # guards what follows
        self._conditions: list[Condition] = []
        self._children: set[ThreadGroup] = set()
        self._napping: Condition | None = None
        self._under_way = 0
        self._undo: list[Callable[[], None]] = []
        if parent is not None:
            parent.adopt(self)

    def condition(self, lock: threading.Lock | None = None) -> Condition:
        """A lock with a condition for what threads of this group, and of those below it, share.

        `lock` is one that they share with others, too.
        """
        condition = Condition(self, lock)
        self._conditions.append(condition)
        return condition

    def check(self) -> None:
        """Raise `Abandoned` if this group, or that of the calling thread, is over."""
        own: ThreadGroup | None = getattr(_working_for, "group", None)
        if self.failure is not None or (own is not None and own.failure is not None):
            raise Abandoned

    def sleep(self, seconds: float) -> None:
        """Let that time pass; raise `Abandoned` as soon as the group is over."""
        with self._lock:
            if self._napping is None:
                self._napping = Condition(self)
                self._conditions.append(self._napping)
        deadline = time.monotonic() + seconds
        with self._napping:
            self.check()
            while (left := deadline - time.monotonic()) > 0:
                self._napping.wait(left)
                self.check()

    def start(self, work: Callable[[], None], name: str, *, spare: bool = False) -> bool:
        """Do `work` on another thread; what it raises fails the group.

        False where the host gives no further thread and a `spare` one can be done without; one
        that cannot be is `HOST_UNSUPPORTED`.
        """
        with self._lock:
            self._under_way += 1
        try:
            assert self._pool is not None  # noqa: S101 - its own, if none was given
            self._pool.start(lambda: self._guarded(work), name)
        except BaseException as failure:
            self._returned()
            if not isinstance(failure, NoThread):
                raise
            if spare:
                return False
            raise WorkerError(
                ErrorCode.HOST_UNSUPPORTED,
                "no thread can be started: this host limits memory or processes",
            ) from None
        return True

    def run(self, work: Callable[[], None]) -> None:
        """Do `work` here, as on a thread of the group; what it raises fails the group."""
        with self._lock:
            self._under_way += 1
        self._guarded(work)

    def fail(self, failure: BaseException) -> None:
        """End the group with `failure`, unless it is over already."""
        report = self._on_failure
        if self._end(failure):
            report(failure)

    def when_over(self, undo: Callable[[], None]) -> None:
        """Call `undo`, which raises nothing, once the group is over and no thread of it works.

        So what threads use, a descriptor say, is not taken from under them. The last one that was
        asked for is called first.
        """
        with self._lock:
            self._undo.append(undo)
        self._undo_if_over()

    def close(self, seconds: float = 0.0) -> bool:
        """End the group, and wait that long at most for its threads; have all of them returned?

        A group that had a pool of its own closes it.
        """
        self._end(Abandoned())
        self._undo_if_over()
        if self._parent is not None:
            self._parent.release(self)
        if self._own_pool is not None:
            return self._own_pool.close(seconds)
        deadline = time.monotonic() + seconds
        while self._under_way and time.monotonic() < deadline:
            time.sleep(0.001)
        return not self._under_way

    def adopt(self, child: ThreadGroup) -> None:
        """Let `child` end with this group."""
        with self._lock:
            self._children.add(child)
        if self.failure is not None:
            child.fail(Abandoned())

    def release(self, child: ThreadGroup) -> None:
        """Forget a group that was adopted."""
        with self._lock:
            self._children.discard(child)

    def wake(self) -> None:
        """Wake all who wait at a condition of this group, or of one above it."""
        for condition in tuple(self._conditions):
            with condition:
                condition.notify_all()
        if self._parent is not None:
            self._parent.wake()

    def _end(self, failure: BaseException) -> bool:
        """Note why the group is over and wake all who wait; is it news?"""
        with self._lock:
            if self.failure is not None:
                return False
            self.failure = failure
            children = tuple(self._children)
            nobody_waits = not self._under_way and not children
        if nobody_waits and isinstance(failure, Abandoned):
            return True  # the usual end of a message: no other message's threads are woken
        self.wake()
        for child in children:
            child.fail(Abandoned())
        return True

    def _returned(self) -> None:
        with self._lock:
            self._under_way -= 1
        self._undo_if_over()

    def _undo_if_over(self) -> None:
        with self._lock:
            if self._under_way or self.failure is None:
                return
            undo, self._undo = self._undo, []
        # What refers to the message, and to the group by way of it, would live on until a
        # collection of garbage: nobody waits or fails any more.
        self._conditions.clear()
        self._on_failure = _say_nothing
        while undo:
            undo.pop()()

    def _guarded(self, work: Callable[[], None]) -> None:
        before = getattr(_working_for, "group", None)
        _working_for.group = self
        try:
            work()
        except Abandoned:
            pass
        except BaseException as failure:  # noqa: BLE001 - whatever it is, the run must not hang on it
            self.fail(failure)
        finally:
            _working_for.group = before
            self._returned()
