#!/usr/bin/env python3
"""Own workers from asyncio: as many at once as one likes, each with its own limit of time.

    owner_asyncio.py upload   FILE STORE [SECONDS]
    owner_asyncio.py download FILE STORE MANIFEST [SECONDS]

An upload prints the file's manifest: the one hash that gets it back. SECONDS limits the whole
transfer. STORE_WORKERS names the worker (default: store-workers.pyz here).

FILE may be a FIFO. Then SECONDS is all that bounds how long it waits for its other end, and what
was taken from it, or written to it, is not sent again: `retryable` is false.

Exit status: 0 done, 1 failed, 124 out of time, 130 or 143 cancelled by Ctrl-C or SIGTERM.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import signal
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable

WORKER = os.environ.get("STORE_WORKERS", "store-workers.pyz")
RUNS, PAUSE = 5, 1.0  # how often a message is sent, and the first pause in between, in seconds
GRACE = 5.0  # seconds that a worker gets to stop by itself
LONGEST_LINE = 1 << 28  # bytes of an event: one with all hashes of a large file is long

Event = dict[str, Any]


async def transfer(message: Event, on_event: Callable[[Event], None]) -> Event:
    """Send a message until it is done or cannot be; return the last event.

    Cancelling the task stops the worker. What it stored stays: sending the message again goes on
    from there.
    """
    last: Event = {}
    for number in range(RUNS):
        if number:
            await asyncio.sleep(PAUSE * 2 ** (number - 1))
        last = await run_once(message, on_event)
        if last["type"] != "ERROR" or not last["retryable"]:
            break
    return last


async def run_once(message: Event, on_event: Callable[[Event], None]) -> Event:
    """Run one worker; return its last event."""
    # A session of its own: Ctrl-C reaches this owner alone, which then asks the worker to stop.
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        WORKER,
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
        limit=LONGEST_LINE,
        start_new_session=True,
    )
    assert process.stdin
    assert process.stdout
    last: Event = {}
    try:
        with contextlib.suppress(ConnectionError):  # it ended early: its last line says why
            process.stdin.write(json.dumps(message).encode() + b"\n")
            await process.stdin.drain()
            process.stdin.close()
        async for line in process.stdout:
            last = json.loads(line)
            on_event(last)
        status = await process.wait()
    finally:
        await stop(process)
    if last.get("type") not in {"FILE_UPLOADED", "FILE_DOWNLOADED", "ERROR"}:
        text = f"the worker ended without a last event, with status {status}"
        again = can_be_repeated(Path(message["path"]))
        return {"type": "ERROR", "code": "CANCELLED", "message": text, "retryable": again}
    return last


def can_be_repeated(path: Path) -> bool:
    """Tell whether a lost run can be: what it took from a pipe, or wrote to one, is gone."""
    return path.is_file() or not path.exists()


async def stop(process: asyncio.subprocess.Process) -> None:
    """Ask a worker to stop, if it still runs, and see to it that it does."""
    if process.returncode is not None:
        return
    with contextlib.suppress(ProcessLookupError):
        process.terminate()
    assert process.stdout
    try:
        # Read on: a worker that nobody listens to could not tell its end.
        await asyncio.wait_for(asyncio.gather(process.stdout.read(), process.wait()), GRACE)
    except asyncio.TimeoutError:
        process.kill()
        await process.wait()


def show(event: Event) -> None:
    """Show a person how far it is."""
    if event["type"] == "PROGRESS" and "read_bytes" in event:
        total = event["total_bytes"]
        share = f" of {total}" if total is not None else ""
        print(f"read {event['read_bytes']}{share} bytes", file=sys.stderr)
    elif event["type"] == "PROGRESS":
        print(f"fetched {event['fetched_chunks']} of {event['total_chunks']}", file=sys.stderr)
    elif event["type"] in {"CHUNK_RETRY", "WARNING"}:
        print(f"{event['code']}: {event['message']}", file=sys.stderr)


def message_for(action: str, file: str, store: str, manifest: str) -> Event:
    """Return what the worker is asked to do."""
    settings = {"max_attempts": 3, "progress_interval_ms": 500}
    message: Event = {"path": file, "store": store, "settings": settings}
    if action == "upload":
        return {"type": "UPLOAD_START", "manifest": True, **message}
    return {"type": "DOWNLOAD_START", "manifest": manifest, **message}


async def main(action: str, file: str, store: str, *more: str) -> int:
    """Transfer one file; return the exit status."""
    manifest, limit = ("", *more, "0")[:2] if action == "upload" else (*more, "0")[:2]
    message = message_for(action, file, store, manifest)
    task = asyncio.ensure_future(transfer(message, show))
    stopped_by: list[int] = []

    def cancel(number: int) -> None:
        if not stopped_by:  # once: cancelling again would cut the stopping short
            stopped_by.append(number)
            task.cancel()

    for number in (signal.SIGINT, signal.SIGTERM):
        asyncio.get_running_loop().add_signal_handler(number, cancel, number)
    try:
        last = await asyncio.wait_for(task, float(limit) or None)
    except asyncio.TimeoutError:
        print(f"out of time after {limit} s", file=sys.stderr)
        return 124
    except asyncio.CancelledError:
        print("cancelled", file=sys.stderr)
        return 128 + stopped_by[0]
    if last["type"] == "ERROR":
        print(f"{last['code']}: {last['message']}", file=sys.stderr)
        return 1
    if action == "upload":
        print(last["manifest"])
    print(f"{action}ed {last['size']} bytes in {last['duration_ms'] / 1000} s", file=sys.stderr)
    return 0


if __name__ == "__main__":
    sys.exit(asyncio.run(main(*sys.argv[1:])))
