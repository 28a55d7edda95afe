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

ROOM = 192 * 1024 * 1024
"""Bytes of address space that must be free for a thread that is not essential.

glibc reserves 64 MiB for each thread's allocations, for which it maps 128 MiB for a moment; the
rest is for the work. Far more threads could be started, and then the work would lack memory.
"""

THREAD_NEEDS = THREAD_STACK + 256 * 1024
"""Bytes of address space that must be free for any other thread.

With less, the system can start it, but Python cannot run its first line. That is not reported, and
who started it waits for it without end.
"""

LONGEST_CLOSE = 1.0
"""Seconds that closing waits for threads in a system call that cannot be interrupted."""


class Abandoned(Exception):
    """Raised in a waiting thread when its work is over: the thread then ends."""


class NoThread(Exception):
    """The host refuses to start another thread."""


class Condition:
    """A lock with a condition, whose waiters also wake when their work is over.

    Every small file makes several, and nobody waits at most of them. So the standard library's
    condition is made when the first thread waits. Holding `lock` itself is faster.
    """

    def __init__(self, group: ThreadGroup, lock: threading.Lock | None = None) -> None:
        self.lock = lock or threading.Lock()
        self.waiting = 0  # threads; if there are none, notifying costs nothing
        self._group = group
        self._condition: threading.Condition | None = None

    def __enter__(self) -> None:
        self.lock.acquire()

    def __exit__(self, *_error: object) -> None:
        self.lock.release()

    def wait(self, timeout: float | None = None) -> bool:
        """Wait for a notification, holding the lock. Return false after a timeout."""
        if self._condition is None:
            self._condition = threading.Condition(self.lock)
        self.waiting += 1
        try:
            return self._condition.wait(timeout)
        finally:
            self.waiting -= 1

    def wait_unless_over(self, timeout: float) -> None:
        """Wait once, holding the lock; raise `Abandoned` if it is over."""
        self._group.check()
        self.wait(timeout)
        self._group.check()

    def notify(self, n: int = 1) -> None:
        """Wake so many waiting threads. The caller holds the lock."""
        if self.waiting and self._condition is not None:
            self._condition.notify(n)

    def notify_all(self) -> None:
        """Wake all waiting threads. The caller holds the lock."""
        if self.waiting and self._condition is not None:
            self._condition.notify_all()

    def wait_while(self, holds: Callable[[], bool]) -> None:
        """Wait, holding the lock, until `holds()` is false; raise `Abandoned` if it is over."""
        self._group.check()
        while holds():
            self.wait()
            self._group.check()


class ThreadPool:
    """Threads of a process's run. One that has done its work waits for the next.

    They are daemons: a thread that blocks in a system call must not delay the process's exit.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()  # guards the attributes below
        self._threads: set[threading.Thread] = set()
        self._idle = 0
        self._closed = False
        self._work: SimpleQueue[tuple[Callable[[], None], str] | None] = SimpleQueue()

    def start(self, work: Callable[[], None], name: str, *, spare: bool = False) -> None:
        """Run `work`, which must not raise, on an idle or new thread.

        Raises `NoThread`, for a `spare` one also if memory is scarce, and `Abandoned` once the pool
        is closed.
        """
        with self._lock:
            if self._closed:
                raise Abandoned
            if self._idle:
                self._idle -= 1
            else:
                self._add_thread(spare)
            self._work.put((work, name))

    def close(self, seconds: float = LONGEST_CLOSE) -> bool:
        """End all threads, and wait at most that long. Return whether all have ended."""
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

    def _add_thread(self, spare: bool) -> None:
        # Work is passed through the queue: a thread keeps its arguments alive as long as it lives.
        thread = threading.Thread(target=self._serve, daemon=True)
        try:
            if spare:
                _need_room()
            else:
                bytes(THREAD_NEEDS)
            with _small_stack():
                thread.start()
        except (RuntimeError, MemoryError, OSError):
            raise NoThread from None
        self._threads.add(thread)

    def _serve(self) -> None:
        this = threading.current_thread()
        while (next_work := self._work.get()) is not None:
            work, this.name = next_work
            work()
            del work, next_work  # otherwise they stay alive until the next work arrives
            with self._lock:
                if self._closed:
                    break
                self._idle += 1


def _need_room() -> None:
    """Raise `OSError` unless there is room for a spare thread. Takes some microseconds."""
    import mmap

    mmap.mmap(-1, ROOM).close()  # never touched, not even with `PYTHONMALLOC=debug`


class _small_stack:  # noqa: N801 - used like a function
    """A context in which new threads get small stacks, since they do not recurse deeply.

    The size is a setting of the process: one thread at a time changes and restores it.
    """

    _changing = threading.Lock()

    def __enter__(self) -> None:
        self._changing.acquire()
        self._before: int | None = None
        with suppress(ValueError, RuntimeError):  # this platform does not allow another size
            self._before = threading.stack_size(THREAD_STACK)

    def __exit__(self, *_error: object) -> None:
        if self._before is not None:
            threading.stack_size(self._before)
        self._changing.release()


def _say_nothing(_failure: BaseException) -> None:
    """The default `on_failure`: do nothing."""


_working_for = threading.local()
"""`group` is that of the calling thread."""


def check_own_work() -> None:
    """Raise `Abandoned` if the work that the calling thread does is over.

    For code that knows no group and waits for long: a request of one message on a connection that
    all messages share.
    """
    group: ThreadGroup | None = getattr(_working_for, "group", None)
    if group is not None and group.failure is not None:
        raise Abandoned


def own_work_began() -> float:
    """Return when the message that the calling thread works for arrived; 0 if there is none."""
    group: ThreadGroup | None = getattr(_working_for, "group", None)
    return 0.0 if group is None else group.began


class ThreadGroup:
    """The threads that work for one message, and their first failure.

    `on_failure` is called with that failure, on the thread in which it occurred. Groups form a
    tree: ending a group ends its descendants. A thread that waits at a condition of an ancestor
    wakes when its own group ends, so messages can share objects guarded by the run's conditions.
    `began` is when the message arrived (`time.monotonic`).

    Without `pool`, the group creates its own, which ends with it.
    """

    def __init__(
        self,
        on_failure: Callable[[BaseException], None] = _say_nothing,
        *,
        pool: ThreadPool | None = None,
        parent: ThreadGroup | None = None,
    ) -> None:
        self.failure: BaseException | None = None
        self.began = time.monotonic()
        self._on_failure = on_failure
        self._parent = parent
        self._own_pool = ThreadPool() if pool is None else None
        self._pool = pool or self._own_pool
        self._lock = threading.Lock()  # guards the attributes below
        self._conditions: list[Condition] = []
        self._children: set[ThreadGroup] = set()
        self._napping: Condition | None = None
        self._under_way = 0
        self._undo: list[Callable[[], None]] = []
        if parent is not None:
            parent.adopt(self)

    def condition(self, lock: threading.Lock | None = None) -> Condition:
        """Return a lock with a condition for objects shared by this group and its descendants.

        `lock`: an existing lock that the condition shares.
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
        """Sleep that long. Raise `Abandoned` as soon as the group is over."""
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
        """Run `work` on another thread. If it raises, the group fails.

        If the host refuses another thread: return false for a `spare` one, which is not
        essential, and otherwise fail with `HOST_UNSUPPORTED`.
        """
        with self._lock:
            self._under_way += 1
        try:
            assert self._pool is not None  # noqa: S101 - its own, if none was given
            self._pool.start(lambda: self._guarded(work), name, spare=spare)
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

    def try_start(self, work: Callable[[], None], name: str, *, spare: bool = False) -> bool:
        """Run `work` on another thread. Return false if the host refuses one.

        For work that the calling thread can do itself: threads that are spare elsewhere can have
        taken all that there are.
        """
        try:
            return self.start(work, name, spare=spare)
        except WorkerError:
            return False

    def run(self, work: Callable[[], None]) -> None:
        """Run `work` on the calling thread. If it raises, the group fails."""
        with self._lock:
            self._under_way += 1
        self._guarded(work)

    def fail(self, failure: BaseException) -> None:
        """End the group with `failure`, unless it is over already."""
        report = self._on_failure
        if self._end(failure):
            report(failure)

    def when_over(self, undo: Callable[[], None]) -> None:
        """Call `undo`, which must not raise, when the group is over and all its threads are idle.

        So a descriptor, for example, is not closed while a thread uses it. The functions are called
        in reverse order.
        """
        with self._lock:
            self._undo.append(undo)
        self._undo_if_over()

    def close(self, seconds: float = 0.0) -> bool:
        """End the group, and wait at most that long. Return whether all its threads have returned.

        A group that created its own pool closes it.
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
        """End `child` when this group ends."""
        with self._lock:
            self._children.add(child)
        if self.failure is not None:
            child.fail(Abandoned())

    def release(self, child: ThreadGroup) -> None:
        """Forget a group that was adopted."""
        with self._lock:
            self._children.discard(child)

    def wake(self) -> None:
        """Wake all threads that wait at a condition of this group or of an ancestor."""
        for condition in tuple(self._conditions):
            with condition:
                condition.notify_all()
        if self._parent is not None:
            self._parent.wake()

    def _end(self, failure: BaseException) -> bool:
        """Record why the group is over, and wake all threads. Return false if it was over."""
        with self._lock:
            if self.failure is not None:
                return False
            self.failure = failure
            children = tuple(self._children)
            nobody_waits = not self._under_way and not children
        if nobody_waits and isinstance(failure, Abandoned):
            return True  # the normal end of a message: threads of other messages are not woken
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
        # Callbacks refer to the message, and through it to the group. They would stay alive until a
        # garbage collection, and are no longer needed.
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
