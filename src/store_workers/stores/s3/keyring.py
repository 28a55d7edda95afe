"""The keys of a run: looked up when needed, and renewed before they expire.

A source of keys can hang, throttle or fail. So one thread at a time asks it, waiting is limited,
and valid keys are used during a renewal and after it failed.
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
"""Seconds between two tries to renew keys that are still valid."""


class ChainKeys:
    """The keys of AWS's chain. Safe from many threads.

    `look_up` returns botocore's credentials from the start of the chain; `freeze` returns their
    current keys, and renews them if necessary. Both raise `StoreFailure`. `seconds` bounds each
    wait; `on_close` ends running requests.
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
        """Return the current keys. Raises `StoreFailure` if there are none."""
        with self._lock:
            keys = self._keys
            # Read before a renewal begins, which changes the credentials in place.
            good = keys is not None and not _needs_refresh(self._credentials, 0)
            if keys is not None and good:
                if self._is_due():
                    self._begin(anew=False)
                return keys
            asking = self._begin(anew=keys is None)
        return asking.wait(self._seconds)

    def renew(self, used: Keys) -> bool:
        """Ask the chain again, once for all requests with the same keys."""
        with self._lock:
            if self._keys is not None and _differ(self._keys, used):
                return True
            asking = self._begin(anew=True)
        return _differ(asking.wait(self._seconds), used)

    def close(self) -> None:
        """End running requests."""
        self._on_close()

    def _is_due(self) -> bool:
        """Return whether valid keys should be renewed now; after a pause, again."""
        resting = self._under_way is not None or self._clock() < self._not_before
        return not resting and _needs_refresh(self._credentials)

    def _begin(self, *, anew: bool) -> _Asking:
        """Start a lookup on a thread, or return the running one. The caller holds the lock."""
        if self._under_way is None:
            credentials = None if anew else self._credentials
            asking = _Asking(lambda: self._ask(credentials))
            asking.start(self._done)  # raises if this host refuses another thread
            self._under_way = asking
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
    """One lookup or renewal, for which any number of threads wait."""

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
        """Return the keys. Raises `StoreFailure`, also after a timeout."""
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
    """Return whether the credentials expire within that time (default: botocore's)."""
    ask = getattr(credentials, "refresh_needed", None)
    return ask is not None and bool(ask(seconds))


def _differ(some: Keys, others: Keys) -> bool:
    return (some.access_key_id, some.session_token) != (others.access_key_id, others.session_token)
