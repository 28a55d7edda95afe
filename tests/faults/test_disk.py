"""Disks that are full, read-only, broken or removed; limits of files and descriptors.

Needs root, for small file systems of its own and for users who may do less.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import subprocess
import threading
import time
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from tests.support.data import KIB, MIB, noise
from tests.support.faulty_server import FaultyServer
from tests.support.reference import check_stored, in_folder
from tests.support.worker import (
    ARTIFACT,
    Worker,
    bare_python,
    download,
    run_worker,
    session,
    upload,
)

if TYPE_CHECKING:
    from collections.abc import Iterator
    from typing import Any

    from tests.faults.conftest import Stored
    from tests.support.worker import Message, Run

NOBODY = "65534"
QUICK = {"retry_delay_ms": 5, "retry_max_delay_ms": 20, "max_attempts": 3}
CALLS = ("writev", "fsync", "rename", "mkdir")
"""What a directory store asks of the system for a chunk."""


@contextlib.contextmanager
def small_disk(folder: Path, options: str = "size=256k") -> Iterator[Path]:
    """Mount a file system of its own, in memory."""
    place = folder / "disk"
    place.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", options, "none", str(place)], check=True)
    try:
        yield place
    finally:
        subprocess.run(["umount", "--lazy", str(place)], check=True)


def run_as(prefix: list[str], message: Message, **how: Any) -> Run:
    """Run a worker through another program that changes its permissions."""
    program = shutil.which(prefix[0])
    assert program, f"{prefix[0]} is not installed"
    rest = [*prefix[1:], bare_python(), str(ARTIFACT)]
    return run_worker(message, python=program, artifact=Path(rest[0]), args=rest[1:], **how)


def unprivileged(message: Message, **how: Any) -> Run:
    """Run a worker as somebody whom modes bind: root they do not."""
    who = ["--reuid", NOBODY, "--regid", NOBODY, "--clear-groups"]
    return run_as(["setpriv", *who], message, **how)


@pytest.fixture
def open_folder() -> Iterator[Path]:
    """A folder that every user can reach: those of pytest are for root alone."""
    folder = Path("/tmp") / f"store-workers-test-{os.getpid()}-{time.monotonic_ns()}"
    folder.mkdir(mode=0o755)
    folder.chmod(0o755)
    yield folder
    shutil.rmtree(folder)


@pytest.fixture
def stored(small: Stored, open_folder: Path) -> tuple[Path, Path, list[str]]:
    """The small file, a store that has it, and its hashes, where every user can read them."""
    shutil.copy(small.path, open_folder / "file")
    shutil.copytree(small.path.parent / "store", open_folder / "stored")
    return open_folder / "file", open_folder / "stored", small.hashes


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.rglob("*"))


# The store's side.


def test_a_full_disk_under_the_store_is_no_matter_of_trying_again(
    small: Stored, tmp_path: Path
) -> None:
    with small_disk(tmp_path) as disk:
        run = run_worker(upload(small.path, disk / "store"))
        assert run.terminal["code"] == "STORE_REJECTED", run
        assert "No space left" in run.terminal["message"]
        assert run.terminal["retryable"] is False
        assert not run.of("CHUNK_RETRY")
        assert run.terminal["attempts"] == 1
        assert not [name for name in names(disk) if name.startswith(".store-workers")]


def test_a_full_disk_fails_only_the_files_that_go_to_it(small: Stored, tmp_path: Path) -> None:
    """One of four files in progress at the same time."""
    (tmp_path / "other").write_bytes(noise(560 * KIB, seed=5))
    stored = small.path.parent / "store"
    with small_disk(tmp_path) as disk:
        run = run_worker(
            session(
                None,
                upload(small.path, disk / "store", id="full store"),
                download(disk / "back", stored, small.hashes, id="full disk"),
                upload(tmp_path / "other", tmp_path / "store", id="up"),
                download(tmp_path / "back", stored, small.hashes, id="down"),
                settings=QUICK,
            )
        )
        assert not [path for path in disk.rglob("*") if path.is_file() and path.parent == disk]
    codes = {event["id"]: event["code"] for event in run.of("ERROR")}
    assert codes == {"full store": "STORE_REJECTED", "full disk": "FILE_WRITE_FAILED"}, run
    assert not run.of("CHUNK_RETRY")
    assert (tmp_path / "back").read_bytes() == small.content
    (up,) = run.of("FILE_UPLOADED")
    check_stored(in_folder(tmp_path / "store"), up["hashes"], noise(560 * KIB, seed=5))


def test_a_store_without_inodes(small: Stored, tmp_path: Path) -> None:
    with small_disk(tmp_path, "size=4m,nr_inodes=4") as disk:
        run = run_worker(upload(small.path, disk / "store"))
        assert run.terminal["code"] == "STORE_REJECTED", run
        assert not run.of("CHUNK_RETRY")


# One error of each kind at every call, and every error at one.
FAILURES = [(call, error) for call in CALLS for error in ("ENOSPC", "EACCES", "EIO")]
FAILURES += [("writev", error) for error in ("EDQUOT", "EFBIG", "EROFS")]


@pytest.mark.parametrize(("call", "error"), FAILURES)
def test_a_call_of_the_store_that_fails_every_time(
    call: str, error: str, small: Stored, tmp_path: Path
) -> None:
    store = tmp_path / "store"
    store.mkdir()
    run = injected(f"{call}:error={error}", upload(small.path, store, settings=QUICK))
    code = {
        "EROFS": "STORE_ACCESS_DENIED",
        "EACCES": "STORE_ACCESS_DENIED",
        "EIO": "STORE_UNAVAILABLE",
    }.get(error, "STORE_REJECTED")
    assert run.terminal["code"] == code, run
    assert len(run.of("CHUNK_RETRY")) >= (2 if error == "EIO" else 0), run
    assert run.terminal["attempts"] == (3 if error == "EIO" else 1), run
    assert not run.of("CHUNK"), "told, though it cannot be durable"
    assert not list(store.glob(".store-workers-*"))


@pytest.mark.parametrize("call", CALLS)
@pytest.mark.parametrize("when", [1, 2, 3, 4])
def test_a_call_of_the_store_that_fails_once(
    call: str, when: int, small: Stored, tmp_path: Path
) -> None:
    """Also where a directory's sync fails: it is believed only after the name was made anew."""
    store = tmp_path / "store"
    store.mkdir()
    message = upload(small.path, store, settings={**QUICK, "max_attempts": 6})
    run = injected(f"{call}:error=EIO:when={when}", message)
    assert run.status == 0, run
    check_stored(in_folder(store), run.terminal["hashes"], small.content)


def injected(what: str, message: Message, *more: str) -> Run:
    """Run a worker some of whose system calls fail."""
    call = what.partition(":")[0]
    options = ["-f", "-o", "/dev/null", "-e", f"trace={call}", "-e", f"inject={what}", *more]
    return run_as(["strace", *options], message)


def test_a_store_that_may_not_be_written(stored: tuple[Path, Path, list[str]]) -> None:
    file, store, _ = stored
    file.write_bytes(noise(100 * KIB, seed=9))
    run = unprivileged(upload(file, store))
    assert run.terminal["code"] == "STORE_ACCESS_DENIED", run
    assert not run.of("CHUNK_RETRY")


def test_a_store_that_may_not_be_read(
    stored: tuple[Path, Path, list[str]], open_folder: Path
) -> None:
    _, store, hashes = stored
    target = open_folder / "target"
    target.mkdir(mode=0o777)
    target.chmod(0o777)
    (store / hashes[0][:2] / hashes[0]).chmod(0)
    run = unprivileged(download(target / "file", store, hashes))
    assert run.terminal["code"] == "STORE_ACCESS_DENIED", run
    assert names(target) == []


def test_a_store_on_a_read_only_disk(small: Stored, tmp_path: Path) -> None:
    with small_disk(tmp_path, "size=4m,ro") as disk:
        run = run_worker(upload(small.path, disk / "store"))
        assert run.terminal["code"] == "STORE_ACCESS_DENIED", run


def test_a_store_that_is_a_file(small: Stored, target: Path, tmp_path: Path) -> None:
    place = tmp_path / "store"
    place.write_bytes(b"")
    run = run_worker(upload(small.path, place, settings=QUICK))
    assert run.terminal["code"] in {"STORE_REJECTED", "STORE_UNAVAILABLE"}, run
    run = run_worker(download(target, place, small.hashes, settings=QUICK))
    assert run.terminal["code"] == "STORE_UNAVAILABLE", run


@pytest.mark.parametrize("comes_back", [True, False], ids=["for a while", "for good"])
def test_a_store_that_vanishes(comes_back: bool, medium: Stored, tmp_path: Path) -> None:
    """It is not created again, since reported chunks would be missing in it."""
    store, away = tmp_path / "store", tmp_path / "away"
    fifo = tmp_path / "fifo"
    os.mkfifo(fifo)
    settings = {**QUICK, "retry_delay_ms": 200, "retry_max_delay_ms": 200, "max_attempts": 50}
    if not comes_back:
        settings["max_attempts"] = 4
    half = len(medium.content) // 2
    with Worker(upload(fifo, store, settings=settings)) as worker, fifo.open("wb") as end:
        end.write(medium.content[:half])
        end.flush()
        worker.wait_for("CHUNK", count=4)
        time.sleep(0.3)
        store.rename(away)
        timer = threading.Timer(0.4, away.rename, [store])
        if comes_back:
            timer.start()
        with contextlib.suppress(BrokenPipeError):
            end.write(medium.content[half:])
            end.close()
        run = worker.finish()
        timer.cancel()
    assert run.of("CHUNK_RETRY")
    if comes_back:
        assert run.status == 0, run
        check_stored(in_folder(store), run.terminal["hashes"], medium.content)
    else:
        assert run.terminal["code"] == "STORE_UNAVAILABLE", run
        assert not store.exists(), "made anew, without what was told"


def test_another_directory_in_the_stores_place(medium: Stored, tmp_path: Path) -> None:
    """As if the disk is unmounted, and the directory below it appears."""
    store = tmp_path / "store"
    fifo = tmp_path / "fifo"
    os.mkfifo(fifo)
    half = len(medium.content) // 2
    with Worker(upload(fifo, store, settings=QUICK)) as worker, fifo.open("wb") as end:
        end.write(medium.content[:half])
        end.flush()
        worker.wait_for("CHUNK", count=4)
        time.sleep(0.3)
        store.rename(tmp_path / "away")
        store.mkdir()
        with contextlib.suppress(BrokenPipeError):
            end.write(medium.content[half:])
            end.close()
        run = worker.finish()
    assert run.terminal["code"] == "STORE_UNAVAILABLE", run
    assert "was replaced during the run" in run.terminal["message"]
    assert names(store) == []


# The file's side.


def test_a_full_disk_under_the_file(small: Stored, tmp_path: Path) -> None:
    with small_disk(tmp_path) as disk:
        (disk / "file").write_bytes(b"the old one")
        run = run_worker(download(disk / "file", small.path.parent / "store", small.hashes))
        assert run.terminal["code"] == "FILE_WRITE_FAILED", run
        assert run.terminal["path"] == str(disk / "file")
        assert (disk / "file").read_bytes() == b"the old one"
        assert names(disk) == ["file"]


def test_a_resumed_download_over_a_full_disk(medium: Stored, tmp_path: Path) -> None:
    """What was written is kept until there is space."""
    with small_disk(tmp_path, "size=30m") as disk:
        message = download(disk / "file", medium.path.parent / "store", medium.hashes, resume=True)
        (disk / "ballast").write_bytes(bytes(20 * MIB))
        run = run_worker(message)
        assert run.terminal["code"] == "FILE_WRITE_FAILED", run
        (disk / "ballast").unlink()
        run = run_worker(message)
        assert run.status == 0, run
        assert run.terminal["resumed_bytes"] > MIB
        assert (disk / "file").read_bytes() == medium.content
        assert names(disk) == ["file"]


@pytest.mark.parametrize("error", ["EDQUOT", "EIO", "ENOSPC"])
@pytest.mark.parametrize("call", ["pwrite64", "fsync", "rename"])
def test_a_call_of_the_file_that_fails(call: str, error: str, small: Stored, target: Path) -> None:
    target.write_bytes(b"the old one")
    message = download(target, small.path.parent / "store", small.hashes)
    run = injected(f"{call}:error={error}", message)
    assert run.terminal["code"] == "FILE_WRITE_FAILED", run
    assert target.read_bytes() == b"the old one"
    assert names(target.parent) == ["file"]


@pytest.mark.parametrize(
    "refusal", ["linkat:error=EPERM", "fchmod:error=EOPNOTSUPP", "fsync:error=EINVAL"]
)
def test_a_call_that_a_file_system_has_not_is_done_without(
    refusal: str, small: Stored, target: Path
) -> None:
    """As FUSE, SMB and bucket mounts do; a sync is refused for directories alone."""
    target.write_bytes(b"the old one")
    where = ("-P", str(target.parent)) if refusal.startswith("fsync") else ()
    message = download(target, small.path.parent / "store", small.hashes)
    run = injected(refusal, message, *where)
    assert run.status == 0, run
    assert target.read_bytes() == small.content
    assert names(target.parent) == ["file"]


@pytest.mark.parametrize("when", ["1", "2+"], ids=["before the rename", "after the rename"])
def test_a_directory_that_cannot_be_synced(when: str, small: Stored, target: Path) -> None:
    """An error only while the old file exists."""
    target.write_bytes(b"the old one")
    message = download(target, small.path.parent / "store", small.hashes)
    run = injected(f"fsync:error=EIO:when={when}", message, "-P", str(target.parent))
    if when == "1":
        assert run.terminal["code"] == "FILE_WRITE_FAILED", run
        assert not run.of("PROGRESS") or not run.of("PROGRESS")[-1]["fetched_bytes"]
        assert target.read_bytes() == b"the old one"
    else:
        assert run.status == 0, run
        assert target.read_bytes() == small.content
    assert names(target.parent) == ["file"]


def test_a_directory_that_may_not_be_read(
    stored: tuple[Path, Path, list[str]], open_folder: Path
) -> None:
    file, store, hashes = stored
    folder = open_folder / "drop"
    folder.mkdir()
    folder.chmod(0o300)
    os.chown(folder, int(NOBODY), int(NOBODY))
    run = unprivileged(download(folder / "file", store, hashes))
    assert run.status == 0, run
    assert (folder / "file").read_bytes() == file.read_bytes()


def test_a_file_that_is_mounted_by_itself(small: Stored, target: Path, tmp_path: Path) -> None:
    """As in containers: reported before a byte is fetched."""
    target.write_bytes(b"the old one")
    (tmp_path / "mounted").write_bytes(b"the mounted one")
    subprocess.run(["mount", "--bind", str(tmp_path / "mounted"), str(target)], check=True)
    try:
        run = run_worker(download(target, tmp_path / "no store", small.hashes))
    finally:
        subprocess.run(["umount", str(target)], check=True)
    assert run.terminal["code"] == "FILE_WRITE_FAILED", run
    assert "mounted" in run.terminal["message"]


@pytest.mark.parametrize("length", [4095, 4060])
def test_a_path_near_the_limit(length: int, small: Stored, target: Path) -> None:
    """The temporary file has a longer name than the file."""
    folder = str(target.parent)
    while len(folder) < length - 300:
        folder = f"{folder}/{'d' * 200}"
    folder += "/" + "d" * (length - len(folder) - 6)
    os.makedirs(folder)
    place = f"{folder}/file"
    assert len(place) == length
    run = run_worker(download(place, small.path.parent / "store", small.hashes))
    assert run.status == 0, run
    assert Path(place).read_bytes() == small.content
    assert os.listdir(folder) == ["file"]


@contextlib.contextmanager
def block_device(backing: Path) -> Iterator[str]:
    """Make a block device of a file; skip the test where there is none to be had."""
    made = subprocess.run(
        ["losetup", "--find", "--show", str(backing)], capture_output=True, text=True, check=False
    )
    if made.returncode:
        pytest.skip(f"no loop device: {made.stderr}")
    try:
        yield made.stdout.strip()
    finally:
        subprocess.run(["losetup", "--detach", made.stdout.strip()], check=True)


def test_a_block_device(medium: Stored, tmp_path: Path) -> None:
    backing = tmp_path / "backing"
    backing.write_bytes(b"\xff" * 32 * MIB)
    with block_device(backing) as device:
        run = run_worker(download(device, medium.path.parent / "store", medium.hashes))
        assert run.status == 0, run
    assert backing.read_bytes()[: len(medium.content)] == medium.content


def test_a_block_device_that_takes_less_than_it_says(medium: Stored, tmp_path: Path) -> None:
    """It has space for 8 of its 32 MiB, and reports this on sync."""
    with small_disk(tmp_path, "size=8m") as disk:
        with (disk / "backing").open("wb") as file:
            file.truncate(32 * MIB)
        with block_device(disk / "backing") as device:
            run = run_worker(download(device, medium.path.parent / "store", medium.hashes))
    assert run.terminal["code"] == "FILE_WRITE_FAILED", run
    assert run.terminal["retryable"] is False


def test_the_device_that_is_always_full(small: Stored) -> None:
    run = run_worker(download("/dev/full", small.path.parent / "store", small.hashes))
    assert run.terminal["code"] == "FILE_WRITE_FAILED", run


def test_a_limit_of_file_sizes(medium: Stored, target: Path) -> None:
    message = download(target, medium.path.parent / "store", medium.hashes)
    run = run_as(["prlimit", f"--fsize={8 * MIB}"], message)
    assert run.terminal["code"] == "FILE_WRITE_FAILED", run
    assert names(target.parent) == []


def test_where_no_file_may_be_made(stored: tuple[Path, Path, list[str]], open_folder: Path) -> None:
    _, store, hashes = stored
    closed = open_folder / "closed"
    closed.mkdir(mode=0o755)
    run = unprivileged(download(closed / "file", store, hashes))
    assert run.terminal["code"] == "FILE_ACCESS_DENIED", run
    run = unprivileged(download(closed / "none" / "file", store, hashes))
    assert run.terminal["code"] == "FILE_NOT_FOUND", run


def test_a_file_that_may_not_be_read(stored: tuple[Path, Path, list[str]]) -> None:
    file, store, _ = stored
    file.chmod(0)
    run = unprivileged(upload(file, store))
    assert run.terminal["code"] == "FILE_ACCESS_DENIED", run


def test_a_read_only_disk_under_the_file(small: Stored, tmp_path: Path) -> None:
    with small_disk(tmp_path, "size=4m,ro") as disk:
        run = run_worker(download(disk / "file", small.path.parent / "store", small.hashes))
        assert run.terminal["code"] == "FILE_ACCESS_DENIED", run


@pytest.mark.parametrize(
    ("path", "code"),
    [
        ("none/file", "FILE_NOT_FOUND"),
        ("file/below", "FILE_NOT_FOUND"),
        ("", "FILE_WRITE_FAILED"),
        ("n" * 300, "FILE_WRITE_FAILED"),
        ("loop", "FILE_WRITE_FAILED"),
    ],
)
def test_targets_that_cannot_be(path: str, code: str, small: Stored, target: Path) -> None:
    target.write_bytes(b"the old one")
    (target.parent / "loop").symlink_to("loop")
    place = target.parent / path
    run = run_worker(download(place, small.path.parent / "store", small.hashes))
    assert run.terminal["code"] == code, run
    assert run.terminal["path"] == str(place)
    assert names(target.parent) == ["file", "loop"]


@pytest.mark.parametrize("when", [1, 2, 3])
def test_reading_fails(when: int, small: Stored, tmp_path: Path) -> None:
    run = injected(f"readv:error=EIO:when={when}", upload(small.path, tmp_path / "store"))
    if run.status:
        assert run.terminal["code"] == "FILE_READ_FAILED", run
    else:
        assert when > 1, "the first read cannot be done without"


# What a process may have.


@pytest.mark.parametrize("concurrency", [8, 256])
@pytest.mark.parametrize("limit", [24, 64])
@pytest.mark.parametrize("kind", ["directory", "http"])
def test_few_descriptors(
    kind: str, limit: int, concurrency: int, medium: Stored, target: Path, tmp_path: Path
) -> None:
    """A limit of the host makes a run slower, and does not make it fail."""
    settings = {"concurrency": concurrency, "retry_delay_ms": 20}
    with FaultyServer() as server:
        store = str(tmp_path / "store") if kind == "directory" else server.url
        few = ["prlimit", f"--nofile={limit}"]
        run = run_as(few, upload(medium.path, store, settings=settings))
        assert run.status == 0, run
        assert not run.of("CHUNK_RETRY"), run
        run = run_as(few, download(target, store, medium.hashes, settings=settings))
        assert run.status == 0, run
        assert not run.of("CHUNK_RETRY"), run
        assert target.read_bytes() == medium.content


@pytest.mark.parametrize("megabytes", [1000, 500, 250])
def test_little_memory(megabytes: int, medium: Stored, target: Path, tmp_path: Path) -> None:
    """Threads that leave too little memory for the work are not used, down to the minimum."""
    settings = {"concurrency": 64}
    little = ["prlimit", f"--as={megabytes * MIB}"]
    run = run_as(little, upload(medium.path, tmp_path / "store", settings=settings))
    assert run.status == 0, run
    message = download(target, tmp_path / "store", medium.hashes, settings=settings)
    run = run_as(little, message)
    assert run.status == 0, run
    assert target.read_bytes() == medium.content
