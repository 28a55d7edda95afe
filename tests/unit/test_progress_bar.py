"""The progress bar: what it draws and when, without a terminal."""

from __future__ import annotations

import re
from typing import Any

import pytest

from store_workers.errors import ErrorCode
from store_workers.people.progress_bar import ProgressBar, position, size_text
from store_workers.people.standard_error import StandardError
from store_workers.wire.events import (
    ChunkRetry,
    ChunkStored,
    DownloadProgress,
    ErrorEvent,
    FileDownloaded,
    FileUploaded,
    SessionEnded,
    UploadProgress,
)
from store_workers.wire.messages import DownloadStart, MessageType, UploadStart

HASH = "0" * 64
UPLOAD = UploadStart(type=MessageType.UPLOAD_START, path="/data/big.tar")
STORED = ChunkStored(index=0, hash=HASH, size=1, new=True, attempts=1)


class Screen(StandardError):
    """Records what is written."""

    def __init__(self) -> None:
        super().__init__(-1)
        self.written: list[str] = []

    def write(self, text: str) -> int:
        self.written.append(text)
        return len(text)


class Clock:
    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture(autouse=True)
def library_clock(monkeypatch: pytest.MonkeyPatch) -> None:
    """Stop the clock of the bar's library, which would count what drawing itself takes."""
    monkeypatch.setattr("tqdm.std.time", lambda: 1000.0)


def bar_at(progress: UploadProgress | DownloadProgress, message: object = UPLOAD) -> str:
    screen, clock = Screen(), Clock()
    bar = ProgressBar(screen, on_screen=False, clock=clock)
    bar.begin(message, "store", lambda: progress)  # type: ignore[arg-type]
    clock.now += 2
    bar.tick()
    drawn = "".join(screen.written)
    assert drawn.startswith("\r")
    assert drawn.endswith("\x1b[K\r")
    return drawn[1:-4].rstrip()


UP = UploadProgress(
    concurrency=8,
    read_bytes=25 << 20,
    total_bytes=100 << 20,
    stored_bytes=10 << 20,
    stored_chunks=9,
)


def changed(progress: UploadProgress | DownloadProgress, **fields: object) -> Any:
    return type(progress)(**{**vars(progress), **fields})


def test_upload_of_known_size() -> None:
    line = bar_at(UP)
    assert re.match(r"big\.tar:  25%\|", line)
    assert "| 25.0M/100M [" in line
    assert line.endswith(", 12.5 MiB/s, 10.0 MiB stored]")
    assert len(line) <= 80


@pytest.mark.parametrize("total", [None, 0])
def test_upload_of_unknown_size(total: int | None) -> None:
    line = bar_at(changed(UP, total_bytes=total))
    assert re.match(r"big\.tar: 25\.0MiB \[", line)
    assert "%" not in line


def test_download_by_size_and_by_chunks() -> None:
    at = DownloadProgress(
        concurrency=8,
        fetched_bytes=5 << 20,
        fetched_chunks=10,
        total_chunks=40,
        total_bytes=None,
        written_bytes=8 << 20,
    )
    sized = changed(at, total_bytes=16 << 20)
    assert position(sized) == (8 << 20, 16 << 20, 8 << 20)
    assert position(at) == (10, 40, 8 << 20)
    message = DownloadStart(type=MessageType.DOWNLOAD_START, path="copy", hashes=(HASH,) * 40)
    assert re.match(r"copy:  25%\|.*\| 10/40 \[.* chunks/s, 5.0 MiB fetched\]", bar_at(at, message))
    assert re.match(r"copy:  50%\|.*\| 8.00M/16.0M \[", bar_at(sized, message))


def test_many_files_are_counted() -> None:
    screen, clock = Screen(), Clock()
    bar = ProgressBar(screen, on_screen=False, tells_files=False, clock=clock)
    for id in ("a", "b", "c"):
        message = UploadStart(type=MessageType.UPLOAD_START, path=id, id=id)
        bar.begin(message, "store", lambda: UP)
    bar.after(uploaded("a"), "a")
    assert screen.written == []
    clock.now += 2
    bar.tick()
    assert "1 file done: 75.0MiB [" in screen.written[0]
    assert "2 under way]" in screen.written[0]
    bar.after(SessionEnded(files=3, failed=1, duration_ms=2000), None)
    assert screen.written[-1] == "3 files in 2.0 s, 1 of them failed\n"


def test_names_are_cut_and_made_printable() -> None:
    message = UploadStart(type=MessageType.UPLOAD_START, path="/x/" + "y" * 50 + "\x1b[31m")
    at = UploadProgress(
        concurrency=8, read_bytes=0, total_bytes=None, stored_bytes=0, stored_chunks=0
    )
    line = bar_at(at, message)
    assert "\x1b" not in line
    assert line.startswith("y" * 23 + "…")


def test_nothing_is_drawn_too_often_or_into_an_event() -> None:
    screen, clock = Screen(), Clock()
    bar = ProgressBar(screen, on_screen=True, clock=clock)
    at = UploadProgress(
        concurrency=8, read_bytes=0, total_bytes=None, stored_bytes=0, stored_chunks=0
    )
    bar.tick()
    assert screen.written == []  # nothing has begun
    bar.begin(UPLOAD, "store", lambda: at)
    clock.now += 1
    bar.tick()
    clock.now += 0.01
    bar.tick()
    assert len(screen.written) == 1
    clock.now += 1
    bar.before()
    bar.tick()
    assert screen.written[1:] == ["\r\x1b[K"]  # made room, drew nothing
    bar.after(STORED, None)
    bar.tick()
    assert len(screen.written) == 3


def test_event_that_was_never_finished_blocks_nothing() -> None:
    clock = Clock()
    bar = ProgressBar(Screen(), on_screen=True, clock=clock)
    bar.before()
    bar.before()
    bar.after(STORED, None)
    bar.close()


def uploaded(path: str) -> FileUploaded:
    return FileUploaded(
        path=path,
        store="s",
        size=4 << 20,
        compressed_size=1 << 20,
        chunks=2,
        hashes=(HASH, HASH),
        new_chunks=1,
        new_bytes=1 << 19,
        changed=False,
        duration_ms=2000,
    )


def summary(event: FileUploaded | FileDownloaded | ErrorEvent, retries: int = 0) -> str:
    screen, clock = Screen(), Clock()
    bar = ProgressBar(screen, on_screen=False, clock=clock)
    clock.now += 2
    for attempt in range(retries):
        bar.before()
        bar.after(
            ChunkRetry(
                index=0,
                hash=HASH,
                code=ErrorCode.STORE_UNAVAILABLE,
                message="m",
                attempt=attempt + 1,
                delay_ms=0,
            ),
            None,
        )
    bar.before()
    bar.after(event, None)
    return "".join(screen.written)


def test_summaries() -> None:
    assert summary(uploaded("a"), 2) == (
        "uploaded a: 4.0 MiB in 2.0 s (2.0 MiB/s), 1.0 MiB stored, 1 of 2 chunks new, 2 retries\n"
    )
    downloaded = FileDownloaded(
        path="b", store="s", size=10, compressed_size=10, chunks=1, duration_ms=1
    )
    assert summary(downloaded, 1) == (
        "downloaded b: 10 B in 2.0 s (5 B/s), 10 B fetched, 1 chunk, 1 retry\n"
    )
    error = ErrorEvent(code=ErrorCode.CANCELLED, message="stopped by SIGINT", retryable=True)
    assert summary(error) == "failed after 2.0 s: CANCELLED: stopped by SIGINT\n"


@pytest.mark.parametrize(
    ("size", "text"),
    [
        (0, "0 B"),
        (999, "999 B"),
        (1000, "1.0 KiB"),
        (1024, "1.0 KiB"),
        (1 << 20, "1.0 MiB"),
        (1023 << 20, "1.0 GiB"),
        (5 << 60, "5120.0 PiB"),
    ],
)
def test_sizes(size: int, text: str) -> None:
    assert size_text(size) == text
