"""Lines for operators on standard error, one per event and per try, where they ask for them.

A line is `name=value` pairs (logfmt): what holds a space, a quote or an equals sign is a JSON
string. It holds what events hold, which is free of secrets, and nothing else of the message but
its path, its type and the store's name as error messages have it.
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
"""How much an event matters; one that ends a message well is `INFO`."""

RENAMED = {"index": "chunk", "attempts": "attempt"}
LEFT_OUT = frozenset({"hashes"})
"""Fields that would make a line as long as a file is large."""


class Log:
    """An observer of the events (`writer.Observer`) that logs each that matters.

    `level` is what the variable says. A word that is none of `CHOICES` counts as "info", and the
    first line says so: a slip in a service's configuration should stop no transfer and hide
    nothing.
    """

    def __init__(self, level: str, stream: StandardError) -> None:
        word = level.strip().lower()
        # A logger of its own, and not one of the process: two runs do not share it.
        self._logger = logging.Logger("store_workers", CHOICES.get(word, INFO))  # noqa: LOG001
        handler = logging.StreamHandler(stream)
        handler.setFormatter(Logfmt())
        self._logger.addHandler(handler)
        if word not in CHOICES:
            told = f"{VARIABLE} is not one of {', '.join(CHOICES)}: using info"
            self._log(WARNING, "LOG", {"message": told})

    def begin(self, message: Message, store: str, progress: Callable[[], Event]) -> None:
        """Note that the work begins."""
        settings = message.settings
        # Only the program: its arguments may hold secrets.
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
        """Note one try of a chunk and how long it took."""
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
        """An event is about to be written: nothing to do."""

    def after(self, event: Event, id: str | None) -> None:
        """Note an event that was written."""
        fields = {
            RENAMED.get(name, name): value
            for name, value in event.encode().items()
            if name not in LEFT_OUT
        }
        self._log(LEVELS.get(event.type, INFO), event.type.value, fields, id)

    def tick(self) -> None:
        """Time has passed: nothing to do."""

    def close(self) -> None:
        """The run is over: nothing is kept back."""

    def _log(self, level: int, event: str, fields: dict[str, Any], id: str | None = None) -> None:
        if self._logger.isEnabledFor(level):
            self._logger.log(level, event, extra={"fields": {"id": id, **fields}})


class Logfmt(logging.Formatter):
    """Makes a record a line of `name=value` pairs."""

    def format(self, record: logging.LogRecord) -> str:
        """The record's line: its time, its level, its event, then what the event holds."""
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
    """A time in UTC, to the millisecond."""
    whole = time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(moment))
    return f"{whole}.{int(moment * 1000) % 1000:03d}Z"


def _value(value: Any) -> str:
    if not isinstance(value, str):
        return dumps(value)
    text = str.__str__(value)  # also of a word of a closed set, whose own text has its class's name
    plain = text and text.isascii() and text.isprintable() and not set(' "=\\') & set(text)
    return text if plain else dumps(text)
