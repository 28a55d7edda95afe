#!/usr/bin/env python3
"""Store the output of a command every night, and restore one of these dumps.

    dump.py save    STORE LIST COMMAND [ARGUMENT...]
    dump.py restore STORE MANIFEST FILE

`save` appends a line `<manifest>  <time> <command>` to LIST if the command ended with status 0 and
all of its output is durable in the store, and only then. `restore` writes FILE. If it is stopped,
or the store fails, the part that was written is kept beside FILE, and the next run continues there.

Both send their message again if the error is `retryable`: a command can be run again, and a
download with `resume` continues. STORE_WORKERS names the worker (default: store-workers.pyz here).

Exit status: 0 success, 1 failure, with the reason on stderr.
"""

from __future__ import annotations

import json
import os
import shlex
import subprocess
import sys
import time
from typing import Any

WORKER = os.environ.get("STORE_WORKERS", "store-workers.pyz")
RUNS, PAUSE = 5, 1.0  # how often a message is sent, and the first pause in between, in seconds
# Only the last line is read, and what fails three times is left to the next run.
SETTINGS = {"chunk_events": False, "progress_interval_ms": 0, "max_attempts": 3}

Event = dict[str, Any]


def run(message: Event) -> Event:
    """Send the message until it succeeds or cannot succeed; return the last event."""
    for number in range(RUNS):
        last = run_once(message)
        if last["type"] != "ERROR" or not last["retryable"] or number == RUNS - 1:
            break
        print(f"{last['code']}: {last['message']}; trying again", file=sys.stderr)
        time.sleep(PAUSE * 2**number)
    return last


def run_once(message: Event) -> Event:
    """Run one worker; return its last event. What the command writes to stderr is passed on."""
    line = json.dumps({**message, "settings": SETTINGS}) + "\n"
    worker = subprocess.run(
        [sys.executable, WORKER], input=line.encode(), stdout=subprocess.PIPE, check=False
    )
    events = [json.loads(event) for event in worker.stdout.splitlines()]
    if not events or events[-1]["type"] not in {"FILE_UPLOADED", "FILE_DOWNLOADED", "ERROR"}:
        text = f"the worker ended without a last event, with status {worker.returncode}"
        return {"type": "ERROR", "code": "CANCELLED", "message": text, "retryable": True}
    last: Event = events[-1]
    return last


def save(store: str, listed: str, *command: str) -> str:
    """Store the output of a command, and note its manifest; return a sentence about it."""
    last = run({"type": "UPLOAD_START", "command": command, "store": store, "manifest": True})
    check(last)
    now = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())
    with open(listed, "a", encoding="utf-8") as file:
        file.write(f"{last['manifest']}  {now} {shlex.join(command)}\n")
        file.flush()
        os.fsync(file.fileno())
    return f"stored {last['size']} bytes, {last['new_bytes']} of them new in the store"


def restore(store: str, manifest: str, path: str) -> str:
    """Write the file of a manifest; return a sentence about it."""
    message = {"type": "DOWNLOAD_START", "path": path, "store": store, "manifest": manifest}
    last = run({**message, "resume": True})
    check(last)
    return f"restored {last['size']} bytes, {last['resumed_bytes']} of them from an earlier run"


def check(last: Event) -> None:
    """End the program with the reason if the last event is an error."""
    if last["type"] == "ERROR":
        sys.exit(f"{last['code']}: {last['message']}")


def main(action: str = "", *arguments: str) -> None:
    """Do what the command line asks for."""
    if action == "save" and len(arguments) >= 3:
        print(save(*arguments), file=sys.stderr)
    elif action == "restore" and len(arguments) == 3:
        print(restore(*arguments), file=sys.stderr)
    else:
        sys.exit((__doc__ or "").split("\n\n")[1])


if __name__ == "__main__":
    main(*sys.argv[1:])
