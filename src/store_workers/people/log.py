"""Log lines for operators on standard error: one per event and per try, on request.

A line is `name=value` pairs (logfmt). A value with a space, a quote or an equals sign is a JSON
string. A line has the fields of an event, which contain no secrets, and of the message only path,
type and the store's name without secrets.
"""

from __future__ import annotations

import logging
import time
from json import dumps
from logging import DEBUG, ERROR, INFO, WARNING

from store_workers.wire.events import EventType

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

    from store_workers.errors import Try
    from store_workers.people.standard_error import StandardError
    from store_workers.wire.events import Event
    from store_workers.wire.messages import Message

VARIABLE = "STORE_WORKERS_LOG"
CHOICES = {"debug": DEBUG, "info": INFO, "warning": WARNING}

LEVELS = {
    EventType.CHUNK: DEBUG,
    EventType.PROGRESS: DEBUG,
    EventType.CHUNK_RETRY: WARNING,
    EventType.CHUNK_BAD: WARNING,
    EventType.WARNING: WARNING,
    EventType.ERROR: ERROR,
}
"""The level of each event type. The success of a message is `INFO`."""

RENAMED = {"index": "chunk", "attempts": "attempt"}
LEFT_OUT = frozenset({"hashes"})
"""Fields that would make a line as long as a file is large."""


class Log:
    """An observer of the events (`writer.Observer`) that logs those of the chosen level.

    `level` is the value of the variable. A word that is not one of `CHOICES` counts as "info", and
    the first line says so: a mistake in a service's configuration must neither stop transfers nor
    hide lines.
    """

    def __init__(self, level: str, stream: StandardError) -> None:
        word = level.strip().lower()
        # Not a logger of the process, since two runs must not share it.
        self._logger = logging.Logger("store_workers", CHOICES.get(word, INFO))  # noqa: LOG001
        handler = logging.StreamHandler(stream)
        handler.setFormatter(Logfmt())
        self._logger.addHandler(handler)
        if word not in CHOICES:
            told = f"{VARIABLE} is not one of {', '.join(CHOICES)}: using info"
            self._log(WARNING, "LOG", {"message": told})

    def begin(self, message: Message, store: str, progress: Callable[[], Event]) -> None:
        """Log the start of the work."""
        settings = message.settings
        # Only the program, since its arguments can contain secrets.
        words = getattr(message, "command", None)
        command = {"command": words[0]} if words else {}
        self._log(
            INFO,
            message.type.value,
            {
                "path": getattr(message, "path", None),
                **command,
                "store": store,
                "concurrency": settings.concurrency,
                "max_attempts": settings.max_attempts,
                "timeout_ms": settings.timeout_ms,
            },
            message.id,
        )

    def tried(self, id: str | None, result: Try) -> None:
        """Log one try of a chunk with its duration."""
        self._log(
            DEBUG,
            "TRY",
            {
                "chunk": result.index,
                "hash": result.hash,
                "attempt": result.attempt,
                "duration_ms": round(result.seconds * 1000),
                "bytes": result.moved,
                "code": result.failure.code.value if result.failure else "OK",
            },
            id,
        )

    def before(self) -> None:
        """Do nothing before an event is written."""

    def after(self, event: Event, id: str | None) -> None:
        """Log an event that was written."""
        fields = {
            RENAMED.get(name, name): value
            for name, value in event.encode().items()
            if name not in LEFT_OUT
        }
        self._log(LEVELS.get(event.type, INFO), event.type.value, fields, id)

    def tick(self) -> None:
        """Do nothing from time to time."""

    def close(self) -> None:
        """Do nothing at the end: lines are not buffered."""

    def _log(self, level: int, event: str, fields: dict[str, Any], id: str | None = None) -> None:
        if self._logger.isEnabledFor(level):
            self._logger.log(level, event, extra={"fields": {"id": id, **fields}})


class Logfmt(logging.Formatter):
    """Formats a record as a line of `name=value` pairs."""

    def format(self, record: logging.LogRecord) -> str:
        """Return the line of a record: time, level, event, then the fields of the event."""
        pairs = {
            "time": rfc3339(record.created),
            "level": record.levelname.lower(),
            "event": record.msg,
            **vars(record)["fields"],
        }
        return " ".join(
            f"{name}={_value(value)}" for name, value in pairs.items() if value is not None
        )


def rfc3339(moment: float) -> str:
    """Return a time in UTC, to the millisecond."""
    whole = time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(moment))
    return f"{whole}.{int(moment * 1000) % 1000:03d}Z"


def _value(value: Any) -> str:
    if not isinstance(value, str):
        return dumps(value)
    text = str.__str__(value)  # the str() of an enumeration's member begins with its class
    plain = text and text.isascii() and text.isprintable() and not set(' "=\\') & set(text)
    return text if plain else dumps(text)
