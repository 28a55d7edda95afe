"""Random files, settings, kills and faults at 5 % of all requests, against an oracle.

    python3 tools/test.py tests/soak --suite soak

takes ten minutes (``STORE_WORKERS_SOAK_SECONDS`` says otherwise) and prints its figures; the seed
stands among them, and ``STORE_WORKERS_SOAK_SEED`` repeats it.

What is random: the file, concurrency, level and threads; which requests fail and how; whether the
worker is killed, cancelled or left alone. What must hold, whatever happened: no run reports success
without it, what was told is in the store and genuine, no file is half, nothing is left over, and a
run that is left alone long enough gets there.
"""

from __future__ import annotations

import collections
import contextlib
import os
import random
import signal
import time
from typing import TYPE_CHECKING

import pytest

from tests.support import faulty_server as faults
from tests.support.data import KIB, MIB, mixed, noise, text
from tests.support.faulty_server import FaultyServer, Rule
from tests.support.reference import check_stored, digest
from tests.support.worker import Worker, download, upload

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path
    from typing import Any

    from tests.support.faulty_server import Exchange, Fault
    from tests.support.worker import Message, Run

SECONDS = float(os.environ.get("STORE_WORKERS_SOAK_SECONDS", "600"))
SEED = int(os.environ.get("STORE_WORKERS_SOAK_SEED", str(time.time_ns() % 1_000_000)))
FAULT_RATE = 0.05
TEMPORARY = ".store-workers-"

EITHER: list[Fault] = [
    *(faults.status(code) for code in (408, 429, 500, 502, 503, 504)),
    faults.status(503, retry_after="1"),
    *(faults.broken(where=where, reset=True) for where in ("head", "body", "answer")),
    *(faults.broken(where=where, reset=False) for where in ("head", "body", "answer")),
    *(faults.stalled(where=where) for where in ("head", "body", "answer")),
    faults.trickled(where="head", pause=0.2),
    faults.not_http(),
    faults.claimed_length(7),
    faults.endless(where="head"),
    faults.endless(where="trailer"),
    faults.honest_after(0.2),
]
ON_GET: list[Fault] = [
    faults.other_body(faults.flipped),
    faults.other_body(faults.halved),
    faults.claimed_length(-7),
    faults.endless(),
    faults.trickled(where="body", pause=0.2),
]
ON_PUT: list[Fault] = [faults.truncated_object(), faults.trickled(where="request", pause=0.2)]


class Soak:
    """The whole of it: a server that fails at random, and the count of what happened."""

    def __init__(self, folder: Path, chance: random.Random) -> None:
        self.folder = folder
        self.chance = chance
        self.counts: collections.Counter[str] = collections.Counter()
        self.server = FaultyServer(Rule(self._maybe))

    def _maybe(self, exchange: Exchange) -> None:
        """Fail one request in twenty, in one of all ways."""
        method = exchange.record.method
        self.counts["requests"] += 1
        if self.chance.random() >= FAULT_RATE:
            exchange.receive()
            exchange.send(exchange.honest())
            return
        more = {"GET": ON_GET, "PUT": ON_PUT}.get(method, [])
        fault = self.chance.choice(EITHER + more)
        self.counts["faults"] += 1
        fault(exchange)

    def settings(self) -> dict[str, Any]:
        chance = self.chance
        return {
            "timeout_ms": 500,
            "max_attempts": 12,
            "retry_delay_ms": chance.choice([1, 20, 100]),
            "retry_max_delay_ms": chance.choice([100, 300]),
            "concurrency": chance.choice([1, 2, 8, 32]),
            "compression_threads": chance.choice([0, 1, 3]),
            "progress_interval_ms": chance.choice([0, 1, 100]),
        }

    def content(self) -> bytes:
        chance = self.chance
        make = chance.choice([noise, mixed, text])
        size = chance.choice([0, 1, 4095, 4096, 600 * KIB, 5 * MIB, 12 * MIB])
        return make(max(0, size + chance.randrange(-3, 4)), seed=chance.randrange(1 << 30))

    def run(self, message: Message) -> Run | None:
        """Run one message, perhaps not to its end; None where it was cut off."""
        how = self.chance.choices(["whole", "kill", "cancel", "leave"], [70, 14, 8, 8])[0]
        self.counts["runs"] += 1
        with Worker(message, read=how != "leave") as worker:
            if how == "whole":
                return self._judge(worker.finish(120))
            time.sleep(self.chance.uniform(0.03, 0.8))
            self.counts[how] += 1
            if how == "kill":
                with contextlib.suppress(ProcessLookupError):
                    worker.signal(signal.SIGKILL)
                worker.finish(whole=False, check=False)
                return None
            started = time.monotonic()
            if how == "cancel":
                worker.signal(signal.SIGTERM)
                run = worker.finish(20, whole=False, check=False)
                assert time.monotonic() - started < 2.5, run
                assert run.status in {0, 1, 143, -15}, run
            else:
                worker.stdout.close()
                run = worker.finish(20, whole=False, check=False)
                assert time.monotonic() - started < 4, run
                assert run.status in {0, 1}, run
            return None

    def _judge(self, run: Run) -> Run:
        self.counts["retries"] += len(run.of("CHUNK_RETRY"))
        self.counts["succeeded" if run.status == 0 else "failed"] += 1
        if run.status:
            assert run.terminal["code"] in {"STORE_UNAVAILABLE", "CHUNK_CORRUPT"}, run
            assert run.terminal["attempts"] == 12, run
        return run


@pytest.fixture
def soak(tmp_path: Path) -> Iterator[Soak]:
    soak = Soak(tmp_path, random.Random(SEED))
    with soak.server:
        yield soak


@pytest.mark.by_command("soak")
@pytest.mark.timeout(SECONDS + 600)
def test_soak(soak: Soak, capsys: pytest.CaptureFixture[str]) -> None:
    end = time.monotonic() + SECONDS
    while time.monotonic() < end:
        one_file(soak)
    with capsys.disabled():
        counts = ", ".join(f"{number} {what}" for what, number in sorted(soak.counts.items()))
        print(f"\nsoak: seed {SEED}, {SECONDS:g} s: {counts}")  # noqa: T201 - its figures


def one_file(soak: Soak) -> None:
    """Get one file in and out, however often it takes."""
    soak.counts["files"] += 1
    soak.server.chunks.clear()
    content = soak.content()
    path, target = soak.folder / "file", soak.folder / "target"
    path.write_bytes(content)
    target.write_bytes(b"the old one")
    hashes = uploaded(soak, path, content)
    for _ in range(20):
        settings = soak.settings()
        run = soak.run(download(target, soak.server.url, hashes, settings=settings))
        found = target.read_bytes()
        assert found in {content, b"the old one"}, "half a file"
        left = [name for name in os.listdir(soak.folder) if name.startswith(TEMPORARY)]
        assert not left, left
        if run and run.status == 0:
            assert found == content, "a success that is none"
            return
    raise AssertionError("twenty downloads in a row failed")


def uploaded(soak: Soak, path: Path, content: bytes) -> list[str]:
    """Upload until it succeeds; return the hashes."""
    for _ in range(20):
        run = soak.run(upload(path, soak.server.url, settings=soak.settings()))
        with soak.server.lock:
            whole = {n for n, chunk in soak.server.chunks.items() if digest(chunk) == n}
        if run:
            told = {event["hash"] for event in run.of("CHUNK")}
            assert told <= whole, "told, and not in the store"
        if run and run.status == 0:
            hashes: list[str] = run.terminal["hashes"]
            check_stored(lambda name: soak.server.chunks[name], hashes, content)
            return hashes
    raise AssertionError("twenty uploads in a row failed")
