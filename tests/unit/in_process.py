"""Runs of the workers in this process, composed as in the program, with a store in memory."""

from __future__ import annotations

import threading
import time
from queue import SimpleQueue
from typing import TYPE_CHECKING, Any

from store_workers.files.atomic_file import TemporaryFiles
from store_workers.stream.codec_threads import CodecThreads
from store_workers.threads import ThreadGroup
from store_workers.transfer.limiter import Limiter
from store_workers.transfer.retry import Retrier, RetryPolicy
from store_workers.wire.events import ChunkStored, FileDownloaded, FileUploaded, FileVerified
from store_workers.wire.messages import DownloadStart, VerifyStart, decode_message
from store_workers.workers.context import Context
from store_workers.workers.download import Download
from store_workers.workers.range_download import RangeDownload
from store_workers.workers.resumed_download import ResumedDownload
from store_workers.workers.upload import Upload
from store_workers.workers.verify import Verify

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from pathlib import Path

    from store_workers.errors import ChunkFailure
    from store_workers.stores.base import Store
    from store_workers.wire.events import Event
    from store_workers.workers.context import Worker

TIMEOUT = 60


class InProcess:
    """One message in progress; `finish` waits for its end and releases all threads.

    `round_trip` is how many seconds a chunk took, as earlier messages have found.
    """

    def __init__(
        self,
        message: dict[str, Any],
        store: Store,
        *,
        threads: int = 2,
        sleep: Callable[[float], None] = lambda _seconds: None,
        round_trip: float | None = None,
    ) -> None:
        self.events: list[Event] = []
        self.retries: list[tuple[ChunkFailure, float]] = []
        self.files = TemporaryFiles()
        self._ended: SimpleQueue[BaseException | Event] = SimpleQueue()
        self.group = ThreadGroup(self._ended.put)
        decoded = decode_message(message)
        settings = decoded.settings
        limiter = Limiter(settings.concurrency)
        if round_trip is not None:
            limiter.took(round_trip)
        places = limiter.places(self.group, quick=store.properties.asking_is_free)
        retrier = Retrier(
            RetryPolicy.of(settings),
            places,
            lambda failure, pause: self.retries.append((failure, pause)),
            sleep=sleep,
        )
        context = Context(
            group=self.group,
            emit=self.events.append,
            store=store,
            places=places,
            store_name="memory",
            retrier=retrier,
            files=self.files,
            threads=CodecThreads(threads),
            is_first_in=lambda _directory: False,
        )
        self.worker: Worker
        if isinstance(decoded, DownloadStart) and decoded.resume:
            self.worker = ResumedDownload(decoded, context)
        elif isinstance(decoded, DownloadStart) and decoded.range is not None:
            self.worker = RangeDownload(decoded, decoded.range, context)
        elif isinstance(decoded, DownloadStart):
            self.worker = Download(decoded, context)
        elif isinstance(decoded, VerifyStart):
            self.worker = Verify(decoded, context)
        else:
            self.worker = Upload(decoded, context)
        self.group.start(lambda: self._ended.put(self.worker.run()), "work")

    def finish(self, timeout: float = TIMEOUT) -> FileUploaded | FileDownloaded | FileVerified:
        """Return the last event, or raise the failure of the run."""
        end = self._ended.get(timeout=timeout)
        self.group.when_over(self.worker.close)
        self.group.close(timeout)
        self.files.close()
        if isinstance(end, BaseException):
            raise end
        assert isinstance(end, (FileUploaded, FileDownloaded, FileVerified))
        return end

    def told(self) -> list[ChunkStored]:
        """Return the reported chunks, in the order of the stream."""
        chunks = [event for event in self.events if isinstance(event, ChunkStored)]
        return sorted(chunks, key=lambda chunk: chunk.index)


def upload(
    path: Path | str,
    store: Store,
    *,
    threads: int = 2,
    round_trip: float | None = None,
    **more: Any,
) -> FileUploaded:
    """Upload a file."""
    message = {"type": "UPLOAD_START", "path": str(path), **more}
    end = InProcess(message, store, threads=threads, round_trip=round_trip).finish()
    assert isinstance(end, FileUploaded)
    return end


def download(
    path: Path | str,
    store: Store,
    hashes: Sequence[str] = (),
    *,
    threads: int = 2,
    round_trip: float | None = None,
    **more: Any,
) -> FileDownloaded:
    """Download a file."""
    message = {"type": "DOWNLOAD_START", "path": str(path), **more}
    if hashes:
        message["hashes"] = list(hashes)
    end = InProcess(message, store, threads=threads, round_trip=round_trip).finish()
    assert isinstance(end, FileDownloaded)
    return end


def settled(count: Callable[[], int]) -> int:
    """Return a counter of other threads when it no longer changes.

    On a machine that stalls it can be too small, so it is suitable only for upper bounds.
    """
    seen = -1
    while (now := count()) != seen:
        seen = now
        time.sleep(0.1)
    return seen


def beside(work: Callable[[], object]) -> threading.Thread:
    """Start `work` on a thread of its own."""
    thread = threading.Thread(target=work, daemon=True)
    thread.start()
    return thread
