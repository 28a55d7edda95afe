"""What the host lets this process have, and what a run makes of it."""

from __future__ import annotations

import os

from store_workers.wire.messages import Settings

TYPE_CHECKING = False
if TYPE_CHECKING:
    from store_workers.wire.messages import Message

RESERVED_DESCRIPTORS = 16
"""Descriptors for all but the chunks: the standard streams, the artifact, the file, modules."""

DESCRIPTORS_PER_CHUNK = 2
"""A connection, or a temporary file and its directory; and one more while a host is looked up."""


def within_limits(message: Message) -> Message:
    """The message, with no more chunks in flight than there are descriptors for."""
    settings = message.settings
    most = affordable_chunks(open_files_limit())
    if most is None or settings.concurrency <= most:
        return message
    fewer = Settings(**{**vars(settings), "concurrency": most})
    return type(message)(**{**vars(message), "settings": fewer})


def affordable_chunks(open_files: int | None) -> int | None:
    """How many chunks can be in flight with so many descriptors; None for no limit."""
    if open_files is None:
        return None
    return max(1, (open_files - RESERVED_DESCRIPTORS) // DESCRIPTORS_PER_CHUNK)


def open_files_limit() -> int | None:
    """How many descriptors this process may have; None where that is not limited or not known."""
    try:
        limit = os.sysconf("SC_OPEN_MAX")
    except (AttributeError, ValueError, OSError):
        return None
    return limit if limit > 0 else None
