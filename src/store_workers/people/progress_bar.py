"""A progress bar for a person at a terminal, and one line for each completed file.

tqdm draws the bar. It is imported only when a run takes longer than a moment: a short run shows
only its last line.
"""

from __future__ import annotations

import os
import threading
import time

from store_workers.errors import shown
from store_workers.wire.events import (
    TERMINAL,
    ChunkRetry,
    ErrorEvent,
    FileDownloaded,
    FileUploaded,
    FileVerified,
    SessionEnded,
    UploadProgress,
    VerifyProgress,
)

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

    from store_workers.errors import Try
    from store_workers.people.standard_error import StandardError
    from store_workers.wire.events import DownloadProgress, Event
    from store_workers.wire.messages import Message

    Progress = UploadProgress | DownloadProgress | VerifyProgress

CLEAR_LINE = "\r\x1b[K"
REFRESH = 0.1
"""Minimum number of seconds between two drawings."""

LONGEST_NAME = 24
NARROWEST = 40
"""A terminal that reports fewer columns is treated as one of unknown width."""

USUAL_COLUMNS = 80
WITH_TOTAL = "{l_bar}{bar}| {n_fmt}/{total_fmt} [{elapsed}<{remaining}, {speed}{postfix}]"
WITHOUT_TOTAL = "{desc}: {n_fmt}{unit} [{elapsed}, {speed}{postfix}]"


class ProgressBar:
    """An observer of the events (`writer.Observer`) that shows the progress of the run.

    `on_screen`: the events are written to a terminal too, so the bar is removed before each of
    them. `tells_files`, `tells_failures`: the bar reports completed files, and failures.
    """

    def __init__(
        self,
        stream: StandardError,
        *,
        on_screen: bool,
        tells_files: bool = True,
        tells_failures: bool = True,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._stream = stream
        self._on_screen = on_screen
        self._tells_files = tells_files
        self._tells_failures = tells_failures
        self._clock = clock
        self._lock = threading.Lock()  # held while drawing
        self._writing = False  # true while an event is written: nothing is drawn then
        self._began = clock()
        self._drawn: float | None = None
        self._retries = 0
        self._under_way: dict[str | None, tuple[Message, Callable[[], Progress]]] = {}
        self._files = 0
        self._files_moved = 0  # bytes of completed files
        self._bar: Any = None

    def begin(self, message: Message, store: str, progress: Callable[[], Progress]) -> None:
        """Begin with a message; `progress` returns its state."""
        with self._lock:
            self._files += 1
            self._under_way[message.id] = message, progress

    def tried(self, id: str | None, result: Try) -> None:
        """Do nothing for a try: its event reports the result."""

    def before(self) -> None:
        """Remove the bar before an event is written to the same terminal."""
        with self._lock:
            self._writing = True
            if self._on_screen:
                self._clear()

    def after(self, event: Event, id: str | None) -> None:
        """Report the end of a file after its event was written."""
        if isinstance(event, ChunkRetry):
            self._retries += 1
        with self._lock:
            self._writing = False
            if event.type not in TERMINAL:
                return
            self._clear()
            ended = self._under_way.pop(id, None)
            if ended is not None:
                self._files_moved += position(ended[1]())[2]
            line = self._summary(event)
            if line:
                self._stream.write(line + "\n")

    def tick(self) -> None:
        """Draw the bar, unless it was just drawn or an event is being written."""
        now = self._clock()
        if now - (self._drawn or self._began) < REFRESH or not self._lock.acquire(blocking=False):
            return
        try:
            if self._under_way and not self._writing:
                self._drawn = now
                self._draw()
        finally:
            self._lock.release()

    def close(self) -> None:
        """End the bar's line at the end of the run, with or without a last event."""
        if self._lock.acquire(timeout=REFRESH):
            if self._under_way:
                self._clear()
            self._under_way.clear()
            self._lock.release()

    def _clear(self) -> None:
        if self._drawn is not None:
            self._stream.write(CLEAR_LINE)

    def _draw(self) -> None:
        if self._bar is None:
            self._bar = new_bar(self._stream, self._clock() - self._began)
        bar = self._bar
        states = [progress() for _, progress in self._under_way.values()]
        if self._files == 1:
            ((message, _),) = self._under_way.values()
            done, total, _ = position(states[0])
            name, notes = name_of(message), details(states[0])
            is_bytes = total is None or total != getattr(states[0], "total_chunks", None)
        else:
            done, total = self._files_moved + sum(position(at)[2] for at in states), None
            name = f"{count_text(self._files - len(states), 'file', 'files')} done"
            notes, is_bytes = [f"{len(states)} under way"], True
        if self._retries:
            notes.append(count_text(self._retries, "retry", "retries"))
        bar.total = total or None
        bar.bar_format = WITH_TOTAL if total else WITHOUT_TOTAL
        bar.unit, bar.unit_scale = ("iB", True) if is_bytes else (" chunks", False)
        bar.set_description_str(name, refresh=False)
        bar.set_postfix_str(", ".join(notes), refresh=False)
        bar.update(max(0, done - bar.n))  # this also draws the bar

    def _summary(self, event: Event) -> str:
        """Return the line for a completed or failed file; "" if the bar does not report it."""
        seconds = self._clock() - self._began
        if isinstance(event, ErrorEvent):
            if not self._tells_failures:
                return ""
            return f"failed after {seconds:.1f} s: {event.code.value}: {event.message}"
        if isinstance(event, SessionEnded):
            files = count_text(event.files, "file", "files")
            return f"{files} in {seconds:.1f} s, {event.failed} of them failed"
        return self._told(event, seconds) if self._tells_files else ""

    def _told(self, event: Event, seconds: float) -> str:
        retries = count_text(self._retries, "retry", "retries")
        if isinstance(event, FileVerified):
            chunks = count_text(event.chunks, "chunk", "chunks")
            sound = f"verified {chunks}, {size_text(event.compressed_size)}"
            return f"{sound}, in {seconds:.1f} s, {retries}"
        if isinstance(event, FileUploaded):
            done = f"uploaded {shown(event.path or (event.command or [''])[0])}"
            chunks = f"{event.new_chunks} of {count_text(event.chunks, 'chunk', 'chunks')} new"
            notes = f"{size_text(event.compressed_size)} stored, {chunks}"
        elif isinstance(event, FileDownloaded):
            done = f"downloaded {shown(event.path)}"
            chunks = count_text(event.chunks, "chunk", "chunks")
            notes = f"{size_text(event.compressed_size)} fetched, {chunks}"
        else:
            return ""
        rate = size_text(event.size / max(seconds, 0.001))
        size = size_text(event.size)
        return f"{done}: {size} in {seconds:.1f} s ({rate}/s), {notes}, {retries}"


def new_bar(stream: StandardError, seconds: float) -> Any:
    """Return a tqdm bar for work that began some seconds ago."""
    from tqdm.std import tqdm

    class Bar(tqdm):  # type: ignore[type-arg]
        monitor_interval = 0  # no monitoring thread: the bar is drawn on request

        @property
        def format_dict(self) -> dict[str, Any]:
            """Return the values for the format: tqdm's own rate is not in binary units."""
            fields = dict(super().format_dict)
            rate = fields["rate"] or fields["n"] / max(fields["elapsed"], REFRESH)
            speed = f"{size_text(rate)}/s" if self.unit_scale else f"{rate:.1f}{self.unit}/s"
            return {**fields, "speed": speed}

    Bar.set_lock(threading.RLock())  # otherwise tqdm creates a lock that processes can share
    is_believed = columns_of(stream) >= NARROWEST
    bar = Bar(
        file=Leftmost(stream),
        position=0,
        leave=False,
        unit_divisor=1024,
        dynamic_ncols=is_believed,
        ncols=None if is_believed else USUAL_COLUMNS,
        ascii=not speaks_unicode(),
        mininterval=0,
        miniters=0,
        delay=1e-9,  # nothing is drawn before the first update
    )
    bar.start_t -= seconds
    bar.last_print_t -= seconds
    return bar


def columns_of(stream: StandardError) -> int:
    """Return the width of the terminal; 0 if it is not known."""
    try:
        return os.get_terminal_size(stream.fileno()).columns
    except OSError:
        return 0


class Leftmost:
    """Standard error, with the cursor returned to the left after each drawing.

    Other output to this terminal, such as events through `tee`, then begins in the first column.
    """

    def __init__(self, stream: StandardError) -> None:
        self._stream = stream
        self.fileno = stream.fileno
        self.flush = stream.flush

    def write(self, text: str) -> int:
        """Write a drawing."""
        return self._stream.write(f"{text}\x1b[K\r" if text.strip("\r\n") else "")


def name_of(message: Message) -> str:
    """Return the bar's name of a file: its own name, its manifest's, or that of the command."""
    path = getattr(message, "path", None) or getattr(message, "manifest", None)
    program = (getattr(message, "command", None) or [""])[0]
    name = shown(os.path.basename(path or program))
    return name if len(name) <= LONGEST_NAME else name[: LONGEST_NAME - 1] + "…"


def speaks_unicode() -> bool:
    """Return whether the terminal can show characters other than ASCII."""
    from locale import getpreferredencoding

    return getpreferredencoding(False).lower().replace("-", "") == "utf8"


def position(at: Progress) -> tuple[int, int | None, int]:
    """Return the state of a run: (done, total, bytes of the file moved).

    In bytes if the size of the file is known, otherwise in chunks.
    """
    if isinstance(at, UploadProgress):
        return at.read_bytes, at.total_bytes, at.read_bytes
    if isinstance(at, VerifyProgress):
        return at.fetched_chunks, at.total_chunks, at.fetched_bytes
    if at.total_bytes is not None:
        return at.written_bytes, at.total_bytes, at.written_bytes
    return at.fetched_chunks, at.total_chunks, at.written_bytes


def details(at: Progress) -> list[str]:
    """Return the bytes moved to or from the store."""
    if isinstance(at, UploadProgress):
        return [f"{size_text(at.stored_bytes)} stored"]
    return [f"{size_text(at.fetched_bytes)} fetched"]


def size_text(size: float) -> str:
    """Return a number of bytes for people."""
    unit = 0
    while size >= 1000 and unit < len(UNITS) - 1:  # never four digits before the decimal point
        size /= 1024
        unit += 1
    return f"{size:.0f} B" if not unit else f"{size:.1f} {UNITS[unit]}"


UNITS = ("B", "KiB", "MiB", "GiB", "TiB", "PiB")


def count_text(count: int, one: str, many: str) -> str:
    """Return a number with its noun."""
    return f"{count} {one if count == 1 else many}"
