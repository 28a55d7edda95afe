"""Leave out of a start what the run has no use for."""

from __future__ import annotations

import sys
from contextlib import contextmanager

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator


@contextmanager
def with_tls() -> Iterator[None]:
    """Import as ever."""
    yield


@contextmanager
def without_tls() -> Iterator[None]:
    """Import what can do without `ssl` as if there were none: it is a tenth of urllib3's import.

    `None` in `sys.modules` is how Python is told that a module is not to be found. A process that
    has it already keeps it.
    """
    if "ssl" in sys.modules:
        yield
        return
    sys.modules["ssl"] = None  # type: ignore[assignment]
    try:
        yield
    finally:
        del sys.modules["ssl"]
