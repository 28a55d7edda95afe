"""SIGKILL at random moments: nothing is partial, and the next run sends what is missing.

A few dozen kills are part of every run of the tests; hundreds by command: ``--suite kills``.
"""

from __future__ import annotations

import contextlib
import json
import os
import random
import shutil
import signal
import threading
import time
from typing import TYPE_CHECKING

import pytest

from tests.faults.states import wait_until_at_work
from tests.support import faulty_server as faults
from tests.support.data import MIB, noise
from tests.support.faulty_server import FaultyServer, Rule
from tests.support.nginx import Nginx
from tests.support.reference import check_stored, digest, in_flat_folder, in_folder
from tests.support.waiting import wait_until
from tests.support.worker import STALL, Worker, download, run_worker, session, upload

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from tests.faults.conftest import Stored
    from tests.support.worker import Message

CONCURRENCY = 4
SETTINGS = {"concurrency": CONCURRENCY, "progress_interval_ms": 0, "retry_delay_ms": 10}
FEW = 6
MANY = pytest.param(200, marks=pytest.mark.by_command("kills"), id="200")
DAY = 24 * 60 * 60


def kill_at(message: Message, moment: float) -> tuple[bool, bytes]:
    """Start a worker and kill it after a time: (was it still running, what it wrote)."""
    with Worker(message) as worker:
        time.sleep(moment)
        running = worker.running()
        with contextlib.suppress(ProcessLookupError):
            worker.signal(signal.SIGKILL)
        return running, worker.finish(whole=False, check=False).stdout


class Moments:
    """Moments spread over a run: as long as it takes now, on a machine with other things to do."""

    def __init__(self, message: Message, seed: int) -> None:
        self._duration = run_worker(message).duration
        self._chance = random.Random(seed)
        self._killed = 0

    def until_killed(self, count: int) -> Iterator[int]:
        """Number the rounds until ``count`` workers were killed; some end before their moment."""
        for number in range(20 * count):
            yield number
            if self._killed == count:
                return
        pytest.fail(f"{self._killed} of {count} workers were killed in time")

    def kill(self, message: Message) -> bytes:
        """Start a worker and kill it at the next moment, if it still runs; return its output."""
        running, output = kill_at(message, self._chance.uniform(0.02, self._duration * 1.02))
        if running:
            self._killed += 1
            self._duration *= 1.02
        else:
            self._duration *= 0.8
        return output


def check_directory(root: Path) -> None:
    """No file under a hash is anything but that chunk."""
    for path in root.glob("??/*"):
        assert digest(path.read_bytes()) == path.name, f"{path} is torn"


@pytest.mark.parametrize("count", [pytest.param(FEW, id="few"), MANY])
def test_killed_uploads_to_a_directory(count: int, medium: Stored, tmp_path: Path) -> None:
    moments = Moments(upload(medium.path, tmp_path / "first", settings=SETTINGS), seed=1)
    for number in moments.until_killed(count):
        root = tmp_path / f"store-{number}"
        message = upload(medium.path, root, settings=SETTINGS)
        moments.kill(message)
        check_directory(root)
        there = {path.name for path in root.glob("??/*")}
        run = run_worker(message)
        new = {event["hash"] for event in run.of("CHUNK") if event["new"]}
        assert new == set(medium.hashes) - there, "sent what was there, or not what was missing"
        check_stored(in_folder(root), run.terminal["hashes"], medium.content)
        shutil.rmtree(root)


@pytest.mark.parametrize("count", [pytest.param(FEW, id="few"), MANY])
def test_killed_uploads_to_nginx(count: int, medium: Stored, tmp_path: Path) -> None:
    """The server's own log and folder are the witnesses."""
    with Nginx(tmp_path / "nginx") as server:
        moments = Moments(upload(medium.path, f"{server.url}/first", settings=SETTINGS), seed=2)
        for number in moments.until_killed(count):
            folder = server.chunks / f"{number}"
            message = upload(medium.path, f"{server.url}/{number}", settings=SETTINGS)
            moments.kill(message)
            settle(server)
            there = names(folder)
            server.forget_requests()
            run = run_worker(message)
            sent = {request.key for request in server.requests("PUT")}
            assert sent == set(medium.hashes) - there, (
                "sent what was there, or not what was missing"
            )
            check_stored(in_flat_folder(folder), run.terminal["hashes"], medium.content)


@pytest.mark.parametrize("store", ["directory", "http"])
@pytest.mark.parametrize("count", [pytest.param(FEW // 2, id="few"), MANY])
def test_killed_sessions(count: int, store: str, tmp_path: Path) -> None:
    """Among many files: what was told is stored, and the same session again sends only the rest."""
    paths = [tmp_path / f"file-{number}" for number in range(40)]
    for number, path in enumerate(paths):
        path.write_bytes(noise(10_240 if number % 9 else 3 * MIB, seed=number))
    messages = [upload(path, None, id=path.name) for path in paths]

    def lines(place: str) -> Message:
        return session(place, *messages, max_files=8, settings=SETTINGS)

    with FaultyServer() as server:
        moments = Moments(lines(str(tmp_path / "first")), seed=14)
        for number in moments.until_killed(count):
            root = tmp_path / f"store-{number}"
            place = server.url if store == "http" else str(root)
            server.chunks.clear()
            told = told_in(moments.kill(lines(place)))
            server.settle()
            check_directory(root)
            there = set(server.chunks) | {path.name for path in root.glob("??/*")}
            assert told <= there, "a chunk was told that is not there"
            run = run_worker(lines(place))
            new = {event["hash"] for event in run.of("CHUNK") if event["new"]}
            assert run.terminal["failed"] == 0
            assert not new & there, "sent what was there"
            hashes = {hash for event in run.of("FILE_UPLOADED") for hash in event["hashes"]}
            assert hashes == new | there, "sent not all that was missing"
            shutil.rmtree(root, ignore_errors=True)


def told_in(output: bytes) -> set[str]:
    """Return the chunks that are stored as far as a killed worker could tell."""
    told: set[str] = set()
    for event in map(json.loads, output.split(b"\n")[:-1]):
        if event["type"] == "CHUNK":
            told.add(event["hash"])
        elif event["type"] == "FILE_UPLOADED":
            told.update(event["hashes"])
    return told


def names(folder: Path) -> set[str]:
    """Return the chunks in a folder, each checked against its name."""
    found = list(folder.iterdir()) if folder.exists() else []
    for path in found:
        assert digest(path.read_bytes()) == path.name, f"{path} is torn"
    return {path.name for path in found}


def settle(server: Nginx) -> None:
    """Wait until nginx is through with the connections that were cut off."""
    before = -1
    while before != (now := len(server.requests())):
        before = now
        time.sleep(0.05)


@pytest.mark.parametrize("store", ["directory", "http"])
@pytest.mark.parametrize("count", [pytest.param(FEW, id="few"), MANY])
def test_killed_downloads(
    count: int, store: str, medium: Stored, target: Path, tmp_path: Path
) -> None:
    with FaultyServer() as server:
        server.chunks.update(medium.chunks)
        place = str(medium.path.parent / "store") if store == "directory" else server.url
        message = download(target, place, medium.hashes, settings=SETTINGS)
        moments = Moments(message, seed=3)
        for _ in moments.until_killed(count):
            target.write_bytes(b"the old one")
            moments.kill(message)
            assert target.read_bytes() in {b"the old one", medium.content}, "half a file"
            assert os.listdir(target.parent) == [target.name], "something was left over"
        assert run_worker(message).status == 0
        assert target.read_bytes() == medium.content


def damage(folder: Path, chance: random.Random) -> None:
    """Damage the files of a killed download."""
    for path in folder.glob(".file.*"):
        size = path.stat().st_size
        if not size or chance.random() < 0.5:
            continue
        place = chance.randrange(size)
        with path.open("r+b") as file:
            file.seek(place)
            how = chance.choice(["garbage", "truncated", "longer"])
            if how == "garbage":
                file.write(chance.randbytes(chance.randint(1, 5000)))
            elif how == "truncated":
                file.truncate()
            else:
                file.seek(size)
                file.write(chance.randbytes(5000))


@pytest.mark.parametrize("store", ["directory", "http"])
@pytest.mark.parametrize("count", [pytest.param(FEW, id="few"), MANY])
def test_killed_downloads_that_are_resumed(
    count: int, store: str, medium: Stored, target: Path, tmp_path: Path
) -> None:
    """Whatever the partial file contains: never a wrong byte, and nothing is left at the end."""
    chance = random.Random(7)
    with FaultyServer() as server:
        server.chunks.update(medium.chunks)
        place = str(medium.path.parent / "store") if store == "directory" else server.url
        message = download(target, place, medium.hashes, settings=SETTINGS, resume=True)
        moments = Moments(message, seed=8)
        resumed = 0
        for number in moments.until_killed(count):
            target.write_bytes(b"the old one")
            moments.kill(message)
            assert target.read_bytes() in {b"the old one", medium.content}, "half a file"
            if number % 2:
                damage(target.parent, chance)
            if number % 3 == 0:
                run = run_worker(message)
                assert run.status == 0, run
                assert target.read_bytes() == medium.content
                assert os.listdir(target.parent) == [target.name], "something was left over"
                resumed += run.terminal["resumed_bytes"] > 0
        assert resumed or count == FEW, "nothing was ever gone on with"


def test_a_killed_download_fetches_nothing_twice_but_what_was_in_flight(
    medium: Stored, target: Path, tmp_path: Path
) -> None:
    with FaultyServer(Rule(faults.stalled(where="body"), "GET", key=medium.hashes[-5])) as server:
        server.chunks.update(medium.chunks)
        message = download(target, server.url, medium.hashes, settings=SETTINGS, resume=True)
        with Worker(message) as worker:
            deadline = time.monotonic() + 20
            while len(server.requests("GET")) < len(medium.hashes) - 6:
                assert time.monotonic() < deadline
                time.sleep(0.02)
            time.sleep(0.3)
            assert target.parent.stat().st_size >= 0
            worker.signal(signal.SIGKILL)
            worker.finish(whole=False)
        server.rules.clear()
        before = len(server.requests("GET"))
        run = run_worker(message)
        assert run.status == 0, run
        fetched = [request.key for request in server.requests("GET")]
    assert target.read_bytes() == medium.content
    assert len(set(fetched)) == len(medium.hashes)
    assert len(fetched) - len(medium.hashes) <= CONCURRENCY + 1, (before, len(fetched))


@pytest.mark.parametrize("seen", [0, 1, 4, 9])
def test_a_kill_right_behind_a_chunks_line(seen: int, medium: Stored, tmp_path: Path) -> None:
    """Reported chunks are present, and the next run does not send them."""
    with FaultyServer() as server:
        message = upload(medium.path, server.url, settings=SETTINGS)
        with Worker(message) as worker:
            worker.wait_for("CHUNK", count=seen + 1)
            worker.signal(signal.SIGKILL)
            told = {e["hash"] for e in worker.finish(whole=False).of("CHUNK")}
        server.settle()
        there = set(server.chunks)
        assert told <= there
        before = len(server.records)
        run = run_worker(message)
        sent = {record.key for record in server.records[before:] if record.method == "PUT"}
        assert sent == set(medium.hashes) - there
        assert run.terminal["new_chunks"] == len(sent)


def test_a_kill_while_the_first_chunk_is_on_its_way(medium: Stored) -> None:
    """The others of the first eight, and what follows them, are found without it."""
    received, killed = threading.Event(), threading.Event()

    def stored_later(exchange: faults.Exchange) -> None:
        exchange.receive()
        received.set()
        killed.wait(STALL)
        exchange.send(exchange.honest())

    with FaultyServer(Rule(stored_later, "PUT", key=medium.hashes[0])) as server:
        message = upload(medium.path, server.url, settings=SETTINGS)
        with Worker(message) as worker:
            wait_until(lambda: received.is_set() and len(server.chunks) >= 3)
            worker.signal(signal.SIGKILL)
            worker.finish(whole=False)
        killed.set()
        wait_until(lambda: medium.hashes[0] in server.chunks)  # though nobody hears of it
        server.rules.clear()
        there = set(server.chunks)
        before = len(server.records)
        run_worker(message)
        sent = {record.key for record in server.records[before:] if record.method == "PUT"}
        assert sent == set(medium.hashes) - there


def test_chunks_that_are_stuck_do_not_make_the_others_go_twice(medium: Stored) -> None:
    """A chunk that fails repeatedly falls far behind others."""
    stuck = {medium.hashes[3], medium.hashes[7], medium.hashes[20]}
    rules = [Rule(faults.status(500), "PUT", key=name) for name in stuck]
    settings = {**SETTINGS, "retry_delay_ms": 10_000, "retry_max_delay_ms": 10_000}
    with FaultyServer(*rules) as server:
        message = upload(medium.path, server.url, settings=settings)
        with Worker(message) as worker:
            while len(server.chunks) < len(set(medium.hashes)) - 6:
                time.sleep(0.02)
            worker.signal(signal.SIGKILL)
            worker.finish(whole=False)
        server.settle()
        there = set(server.chunks)
        server.rules.clear()
        before = len(server.records)
        run_worker(message)
        sent = {record.key for record in server.records[before:] if record.method == "PUT"}
        assert sent == set(medium.hashes) - there
        assert stuck <= sent


@pytest.mark.parametrize("direction", ["upload", "download"])
def test_what_kills_left_behind_goes_after_a_day(
    direction: str, small: Stored, target: Path, tmp_path: Path
) -> None:
    store = tmp_path / "store"
    store.mkdir()
    folder = store if direction == "upload" else target.parent
    old, new = folder / ".store-workers-00ff.part", folder / ".store-workers-11ff.part"
    foreign = folder / ".store-workers-notes.txt"
    trap, link = folder / ".store-workers-22ff.part", folder / ".store-workers-33ff.part"
    keep = tmp_path / "keep"
    for path in (old, new, foreign, keep):
        path.write_bytes(b"x")
    trap.mkdir()
    link.symlink_to(keep)
    for path in (old, foreign, trap, keep):
        os.utime(path, (time.time() - DAY - 60,) * 2)
    os.utime(link, (time.time() - DAY - 60,) * 2, follow_symlinks=False)
    if direction == "upload":
        run = run_worker(upload(small.path, store))
        assert "2 temporary files" in run.of("WARNING")[0]["message"]
    else:
        run_worker(download(target, small.path.parent / "store", small.hashes))
    left = {path.name for path in folder.iterdir()}
    assert {new.name, foreign.name, trap.name} <= left
    assert not {old.name, link.name} & left
    assert keep.exists(), "what a link points to is none of ours"


def test_a_temporary_file_that_another_run_removed_is_written_again(
    medium: Stored, tmp_path: Path
) -> None:
    """A clock that jumps a day ahead lets another worker remove temporary files in use."""
    store = tmp_path / "store"
    path = tmp_path / "file"
    content = noise(8 * MIB)
    path.write_bytes(content)
    with Worker(upload(path, store, settings={"retry_delay_ms": 5, "max_attempts": 50})) as worker:
        wait_until_at_work(worker.pid)
        removed = 0
        while worker.running() and removed < 5:
            for entry in store.glob(".store-workers-*"):
                with contextlib.suppress(FileNotFoundError):
                    entry.unlink()
                    removed += 1
            time.sleep(0.001)
        run = worker.finish()
    assert removed, "nothing was there to remove"
    assert run.status == 0, run
    check_stored(in_folder(store), run.terminal["hashes"], content)
