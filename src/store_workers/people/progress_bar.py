"""A bar for the person at the terminal, and one line at the end that says how it went.

tqdm draws the bar. It is imported once a run has lasted a moment: a short run shows its last
line only.
"""

from __future__ import annotations

import os
import threading
import time

from store_workers.errors import shown
from store_workers.wire.events import (
    ChunkRetry,
    ErrorEvent,
    FileDownloaded,
    FileUploaded,
    FileVerified,
    UploadProgress,
    VerifyProgress,
)

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

    from store_workers.errors import StoreFailure
    from store_workers.people.standard_error import StandardError
    from store_workers.wire.events import DownloadProgress, Event
    from store_workers.wire.messages import Message

    Progress = UploadProgress | DownloadProgress | VerifyProgress

EVENTS_DESCRIPTOR = 1
CLEAR_LINE = "\r\x1b[K"
REFRESH = 0.1
"""Seconds between two drawings at least."""

LONGEST_NAME = 24
NARROWEST = 40
"""Columns below which a terminal is not believed."""

AVERAGED_OVER = 3.0
"""Seconds over which the rate is averaged: the older, the less it counts."""


class ProgressBar:
    """An observer of the events (`owner.Observer`) that shows how far the run is.

    `on_screen` says that the events themselves go to a terminal as well: then the bar makes room
    for each of them.
    """

    def __init__(
        self, stream: StandardError, *, on_screen: bool, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._stream = stream
        self._on_screen = on_screen
        self._clock = clock
        self._lock = threading.Lock()  # held while something is drawn
        self._writing = False  # an event is being written: nothing is drawn into it
        self._began = clock()
        self._drawn: float | None = None
        self._retries = 0
        self._rate = Rate(self._began)
        self._message: Message | None = None
        self._progress: Callable[[], Progress] | None = None

    def begin(self, message: Message, store: str, progress: Callable[[], Progress]) -> None:
        """The work begins; `progress` says how far it is."""
        self._message = message
        self._progress = progress

    def tried(
        self,
        id: str | None,
        index: int,
        hash: str,
        attempt: int,
        seconds: float,
        failure: StoreFailure | None,
    ) -> None:
        """A chunk was tried: what came of it is told by its event."""

    def before(self) -> None:
        """An event is about to be written: make room for it where it will show."""
        with self._lock:
            self._writing = True
            if self._on_screen:
                self._clear()

    def after(self, event: Event, id: str | None) -> None:
        """An event was written; the last one ends the bar."""
        if isinstance(event, ChunkRetry):
            self._retries += 1
        summary = self._summary(event)
        with self._lock:
            self._writing = False
            if summary:
                self._clear()
                self._stream.write(summary + "\n")
                self._progress = None

    def tick(self) -> None:
        """Draw the bar, unless that was just done or an event is being written."""
        now = self._clock()
        if now - (self._drawn or self._began) < REFRESH or not self._lock.acquire(blocking=False):
            return
        try:
            if self._progress is not None and not self._writing:
                self._drawn = now
                # The cursor goes back to the left: whatever else is written to this terminal, such
                # as the events by way of `tee`, then starts on a column of its own.
                self._stream.write(f"\r{self._line(self._progress(), now)}\x1b[K\r")
        finally:
            self._lock.release()

    def close(self) -> None:
        """The run is over, with or without a last event: leave no half line."""
        if self._lock.acquire(timeout=REFRESH):
            if self._progress is not None:
                self._clear()
            self._progress = None
            self._lock.release()

    def _clear(self) -> None:
        if self._drawn is not None:
            self._stream.write(CLEAR_LINE)

    def _line(self, at: Progress, now: float) -> str:
        from tqdm.std import tqdm

        now_at, total, moved = position(at)
        rate = self._rate.at(now, moved)
        done = now_at if not total else min(now_at, total)
        scale = done / moved if moved else 0  # chunks, or bytes, for each byte that was moved
        return str(
            tqdm.format_meter(
                done,
                total or 0,
                now - self._began,
                ncols=self._columns(),
                prefix=self._name(),
                ascii=not self._speaks_unicode(),
                rate=rate * scale or None,
                bar_format=self._format(at, total, rate),
            )
        )

    def _format(self, at: Progress, total: int | None, rate: float) -> str:
        notes = [f"{size_text(rate)}/s"]
        if total:
            notes.append("{remaining} left")
        notes += details(at)
        if self._retries:
            notes.append(count_text(self._retries, "retry", "retries"))
        meter = " {percentage:3.0f}% |{bar}| " if total else " "
        return "{desc}" + meter + ", ".join(notes)

    def _name(self) -> str:
        # A verification has a manifest, or nothing that could stand for a name.
        path = getattr(self._message, "path", None) or getattr(self._message, "manifest", None)
        name = shown(os.path.basename(path or ""))
        return name if len(name) <= LONGEST_NAME else name[: LONGEST_NAME - 1] + "…"

    def _columns(self) -> int:
        try:
            columns = os.get_terminal_size(self._stream.fileno()).columns
        except OSError:
            columns = 80
        # The last column stays free: some terminals go to the next line once it is written.
        return max(columns, NARROWEST) - 1

    @staticmethod
    def _speaks_unicode() -> bool:
        from locale import getpreferredencoding

        return getpreferredencoding(False).lower().replace("-", "") == "utf8"

    def _summary(self, event: Event) -> str:
        seconds = self._clock() - self._began
        if isinstance(event, FileUploaded):
            notes = [
                f"{size_text(event.compressed_size)} stored",
                f"{event.new_chunks} of {count_text(event.chunks, 'chunk', 'chunks')} new",
            ]
            return self._told("uploaded", event, seconds, notes)
        if isinstance(event, FileDownloaded):
            notes = [
                f"{size_text(event.compressed_size)} fetched",
                count_text(event.chunks, "chunk", "chunks"),
            ]
            return self._told("downloaded", event, seconds, notes)
        if isinstance(event, FileVerified):
            chunks = count_text(event.chunks, "chunk", "chunks")
            return f"verified {chunks}, {size_text(event.compressed_size)}, in {seconds:.1f} s"
        if isinstance(event, ErrorEvent):
            return f"failed after {seconds:.1f} s: {event.code.value}: {event.message}"
        return ""

    def _told(
        self, done: str, event: FileUploaded | FileDownloaded, seconds: float, notes: list[str]
    ) -> str:
        notes.append(count_text(self._retries, "retry", "retries"))
        rate = size_text(event.size / max(seconds, 0.001))
        what = f"{done} {shown(event.path)}: {size_text(event.size)} in {seconds:.1f} s"
        return f"{what} ({rate}/s), {', '.join(notes)}"


class Rate:
    """Bytes per second, averaged so that the last few seconds count most."""

    def __init__(self, now: float) -> None:
        self._before = now
        self._moved = 0
        self._average: float | None = None

    def at(self, now: float, moved: int) -> float:
        """Note how many bytes were moved by now; the rate."""
        passed = now - self._before
        if passed > 0:
            latest = (moved - self._moved) / passed
            weight = min(1.0, passed / AVERAGED_OVER)
            old = latest if self._average is None else self._average
            self._average = old + weight * (latest - old)
            self._before, self._moved = now, moved
        return self._average or 0.0


def position(at: Progress) -> tuple[int, int | None, int]:
    """Where a run is: (done, of how much, bytes of the file moved).

    In bytes where the file's size is known, else in chunks, of which a download knows the number.
    """
    if isinstance(at, UploadProgress):
        return at.read_bytes, at.total_bytes, at.read_bytes
    if isinstance(at, VerifyProgress):
        return at.fetched_chunks, at.total_chunks, at.fetched_bytes
    if at.total_bytes is not None:
        return at.written_bytes, at.total_bytes, at.written_bytes
    return at.fetched_chunks, at.total_chunks, at.written_bytes


def details(at: Progress) -> list[str]:
    """What has passed either end."""
    if isinstance(at, UploadProgress):
        return [f"{size_text(at.read_bytes)} read", f"{size_text(at.stored_bytes)} stored"]
    if isinstance(at, VerifyProgress):
        return [f"{size_text(at.fetched_bytes)} checked"]
    return [f"{size_text(at.fetched_bytes)} fetched", f"{size_text(at.written_bytes)} written"]


def size_text(size: float) -> str:
    """A number of bytes for people."""
    unit = 0
    while size >= 1000 and unit < len(UNITS) - 1:  # never four digits before the point
        size /= 1024
        unit += 1
    return f"{size:.0f} B" if not unit else f"{size:.1f} {UNITS[unit]}"


UNITS = ("B", "KiB", "MiB", "GiB", "TiB", "PiB")


def count_text(count: int, one: str, many: str) -> str:
    """A number with its noun."""
    return f"{count} {one if count == 1 else many}"
