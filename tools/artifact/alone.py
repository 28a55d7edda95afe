"""Let one build at a time work in a folder."""

from __future__ import annotations

import contextlib
import os
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


@contextlib.contextmanager
def alone(folder: Path) -> Iterator[None]:
    """Make ``folder`` if it is missing, and hold it: whoever else asks for it waits.

    The system lets go of it when the process ends, however that comes. Nothing is left behind: the
    folder itself is what is locked. On Windows, where that can't be done, nothing is held; there
    files have names of their own until they are moved into place.
    """
    folder.mkdir(parents=True, exist_ok=True)
    try:
        import fcntl
    except ImportError:
        yield
        return
    held = os.open(folder, os.O_RDONLY)
    try:
        fcntl.flock(held, fcntl.LOCK_EX)
        yield
    finally:
        os.close(held)
