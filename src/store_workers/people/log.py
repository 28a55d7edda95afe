"""Lines for operators on standard error, one per event and per try, where they ask for them.

A line is `name=value` pairs (logfmt): what holds a space, a quote or an equals sign is a JSON
string. It holds what events hold, which is free of secrets, and nothing else of the message but
its path, its type and the store's name as error messages have it.
"""

from __future__ import annotations

import time
from json import dumps

from store_workers.wire.events import EventType

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

    from store_workers.errors import StoreFailure
    from store_workers.people.standard_error import StandardError
    from store_workers.wire.events import Event
    from store_workers.wire.messages import Message

VARIABLE = "STORE_WORKERS_LOG"
DEBUG, INFO, WARNING, ERROR = "debug", "info", "warning", "error"
RANKS = {DEBUG: 10, INFO: 20, WARNING: 30, ERROR: 40}
CHOICES = (DEBUG, INFO, WARNING)

LEVELS = {
    EventType.CHUNK: DEBUG,
    EventType.PROGRESS: DEBUG,
    EventType.FILE_UPLOADED: INFO,
    EventType.FILE_DOWNLOADED: INFO,
    EventType.FILE_VERIFIED: INFO,
    EventType.SESSION_ENDED: INFO,
    EventType.CHUNK_RETRY: WARNING,
    EventType.CHUNK_BAD: WARNING,
    EventType.WARNING: WARNING,
    EventType.ERROR: ERROR,
}
"""How much each event matters."""

RENAMED = {"index": "chunk", "attempts": "attempt"}
LEFT_OUT = frozenset({"hashes"})
"""Fields that would make a line as long as a file is large."""


class Log:
    """An observer of the events (`owner.Observer`) that writes a line for each that matters.

    `level` is what the variable says. A word that is none of `CHOICES` counts as "info", and the
    first line says so: a slip in a service's configuration should stop no transfer and hide
    nothing.
    """

    def __init__(
        self,
        level: str,
        stream: StandardError,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._stream = stream
        self._clock = clock
        word = level.strip().lower()
        self._least = RANKS[word if word in CHOICES else INFO]
        if word not in CHOICES:
            told = f"{VARIABLE} is none of {', '.join(CHOICES)}: taken as {INFO}"
            self._line(WARNING, "LOG", {"message": told})

    def begin(self, message: Message, store: str, progress: Callable[[], Event]) -> None:
        """Note that the work begins."""
        settings = message.settings
        self._line(
            INFO,
            message.type.value,
            {
                "path": getattr(message, "path", None),
                "store": store,
                "concurrency": settings.concurrency,
                "max_attempts": settings.max_attempts,
                "timeout_ms": settings.timeout_ms,
            },
            message.id,
        )

    def tried(
        self,
        id: str | None,
        index: int,
        hash: str,
        attempt: int,
        seconds: float,
        failure: StoreFailure | None,
    ) -> None:
        """Note one try of a chunk and how long it took."""
        fields = {"chunk": index, "hash": hash, "attempt": attempt}
        outcome = failure.code.value if failure else "OK"
        self._line(
            DEBUG, "TRY", {**fields, "duration_ms": round(seconds * 1000), "code": outcome}, id
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
        self._line(LEVELS[event.type], event.type.value, fields, id)

    def tick(self) -> None:
        """Time has passed: nothing to do."""

    def close(self) -> None:
        """The run is over: nothing is kept back."""

    def _line(self, level: str, event: str, fields: dict[str, Any], id: str | None = None) -> None:
        if RANKS[level] < self._least:
            return
        pairs = {"time": self._time(), "level": level, "event": event, "id": id, **fields}
        told = (f"{name}={_value(value)}" for name, value in pairs.items() if value is not None)
        self._stream.write(" ".join(told) + "\n")

    def _time(self) -> str:
        """Now, in UTC, to the millisecond (RFC 3339)."""
        now = self._clock()
        whole = time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(now))
        return f"{whole}.{int(now * 1000) % 1000:03d}Z"


def _value(value: Any) -> str:
    if not isinstance(value, str):
        return dumps(value)
    text = str.__str__(value)  # also of a word of a closed set, whose own text has its class's name
    plain = text and text.isascii() and text.isprintable() and not set(' "=\\') & set(text)
    return text if plain else dumps(text)
