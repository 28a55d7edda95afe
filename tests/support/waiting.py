"""Wait for what other threads or processes do, however slow the machine is."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable


def wait_until(holds: Callable[[], bool], timeout: float = 60) -> None:
    """Wait until something holds.

    Raises:
        TimeoutError: it did not.
    """
    deadline = time.monotonic() + timeout
    pause = 0.001
    while not holds():
        if time.monotonic() > deadline:
            raise TimeoutError
        time.sleep(pause)
        pause = min(2 * pause, 0.02)
