"""One session of a hundred thousand messages, with faults, cancels and lines that are no message.

    python3 tools/test.py tests/soak/test_session_soak.py --suite soak

takes some minutes (``STORE_WORKERS_SOAK_MESSAGES`` says how many messages) and prints its figures.
What must hold: every message has one end, no other one's fault is its own, and what the process
holds after all of them is what it held after the first thousand: memory, threads, descriptors.
"""

from __future__ import annotations

import collections
import json
import os
import random
import threading
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from tests.support import faulty_server as faults
from tests.support.data import noise
from tests.support.faulty_server import FaultyServer, Rule
from tests.support.worker import Worker

if TYPE_CHECKING:
    from tests.support.faulty_server import Exchange

MESSAGES = int(os.environ.get("STORE_WORKERS_SOAK_MESSAGES", "100000"))
SEED = int(os.environ.get("STORE_WORKERS_SOAK_SEED", "14"))
SETTLED_AFTER = min(1000, MESSAGES // 2)
FILES = 500
ROOM = 500  # messages that the owner lets be under way: the worker would take twice as many
TO_HTTP, FAULTY = 0.01, 0.05  # of the messages, and of the requests
TERMINAL = {"FILE_UPLOADED", "FILE_DOWNLOADED", "ERROR"}


class SessionSoak:
    """The owner: sends at random, counts the ends, and looks at the process."""

    def __init__(self, folder: Path) -> None:
        self._chance, self._faulty = random.Random(SEED), random.Random(SEED)
        self._folder = folder
        self._files = [folder / f"file-{number}" for number in range(FILES)]
        for number, path in enumerate(self._files):
            path.write_bytes(noise(10_240, seed=number))
        self._server = FaultyServer(Rule(self._maybe))
        self._room = threading.Semaphore(ROOM)
        self._hashes: dict[str, list[str]] = {}
        self._sent: set[str] = set()
        self.expected: dict[str, set[str]] = {}
        self.counts: collections.Counter[str] = collections.Counter()
        self.held: list[dict[str, int]] = []

    def run(self) -> None:
        start = {
            "type": "SESSION_START",
            "store": str(self._folder / "store"),
            "max_files": 8,
            "settings": {
                "progress_interval_ms": 0,
                "chunk_events": False,
                "retry_delay_ms": 5,
                "retry_max_delay_ms": 50,
                "timeout_ms": 2000,
                "create_store": True,
            },
        }
        with self._server, Worker(start, close_stdin=False, read=False) as worker:
            self._pid = worker.pid
            reader = threading.Thread(target=self._read, args=(worker,))
            reader.start()
            for number in range(MESSAGES):
                self._room.acquire()
                self._send_one(worker, number)
            worker.stdin.close()
            reader.join(120)
            run = worker.finish(60, check=False)
        assert b"Traceback" not in run.stderr
        assert self.end["files"] == self.counts["accepted"], self.end
        assert self.end["failed"] == self.counts["ERROR"], self.end
        assert run.status == (1 if self.counts["ERROR"] else 0)

    def _send_one(self, worker: Worker, number: int) -> None:
        chance, id = self._chance.random(), str(number)
        if chance < 0.01:
            worker.send({"type": "UPLOAD_START", "id": id, "colour": "red"})
            return
        self.counts["accepted"] += 1
        if chance < 0.02:
            worker.send({"type": "UPLOAD_START", "id": id, "path": "/nonexistent/file"})
            return
        path = self._chance.choice(self._files)
        message: dict[str, Any] = {"type": "UPLOAD_START", "id": id, "path": str(path)}
        if chance < 0.02 + TO_HTTP:
            message["store"] = self._server.url
        elif chance < 0.2 and path.name in self._hashes:
            target = self._folder / f"target-{number % 50}"
            message |= {"type": "DOWNLOAD_START", "path": str(target)}
            message["hashes"] = self._hashes[path.name]
        worker.send(message)
        if chance > 0.98:
            worker.send({"type": "CANCEL", "id": id})
            self.counts["cancels"] += 1

    def _read(self, worker: Worker) -> None:
        try:
            self._read_events(worker)
        except BaseException as failure:
            self.failure = failure
            worker.signal(9)
            for _ in range(MESSAGES):
                self._room.release()
            raise

    def _read_events(self, worker: Worker) -> None:
        rest = b""
        ended = 0
        while block := worker.stdout.read(65536):
            *lines, rest = (rest + block).split(b"\n")
            for event in map(json.loads, lines):
                if event["type"] == "SESSION_ENDED":
                    self.end = event
                    continue
                self.counts[event["type"]] += 1
                if event["type"] not in TERMINAL:
                    continue
                assert event["id"] not in self._sent, "two ends"
                self._sent.add(event["id"])
                if event["type"] == "FILE_UPLOADED" and event["store"].startswith("/"):
                    self._hashes[Path(event["path"]).name] = event["hashes"]
                elif event["type"] == "ERROR":
                    self.counts[event["code"]] += 1
                ended += 1
                self._room.release()
                if ended in (SETTLED_AFTER, MESSAGES - ROOM) or ended % 10_000 == 0:
                    self.held.append(self._holding())

    def _holding(self) -> dict[str, int]:
        status = Path(f"/proc/{self._pid}/status").read_text()
        fields = dict(line.split(":", 1) for line in status.splitlines())
        return {
            "peak_kib": int(fields["VmHWM"].split()[0]),
            "threads": int(fields["Threads"]),
            "descriptors": len(os.listdir(f"/proc/{self._pid}/fd")),
        }

    def _maybe(self, exchange: Exchange) -> None:
        if self._faulty.random() >= FAULTY:
            exchange.receive()
            exchange.send(exchange.honest())
            return
        kinds = [faults.status(503), faults.status(500), faults.broken(where="answer", reset=True)]
        self.counts["faults"] += 1
        self._faulty.choice(kinds)(exchange)


@pytest.mark.by_command("soak")
@pytest.mark.timeout(1200 + MESSAGES // 50)
def test_session_soak(tmp_path: Path) -> None:
    soak = SessionSoak(tmp_path)
    soak.run()
    figures = f"{MESSAGES} messages, {dict(soak.counts)}; held {soak.held}"
    print(f"\nsession soak: seed {SEED}, {figures}")  # noqa: T201 - its figures
    first, last = soak.held[0], soak.held[-1]
    assert last["peak_kib"] <= first["peak_kib"] * 1.1, soak.held
    assert last["threads"] <= first["threads"] + 8
    assert last["descriptors"] <= first["descriptors"] + 16
    assert not list(tmp_path.rglob(".store-workers-*"))
    codes = {code for code in soak.counts if code.isupper()} - {*TERMINAL, "CHUNK_RETRY"}
    assert codes <= {"BAD_MESSAGE", "FILE_NOT_FOUND", "CANCELLED"}, soak.counts
