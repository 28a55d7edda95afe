"""File names, from the wire to the system."""

from __future__ import annotations

import os


def system_path(path: str) -> str:
    """A path from a message as this system takes it.

    JSON is UTF-8, so a POSIX file name is the UTF-8 bytes of what the message says (with PEP 383
    surrogates for bytes that are none), whatever the locale is.
    """
    if os.name == "nt":
        return path
    return os.fsdecode(path.encode("utf-8", "surrogateescape"))
