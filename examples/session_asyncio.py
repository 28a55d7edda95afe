#!/usr/bin/env python3
"""Own one worker for many files from asyncio: a class with `await store.upload(path)`.

    session_asyncio.py STORE SECONDS FILE...

Uploads every file by one session and prints `<manifest>  <path>` for each, as sha256sum does.
SECONDS limits each file's time (0: no limit). STORE_WORKERS names the worker.

Exit status: 0 all done, 1 some failed, 130 or 143 cancelled by Ctrl-C or SIGTERM.
"""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import json
import os
import signal
import sys
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from typing_extensions import Self

WORKER = os.environ.get("STORE_WORKERS", "store-workers.pyz")
GRACE = 5.0  # seconds that a worker gets to stop by itself
LONGEST_LINE = 1 << 28  # bytes of an event: one with all hashes of a large file is long
AT_ONCE = 100  # messages that this program has under way: the worker would take 1000

TERMINAL = {"FILE_UPLOADED", "FILE_DOWNLOADED", "FILE_VERIFIED", "ERROR"}

Event = dict[str, Any]


class TransferFailed(Exception):
    """A message ended in an ERROR: `event` has its code, and whether sending it again may help."""

    def __init__(self, event: Event) -> None:
        super().__init__(f"{event['code']}: {event['message']}")
        self.event = event


class Session:
    """One worker that moves many files.

    async with Session("chunks") as store:
        manifest = (await store.upload("photo.jpg"))["manifest"]
        await store.download(manifest, "copy.jpg")

    Any number of calls may be awaited at once: a worker that has enough to do makes them wait.
    A call that is cancelled, or timed out (`asyncio.wait_for`), stops its file and no other.
    """

    def __init__(self, store: str, **more: Any) -> None:
        settings = {"progress_interval_ms": 0, "chunk_events": False}
        self._start = {"type": "SESSION_START", "store": store, "settings": settings, **more}
        self._ids = map(str, itertools.count())
        self._ends: dict[str, asyncio.Future[Event]] = {}
        self._lost: Event | None = None  # set once the worker has ended
        self._writing = asyncio.Lock()

    async def upload(self, path: str, **more: Any) -> Event:
        """Upload a file; return its FILE_UPLOADED, or raise `TransferFailed`."""
        return await self.run({"type": "UPLOAD_START", "path": path, "manifest": True, **more})

    async def download(self, manifest: str, path: str, **more: Any) -> Event:
        """Download a file; return its FILE_DOWNLOADED, or raise `TransferFailed`."""
        message = {"type": "DOWNLOAD_START", "path": path, "manifest": manifest}
        return await self.run({**message, **more})

    async def run(self, message: Event) -> Event:
        """Have one message done; return its last event."""
        if self._lost is not None:
            raise TransferFailed(self._lost)
        id = next(self._ids)
        end = self._ends[id] = asyncio.get_running_loop().create_future()
        try:
            await self._send({**message, "id": id})
            event: Event = await asyncio.shield(end)
        except asyncio.CancelledError:
            await self._send({"type": "CANCEL", "id": id})
            await end  # it leaves nothing half done behind
            raise
        finally:
            self._ends.pop(id, None)
        if event["type"] == "ERROR":
            raise TransferFailed(event)
        return event

    async def __aenter__(self) -> Self:
        # A session of its own: Ctrl-C reaches this owner alone, which then asks the worker to stop.
        self._process = await asyncio.create_subprocess_exec(
            sys.executable,
            WORKER,
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
            limit=LONGEST_LINE,
            start_new_session=True,
        )
        self._reader = asyncio.ensure_future(self._read())
        await self._send(self._start)
        return self

    async def __aexit__(self, kind: object, *_error: object) -> None:
        """End the session: in order, or at once where an exception leaves the block."""
        assert self._process.stdin
        self._process.stdin.close()
        if kind is not None:
            with contextlib.suppress(ProcessLookupError):
                self._process.terminate()
        try:
            limit = None if kind is None else GRACE
            await asyncio.wait_for(asyncio.shield(self._reader), limit)
        except asyncio.TimeoutError:
            self._process.kill()
        await self._process.wait()

    async def _send(self, message: Event) -> None:
        """Write one line, in the order of the calls; waits while the worker does not read."""
        assert self._process.stdin
        with contextlib.suppress(ConnectionError):  # it ended: the reader tells all who wait
            self._process.stdin.write(json.dumps(message).encode() + b"\n")
            async with self._writing:
                await self._process.stdin.drain()

    async def _read(self) -> None:
        """Hand each message's last event to whoever awaits it."""
        assert self._process.stdout
        last: Event = {"code": "CANCELLED", "message": "the worker was lost", "retryable": True}
        try:
            async for line in self._process.stdout:
                if not line.endswith(b"\n"):
                    break  # it was killed in the middle of a line
                event = json.loads(line)
                if event["type"] in {"CHUNK_RETRY", "WARNING"}:
                    print(f"{event['code']}: {event['message']}", file=sys.stderr)
                elif event["type"] == "ERROR" and "id" not in event:
                    last = event  # the session's own: what is not ended ends with it
                elif event["type"] in TERMINAL and event.get("id") in self._ends:
                    self._end(event["id"], event)
        finally:
            self._lost = {**last, "type": "ERROR"}
            for id in list(self._ends):
                self._end(id, self._lost)

    def _end(self, id: str, event: Event) -> None:
        if not self._ends[id].done():
            self._ends[id].set_result(event)


async def upload_all(store: str, seconds: float, paths: list[str]) -> int:
    """Upload files by one session; return how many failed."""
    room = asyncio.Semaphore(AT_ONCE)
    async with Session(store, max_files=8) as session:

        async def upload(path: str) -> bool:
            async with room:
                try:
                    done = await asyncio.wait_for(session.upload(path), seconds or None)
                except asyncio.TimeoutError:
                    print(f"{path}: out of time", file=sys.stderr)
                    return False
                except TransferFailed as failed:
                    print(f"{path}: {failed}", file=sys.stderr)
                    return False
            print(f"{done['manifest']}  {path}")
            return True

        return (await asyncio.gather(*map(upload, paths))).count(False)


async def main(store: str, seconds: str, *paths: str) -> int:
    """Upload files, stop when asked to; return the exit status."""
    task = asyncio.ensure_future(upload_all(store, float(seconds), list(paths)))
    stopped_by: list[int] = []

    def cancel(number: int) -> None:
        if not stopped_by:
            stopped_by.append(number)
            task.cancel()

    for number in (signal.SIGINT, signal.SIGTERM):
        asyncio.get_running_loop().add_signal_handler(number, cancel, number)
    try:
        return 1 if await task else 0
    except asyncio.CancelledError:
        print("cancelled", file=sys.stderr)
        return 128 + stopped_by[0]


if __name__ == "__main__":
    sys.exit(asyncio.run(main(*sys.argv[1:])))
