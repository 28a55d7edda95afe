#!/usr/bin/env python3
"""Own a worker from plain Python: subprocess, threads and signals, nothing but the library.

    owner_subprocess.py upload   FILE STORE [SECONDS]
    owner_subprocess.py download FILE STORE MANIFEST [SECONDS]

An upload prints the file's manifest: the one hash that gets it back. SECONDS limits the whole
transfer. STORE_WORKERS names the worker (default: store-workers.pyz here).

FILE may be a FIFO. Then SECONDS is all that bounds how long it waits for its other end, and what
was taken from it, or written to it, is not sent again: `retryable` is false.

Exit status: 0 done, 1 failed, 124 out of time, 130 or 143 cancelled by Ctrl-C or SIGTERM.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable

WORKER = os.environ.get("STORE_WORKERS", "store-workers.pyz")
RUNS, PAUSE = 5, 1.0  # how often a message is sent, and the first pause in between, in seconds
GRACE = 5.0  # seconds that a worker gets to stop by itself

Event = dict[str, Any]


class Transfer:
    """One message's way through as many workers as it takes."""

    def __init__(self, message: Event, on_event: Callable[[Event], None]) -> None:
        self.message = message
        self.on_event = on_event
        self.stopped = threading.Event()
        self.status = 0  # what to exit with once it was stopped
        self.process: subprocess.Popen[str] | None = None

    def run(self, limit: float | None = None) -> Event:
        """Send the message until it is done, cannot be, or was stopped; return the last event."""
        timer = threading.Timer(limit or 0, self.stop, [124])
        timer.daemon = True
        if limit:
            timer.start()
        try:
            for number in range(1, RUNS + 1):
                last = self.run_once()
                if last["type"] != "ERROR" or not last["retryable"] or number == RUNS:
                    return last
                # The next run finds what this one stored: nothing is sent twice.
                if self.stopped.wait(PAUSE * 2 ** (number - 1)):
                    return last
            raise AssertionError("unreachable")
        finally:
            timer.cancel()

    def run_once(self) -> Event:
        """Run one worker; return its last event."""
        if self.stopped.is_set():
            return self.lost(self.status)
        # A session of its own: Ctrl-C reaches this owner alone, which then asks the worker to stop.
        process = self.process = subprocess.Popen(
            [sys.executable, WORKER],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            encoding="utf-8",
            start_new_session=True,
        )
        last: Event = {}
        with process:
            assert process.stdin
            assert process.stdout
            if self.stopped.is_set():  # in the very moment in which the worker was started
                process.terminate()
            try:
                process.stdin.write(json.dumps(self.message) + "\n")
                process.stdin.close()
            except BrokenPipeError:
                pass  # its last line says why
            for line in process.stdout:
                last = json.loads(line)
                self.on_event(last)
        if last.get("type") not in {"FILE_UPLOADED", "FILE_DOWNLOADED", "ERROR"}:
            return self.lost(process.returncode)  # killed, say for want of memory
        return last

    def lost(self, status: int) -> Event:
        """Return the event of a worker that ended without one."""
        text = f"the worker ended without a last event, with status {status}"
        # What it took from a pipe, or wrote to one, is gone: only a file can be begun again.
        path = Path(self.message["path"])
        again = path.is_file() or not path.exists()
        return {"type": "ERROR", "code": "CANCELLED", "message": text, "retryable": again}

    def stop(self, status: int) -> None:
        """Ask the worker to stop, and see to it that it does. Safe in a signal's handler."""
        self.status = self.status or status
        self.stopped.set()
        process = self.process
        if process is not None and process.poll() is None:
            process.terminate()
            killer = threading.Timer(GRACE, process.kill)
            killer.daemon = True
            killer.start()


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


def main(action: str, file: str, store: str, *more: str) -> int:
    """Transfer one file; return the exit status."""
    manifest, limit = ("", *more, "0")[:2] if action == "upload" else (*more, "0")[:2]
    transfer = Transfer(message_for(action, file, store, manifest), show)
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda signum, _frame: transfer.stop(128 + signum))
    started = time.monotonic()
    last = transfer.run(float(limit) or None)
    if last["type"] == "ERROR":
        print(f"{last['code']}: {last['message']}", file=sys.stderr)
        return transfer.status or 1
    if action == "upload":
        print(last["manifest"])
    print(f"{action}ed {last['size']} bytes in {time.monotonic() - started:.1f} s", file=sys.stderr)
    return 0


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
