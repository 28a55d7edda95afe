"""Hostile environments: links of others, no home directory, a clock that jumps."""

from __future__ import annotations

import filecmp
import os
import shutil
import threading
import time
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from tests.faults.shims import BUCKET_MOUNT, FORESEEABLE_NAMES, JUMPING_CLOCK, shim
from tests.faults.test_disk import run_as, unprivileged
from tests.support import faulty_server as faults
from tests.support.data import MIB
from tests.support.faulty_server import FaultyServer, Rule
from tests.support.reference import check_stored, in_folder
from tests.support.worker import Worker, download, run_worker, upload

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.faults.conftest import Stored


@pytest.fixture
def open_folder() -> Iterator[Path]:
    """A folder in which everybody may write, as in /tmp."""
    folder = Path("/tmp") / f"store-workers-hostile-{os.getpid()}-{time.monotonic_ns()}"
    folder.mkdir()
    folder.chmod(0o1777)
    yield folder
    shutil.rmtree(folder)


@pytest.mark.parametrize("direction", ["upload", "download"])
@pytest.mark.parametrize("planted", ["link", "dangling link", "fifo", "directory"])
def test_what_is_planted_at_a_temporary_name(
    planted: str, direction: str, small: Stored, target: Path, tmp_path: Path
) -> None:
    """Even known names cannot be misused: links are not followed."""
    victim = tmp_path / "victim"
    store = tmp_path / "store"
    store.mkdir()
    folder = store if direction == "upload" else target.parent
    trap = folder / f".store-workers-{bytes(8).hex()}.part"
    if planted == "link":
        victim.write_bytes(b"precious")
        trap.symlink_to(victim)
    elif planted == "dangling link":
        trap.symlink_to(victim)
    elif planted == "fifo":
        os.mkfifo(trap)
    else:
        trap.mkdir()
    message = (
        upload(small.path, store)
        if direction == "upload"
        else download(target, small.path.parent / "store", small.hashes)
    )
    run = run_worker(message, env=shim(tmp_path, FORESEEABLE_NAMES), timeout=20)
    assert run.terminal["code"] in {"STORE_REJECTED", "FILE_WRITE_FAILED"}, run
    if planted == "link":
        assert victim.read_bytes() == b"precious"
    else:
        assert not victim.exists()
    assert trap.is_symlink() or trap.exists(), "what was planted is not ours to remove"


@pytest.mark.parametrize("planted", ["link", "short link", "fifo", "directory", "loop"])
def test_what_is_planted_under_a_hash(
    planted: str, small: Stored, target: Path, tmp_path: Path
) -> None:
    """A download refuses it and does not hang; an upload replaces it if possible."""
    store = tmp_path / "store"
    name = small.hashes[0]
    place = store / name[:2] / name
    place.parent.mkdir(parents=True)
    victim = tmp_path / "victim"
    victim.write_bytes(bytes(len(small.chunks[name]) - (planted == "short link")))
    before = victim.read_bytes()
    if planted == "fifo":
        os.mkfifo(place)
    elif planted == "directory":
        place.mkdir()
    else:
        place.symlink_to(name if planted == "loop" else victim)
    settings = {"retry_delay_ms": 1, "max_attempts": 2}
    run = run_worker(download(target, store, [name], settings=settings), timeout=20)
    assert run.status == 1, run
    assert not target.exists()
    run = run_worker(upload(small.path, store, settings=settings), timeout=20)
    assert victim.read_bytes() == before, "somebody else's file was written to"
    if planted in {"fifo", "short link"}:
        assert run.status == 0, run
        check_stored(in_folder(store), small.hashes, small.content)


def test_a_store_that_everybody_may_write_to(small: Stored, open_folder: Path) -> None:
    shutil.copy(small.path, open_folder / "file")
    store = open_folder / "store"
    store.mkdir()
    store.chmod(0o1777)
    run = unprivileged(upload(open_folder / "file", store))
    assert run.status == 0, run
    assert run_worker(upload(open_folder / "file", store)).terminal["new_chunks"] == 0
    for path in store.glob("??/*"):
        assert not path.stat().st_mode & 0o022, "open for others to change"


@pytest.mark.parametrize("home", [None, "", "relative", "/proc/none"])
def test_no_home(home: str | None, small: Stored, open_folder: Path) -> None:
    """Somebody without an entry in the list of users either."""
    shutil.copy(small.path, open_folder / "file")
    who = ["setpriv", "--reuid", "54321", "--regid", "54321", "--clear-groups"]
    environ: dict[str, str | None] = {"HOME": home, "XDG_DATA_HOME": None}
    once = {"max_attempts": 1}
    message = upload(open_folder / "file", None, settings=once)
    run = run_as(who, message, env=environ, cwd=open_folder)
    if home is None:
        assert run.terminal["code"] == "BAD_MESSAGE", run
        assert "store" in run.terminal["message"]
    elif home.startswith("/"):
        assert run.terminal["code"] in {"STORE_ACCESS_DENIED", "STORE_UNAVAILABLE"}, run
    environ["STORE_WORKERS_STORE"] = str(open_folder / "store")
    run = run_as(who, upload(open_folder / "file", None), env=environ, cwd=open_folder)
    assert run.status == 0, run


def test_a_store_on_a_mount_that_refuses_much(small: Stored, tmp_path: Path) -> None:
    """No sync, no rename over existing files, changing inode numbers."""
    environ, store = shim(tmp_path, BUCKET_MOUNT), tmp_path / "store"
    damaged = store / small.hashes[0][:2] / small.hashes[0]
    damaged.parent.mkdir(parents=True)
    damaged.write_bytes(b"cut short")
    run = run_worker(upload(small.path, store), env=environ)
    assert run.status == 0, run
    assert not run.of("CHUNK_RETRY")
    check_stored(in_folder(store), small.hashes, small.content)


def test_a_clock_that_jumps_ten_years_to_and_fro(
    small: Stored, target: Path, tmp_path: Path
) -> None:
    """Pauses, timeouts and the heartbeat use a monotonic clock."""
    environ = shim(tmp_path, JUMPING_CLOCK)
    settings = {"timeout_ms": 2000, "retry_delay_ms": 50, "progress_interval_ms": 100}
    rules = [
        Rule(faults.status(503, retry_after="1"), "PUT GET", tries={1}),
        Rule(faults.honest_after(0.3), "PUT GET", tries={2}),
    ]
    with FaultyServer(*rules) as server:
        run = run_worker(upload(small.path, server.url, settings=settings), env=environ)
        assert run.status == 0, run
        # The chunks wait side by side for the second that the store asks for.
        assert 1000 < run.terminal["duration_ms"] <= run.duration * 1000
        assert len(run.of("PROGRESS")) >= 5
        message = download(target, server.url, small.hashes, settings=settings)
        run = run_worker(message, env=environ)
        assert run.status == 0, run
        assert target.read_bytes() == small.content


def test_a_folder_that_was_removed_under_the_worker(small: Stored, tmp_path: Path) -> None:
    """It needs none: its paths are the message's."""
    gone = tmp_path / "gone"
    gone.mkdir()
    with Worker(None, cwd=gone) as worker:
        gone.rmdir()
        worker.send(upload(small.path, tmp_path / "store"), close=True)
        run = worker.finish()
    assert run.status == 0, run
    run = run_as(
        ["sh", "-c", 'mkdir "$0/x" && cd "$0/x" && rmdir "$0/x" && exec "$@"', str(tmp_path)],
        upload(small.path, tmp_path / "store"),
    )
    assert run.status == 0, run


# By command: what takes minutes, or gigabytes.


@pytest.mark.by_command("large")
@pytest.mark.timeout(1200)
def test_ten_thousand_chunks(target: Path, tmp_path: Path) -> None:
    path = tmp_path / "file"
    with path.open("wb") as file:
        for _ in range(5200):
            file.write(os.urandom(MIB))
    run = run_worker(upload(path, tmp_path / "store"), timeout=600, measure=True)
    assert run.status == 0, run
    assert len(run.terminal["hashes"]) > 10_000
    assert run.peak_rss < 200 * MIB
    message = download(target, tmp_path / "store", run.terminal["hashes"])
    run = run_worker(message, timeout=600, measure=True)
    assert run.status == 0, run
    assert run.peak_rss < 200 * MIB
    assert filecmp.cmp(path, target, shallow=False)
    path.unlink()
    target.unlink()


@pytest.mark.by_command("large")
@pytest.mark.timeout(1200)
def test_a_stream_beyond_4_gib(tmp_path: Path) -> None:
    """Of unknown length, through a FIFO in and out: zeros with a mark now and then."""
    count = 5 * 1024 + 3
    fifo, back = tmp_path / "fifo", tmp_path / "back"
    os.mkfifo(fifo)
    os.mkfifo(back)

    def blocks() -> Iterator[bytes]:
        for number in range(count):
            yield number.to_bytes(8, "little") + bytes(MIB - 8)

    def feed() -> None:
        with fifo.open("wb") as file:
            for block in blocks():
                file.write(block)

    feeder = threading.Thread(target=feed, daemon=True)
    feeder.start()
    run = run_worker(upload(fifo, tmp_path / "store"), timeout=600, measure=True)
    feeder.join(10)
    assert run.terminal["size"] == count * MIB
    assert run.peak_rss < 200 * MIB
    hashes = run.terminal["hashes"]
    with Worker(download(back, tmp_path / "store", hashes, size=count * MIB)) as worker:
        with back.open("rb") as file:
            for block in blocks():
                assert file.read(MIB) == block
            assert file.read(1) == b""
        assert worker.finish(60).status == 0
