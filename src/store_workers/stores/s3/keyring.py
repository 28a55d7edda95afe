"""The keys of a run that may expire: looked up when they are needed, renewed ahead of time.

Whoever hands keys out may hang, be throttled or fail. So it is asked on a thread of its own, one
at a time; nobody waits for it longer than a bound; and keys that are still good are used while
others are asked for, also where that fails.
"""

from __future__ import annotations

import threading
import time

from store_workers.errors import ErrorCode, StoreFailure

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

    from store_workers.stores.s3.signing import Keys

PAUSE = 10.0
"""Seconds between two tries to renew keys that are still good."""


class ChainKeys:
    """Keys of AWS's chain. Safe from many threads.

    `look_up` finds credentials of botocore's, from the chain's beginning; `freeze` makes keys of
    them, renewing them where it is time. Both raise `StoreFailure`. `seconds` bounds each wait;
    `on_close` ends what is under way.
    """

    def __init__(
        self,
        look_up: Callable[[], Any],
        freeze: Callable[[Any], Keys],
        seconds: float,
        on_close: Callable[[], None] = lambda: None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._look_up = look_up
        self._freeze = freeze
        self._seconds = seconds
        self._on_close = on_close
        self._clock = clock
        self._lock = threading.Lock()
        self._credentials: Any = None
        self._keys: Keys | None = None
        self._not_before = float("-inf")
        self._under_way: _Asking | None = None

    def current(self) -> Keys:
        """The keys of this moment. Raises `StoreFailure` where there are none to be had."""
        with self._lock:
            keys = self._keys
            # Looked at before others are asked for: that changes the credentials in place.
            good = keys is not None and not _needs_refresh(self._credentials, 0)
            if keys is not None and good:
                if self._is_due():
                    self._begin(anew=False)
                return keys
            asking = self._begin(anew=keys is None)
        return asking.wait(self._seconds)

    def renew(self, used: Keys) -> bool:
        """Ask the chain again, once for all requests that used the same keys."""
        with self._lock:
            if self._keys is not None and _differ(self._keys, used):
                return True
            asking = self._begin(anew=True)
        return _differ(asking.wait(self._seconds), used)

    def close(self) -> None:
        """End what is asked under way."""
        self._on_close()

    def _is_due(self) -> bool:
        """Is it time to ask for others than those that are still good? After a pause, again."""
        resting = self._under_way is not None or self._clock() < self._not_before
        return not resting and _needs_refresh(self._credentials)

    def _begin(self, *, anew: bool) -> _Asking:
        """Ask on a thread, or join what is asked already; the lock is held."""
        if self._under_way is None:
            credentials = None if anew else self._credentials
            self._under_way = _Asking(lambda: self._ask(credentials))
            self._under_way.start(self._done)
        return self._under_way

    def _ask(self, credentials: Any) -> Keys:
        if credentials is None:
            credentials = self._look_up()
        keys = self._freeze(credentials)
        with self._lock:
            self._credentials, self._keys = credentials, keys
        return keys

    def _done(self) -> None:
        with self._lock:
            self._under_way = None
            self._not_before = self._clock() + PAUSE


class _Asking:
    """One look-up or renewal under way, awaited by as many threads as need it."""

    def __init__(self, work: Callable[[], Keys]) -> None:
        self._work = work
        self._ended = threading.Event()
        self._keys: Keys | None = None
        self._failure: BaseException | None = None

    def start(self, on_end: Callable[[], None]) -> None:
        def run() -> None:
            try:
                self._keys = self._work()
            except BaseException as failure:  # noqa: BLE001 - it is raised where keys are awaited
                self._failure = failure
            on_end()
            self._ended.set()

        threading.Thread(target=run, name="credentials", daemon=True).start()

    def wait(self, seconds: float) -> Keys:
        """The keys. Raises `StoreFailure`, also where nothing comes within that time."""
        if not self._ended.wait(seconds):
            raise StoreFailure(
                ErrorCode.STORE_UNAVAILABLE,
                "no credentials: the sources of the AWS configuration did not answer within"
                f" {seconds:g} s",
                transient=True,
            )
        if self._failure is not None:
            raise self._failure
        assert self._keys is not None  # noqa: S101 - it ended well
        return self._keys


def _needs_refresh(credentials: Any, seconds: float | None = None) -> bool:
    """Do the credentials expire within that time, by default botocore's own?"""
    ask = getattr(credentials, "refresh_needed", None)
    return ask is not None and bool(ask(seconds))


def _differ(some: Keys, others: Keys) -> bool:
    return (some.access_key_id, some.session_token) != (others.access_key_id, others.session_token)
