"""Converts file names of messages to those of the system."""

from __future__ import annotations

import os


def system_path(path: str) -> str:
    """Return a path from a message in the form that this system uses.

    JSON is UTF-8, so a POSIX file name is the UTF-8 bytes of the message's text (with PEP 383
    surrogates for other bytes), whatever the locale.
    """
    if os.name == "nt":
        return path
    return os.fsdecode(path.encode("utf-8", "surrogateescape"))
