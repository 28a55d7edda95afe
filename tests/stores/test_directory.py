"""Specifics of the directory store: names, modes, order, permissions, leftovers."""

from __future__ import annotations

import ctypes
import errno
import hashlib
import itertools
import os
import socket
import stat
import threading
import time
from functools import partial
from typing import TYPE_CHECKING, Any

import pytest

from store_workers.errors import ErrorCode, StoreFailure
from store_workers.files.atomic_file import STALE_AFTER, temporary_name
from store_workers.stores.base import Chunk
from store_workers.stores.directory import store as directory
from store_workers.stores.directory import syncing
from store_workers.stores.directory.location import DirectoryLocation
from store_workers.stores.directory.store import DirectoryStore, make_directories
from store_workers.threads import Abandoned
from store_workers.wire.messages import Settings
from tests.support.waiting import wait_until

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

TIMEOUT = 60
DATA = b"data" * 1000
HASH = hashlib.sha256(DATA).hexdigest()
NOBODY = 65534
REFUSED_SYNC = {errno.EACCES, errno.EPERM}


def chunk() -> Chunk:
    return Chunk(HASH, [memoryview(DATA)])


def opened(root: Path) -> DirectoryStore:
    return DirectoryStore(str(root))


def failing(call: Callable[[], object]) -> StoreFailure:
    with pytest.raises(StoreFailure) as raised:
        call()
    return raised.value


@pytest.fixture(autouse=True)
def usual_umask() -> Iterator[None]:
    before = os.umask(0o022)
    yield
    os.umask(before)


def test_where_a_chunk_lies_and_what_its_modes_are(tmp_path: Path) -> None:
    root = tmp_path / "a" / "b"
    os.umask(0o027)
    opened(root).put(chunk())
    path = root / HASH[:2] / HASH
    assert path.read_bytes() == DATA
    assert stat.S_IMODE(path.stat().st_mode) == 0o640
    assert stat.S_IMODE(path.parent.stat().st_mode) == 0o750
    assert sorted(entry.name for entry in root.iterdir()) == [HASH[:2]]


def test_a_get_from_a_store_that_does_not_exist(tmp_path: Path) -> None:
    store = opened(tmp_path / "missing")
    failure = failing(lambda: store.get(HASH))
    assert failure.code is ErrorCode.STORE_UNAVAILABLE
    assert not failure.transient
    assert store.has(HASH, len(DATA)) is False
    assert not (tmp_path / "missing").exists()


@pytest.mark.parametrize("place", ["file", "file/below", "store"])
def test_a_file_where_a_directory_should_be(tmp_path: Path, place: str) -> None:
    (tmp_path / "file").write_bytes(b"")
    (tmp_path / "store").mkdir()
    (tmp_path / "store" / HASH[:2]).write_bytes(b"")
    store = opened(tmp_path / place)
    read, written = failing(lambda: store.get(HASH)), failing(lambda: store.put(chunk()))
    absent = ErrorCode.CHUNK_NOT_FOUND if place == "store" else ErrorCode.STORE_UNAVAILABLE
    assert (read.code, read.transient) == (absent, False)
    assert (written.code, written.transient) == (ErrorCode.STORE_UNAVAILABLE, False)


def plant_socket(path: Path) -> None:
    """A socket, whose path may be longer than the system's limit for their names."""
    parent = os.open(path.parent, os.O_RDONLY)
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(f"/proc/self/fd/{parent}/s")
    os.close(parent)
    (path.parent / "s").rename(path)


@pytest.mark.parametrize("planted", ["directory", "fifo", "socket", "dangling link", "loop"])
def test_what_is_no_file_under_a_hash(tmp_path: Path, planted: str) -> None:
    path = tmp_path / HASH[:2] / HASH
    path.parent.mkdir()
    if planted == "directory":
        path.mkdir()
    elif planted == "fifo":
        os.mkfifo(path)
    elif planted == "socket":
        plant_socket(path)
    else:
        path.symlink_to("nowhere" if planted == "dangling link" else path.name)
    store = opened(tmp_path)
    missing = planted == "dangling link"
    expected = ErrorCode.CHUNK_NOT_FOUND if missing else ErrorCode.CHUNK_CORRUPT
    assert failing(lambda: store.get(HASH)).code is expected
    assert failing(lambda: store.length(HASH)).code is expected
    assert store.has(HASH, len(DATA)) is False
    if planted == "directory":
        assert failing(lambda: store.put(chunk())).code is ErrorCode.STORE_REJECTED
        assert [entry.name for entry in tmp_path.iterdir()] == [HASH[:2]]
        return
    store.put(chunk())
    assert not path.is_symlink()
    assert store.get(HASH) == DATA


@pytest.mark.parametrize(
    ("number", "code", "transient"),
    [
        (errno.ENOSPC, ErrorCode.STORE_REJECTED, False),
        (errno.EDQUOT, ErrorCode.STORE_REJECTED, False),
        (errno.EFBIG, ErrorCode.STORE_REJECTED, False),
        (errno.EACCES, ErrorCode.STORE_ACCESS_DENIED, False),
        (errno.EPERM, ErrorCode.STORE_ACCESS_DENIED, False),
        (errno.EROFS, ErrorCode.STORE_ACCESS_DENIED, False),
        (errno.EIO, ErrorCode.STORE_UNAVAILABLE, True),
        (errno.EMFILE, ErrorCode.STORE_UNAVAILABLE, True),
        (errno.ESTALE, ErrorCode.STORE_UNAVAILABLE, True),
        (errno.ENOMEM, ErrorCode.STORE_UNAVAILABLE, True),
        (errno.ENOENT, ErrorCode.STORE_UNAVAILABLE, True),
        (errno.ENAMETOOLONG, ErrorCode.STORE_REJECTED, False),
    ],
)
@pytest.mark.parametrize("step", ["write_all", "sync_if_possible", "sync_directory"])
def test_errors_of_the_system(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    number: int,
    code: ErrorCode,
    transient: bool,
    step: str,
) -> None:
    store = opened(tmp_path)
    (tmp_path / HASH[:2]).mkdir()

    def fail(*_arguments: object) -> None:
        raise OSError(number, os.strerror(number))

    if step == "sync_directory" and number in REFUSED_SYNC:
        return  # a test of its own, below
    monkeypatch.setattr(syncing if step == "sync_directory" else directory, step, fail)
    failure = failing(lambda: store.put(chunk()))
    assert (failure.code, failure.transient) == (code, transient)
    assert os.strerror(number) in failure.message
    if step != "sync_directory":
        assert list((tmp_path / HASH[:2]).iterdir()) == []
    assert [entry.name for entry in tmp_path.iterdir()] == [HASH[:2]], "something is left over"


@pytest.mark.parametrize("number", [errno.EIO, errno.EBADMSG])
def test_a_chunk_on_a_damaged_place_of_the_disk(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, number: int
) -> None:
    store = opened(tmp_path)
    store.put(chunk())

    def fail(*_arguments: object) -> bytes:
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(os, "read", fail)
    failure = failing(lambda: store.get(HASH))
    assert (failure.code, failure.most_tries) == (ErrorCode.CHUNK_CORRUPT, 3)
    assert os.strerror(number) in failure.message
    monkeypatch.setattr(os, "listdir", fail)  # the whole disk cannot be read
    failure = failing(lambda: store.get(HASH))
    assert failure.code is not ErrorCode.CHUNK_CORRUPT


def as_nobody(call: Callable[[], object]) -> list[StoreFailure]:
    """Run it on a thread with the permissions of nobody (Linux: setfsuid)."""
    failures: list[StoreFailure] = []

    def run() -> None:
        if os.geteuid() == 0:
            ctypes.CDLL(None, use_errno=True).setfsuid(NOBODY)
        try:
            call()
        except StoreFailure as failure:
            failures.append(failure)

    thread = threading.Thread(target=run)
    thread.start()
    thread.join(TIMEOUT)
    return failures


def open_to_all(folder: Path) -> None:
    """Let other users pass through it and the folders of pytest above it."""
    for place in (folder, *folder.parents):
        mode = place.stat().st_mode
        if not mode & 0o001:
            place.chmod(mode | 0o111)


@pytest.mark.parametrize("call", ["has", "put", "get"])
def test_a_directory_without_permission(tmp_path: Path, call: str) -> None:
    root = tmp_path / "store"
    store = opened(root)
    store.put(chunk())
    root.chmod(0o000)
    open_to_all(tmp_path)
    calls: dict[str, Callable[[], object]] = {
        "has": lambda: store.has(HASH, len(DATA)),
        "put": lambda: store.put(chunk()),
        "get": lambda: store.get(HASH),
    }
    (failure,) = as_nobody(calls[call])
    root.chmod(0o755)
    assert failure.code is ErrorCode.STORE_ACCESS_DENIED
    assert not failure.transient


def test_a_chunk_without_permission_is_a_bad_chunk(tmp_path: Path) -> None:
    store = opened(tmp_path / "store")
    store.put(chunk())
    (tmp_path / "store" / HASH[:2] / HASH).chmod(0)
    open_to_all(tmp_path)
    (failure,) = as_nobody(lambda: store.get(HASH))
    assert (failure.code, failure.one_chunk) == (ErrorCode.STORE_ACCESS_DENIED, True)


def test_the_order_of_the_steps(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    steps: list[str] = []
    fsync, replace = os.fsync, os.replace

    def noted_fsync(descriptor: int) -> None:
        what = os.readlink(f"/proc/self/fd/{descriptor}").removeprefix(str(tmp_path)) or "/"
        steps.append("a file" if "-workers-" in what else what)
        fsync(descriptor)

    def noted_replace(source: str, target: str) -> None:
        steps.append("rename")
        replace(source, target)

    monkeypatch.setattr(os, "fsync", noted_fsync)
    monkeypatch.setattr(os, "replace", noted_replace)
    store = opened(tmp_path / "s")
    store.put(chunk())
    # The root and its name, where they are new; then what the first chunk needs.
    assert set(steps[:-4]) == {"/", "/s"}
    assert steps[-4:] == ["a file", "/s", "rename", f"/s/{HASH[:2]}"]
    steps.clear()
    store.put(chunk())
    assert steps == ["a file", "rename", f"/s/{HASH[:2]}"]


def test_a_chunk_of_another_run_is_synced_before_it_counts(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    opened(tmp_path).put(chunk())
    synced: list[str] = []
    monkeypatch.setattr(syncing, "sync_directory", synced.append)
    store = opened(tmp_path)
    assert store.has(HASH, len(DATA))
    assert str(tmp_path / HASH[:2]) in synced
    assert str(tmp_path) in synced
    count = len(synced)
    assert store.has(HASH, len(DATA))
    assert len(synced) == count, "once is enough"


def test_a_chunk_that_another_run_names_later_is_synced_too(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A session is long: another run can be killed between naming a chunk and the sync."""
    opened(tmp_path).put(chunk())
    store = opened(tmp_path)
    assert store.has(HASH, len(DATA))
    contents = (b"%d" % number for number in itertools.count())
    data = next(c for c in contents if hashlib.sha256(c).hexdigest()[:2] == HASH[:2])
    later = Chunk(hashlib.sha256(data).hexdigest(), [memoryview(data)])
    folder = tmp_path / HASH[:2]

    def is_named_later() -> bool:
        """Name it again until the file system's clock has moved on."""
        opened(tmp_path).put(later)
        return (folder / later.hash).stat().st_ctime_ns > (folder / HASH).stat().st_ctime_ns

    wait_until(is_named_later)
    synced: list[str] = []
    monkeypatch.setattr(syncing, "sync_directory", synced.append)
    for _ in range(2):
        assert store.has(later.hash, len(data))
    assert synced == [str(folder)]


def test_a_run_that_is_over_leaves_nothing(tmp_path: Path) -> None:
    store = opened(tmp_path)
    descriptor, _ = store._files.create(str(tmp_path))
    os.close(descriptor)
    store.close()
    assert list(tmp_path.iterdir()) == []
    with pytest.raises(Abandoned):
        store.put(chunk())
    assert list(tmp_path.iterdir()) == []


def test_making_directories_side_by_side(tmp_path: Path) -> None:
    path = tmp_path / "a" / "b" / "c"
    threads = [threading.Thread(target=make_directories, args=(str(path),)) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(TIMEOUT)
    assert path.is_dir()
    make_directories(str(path) + os.sep)
    make_directories(str(path) + "/d/")
    assert (path / "d").is_dir()


def test_what_killed_workers_left_is_removed_once_it_is_old(tmp_path: Path) -> None:
    store = opened(tmp_path / "missing")
    assert store.remove_stale_files() == 0
    old, young = tmp_path / temporary_name(), tmp_path / temporary_name()
    other = tmp_path / "other.part"
    for path in (old, young, other):
        path.write_bytes(b"")
    for path in (old, other):
        os.utime(path, (time.time() - STALE_AFTER - 60,) * 2)
    store = opened(tmp_path)
    store.put(chunk())
    assert store.remove_stale_files() == 1
    names = {entry.name for entry in tmp_path.iterdir()}
    assert names == {young.name, other.name, HASH[:2]}


def chunks(count: int) -> list[Chunk]:
    data = [bytes([number]) * 1000 for number in range(count)]
    return [Chunk(hashlib.sha256(piece).hexdigest(), [memoryview(piece)]) for piece in data]


def all_at_once(works: list[Callable[[], object]]) -> None:
    threads = [threading.Thread(target=work, daemon=True) for work in works]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(TIMEOUT)
    assert not any(thread.is_alive() for thread in threads)


@pytest.mark.parametrize("call", ["open", "replace", "fsync"])
def test_no_call_of_the_system_waits_for_another_ones(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, call: str
) -> None:
    """Each call returns only when 16 calls run: a lock around it would block them."""
    store = opened(tmp_path)
    for number in range(256):
        (tmp_path / f"{number:02x}").mkdir()
    store.put(chunk())
    together = threading.Barrier(16)
    real = getattr(os, call)

    def together_with_others(*arguments: Any) -> Any:
        aside = call == "replace" or "-workers-" in (
            str(arguments[0]) if call == "open" else os.readlink(f"/proc/self/fd/{arguments[0]}")
        )
        if aside:
            together.wait(TIMEOUT)
        return real(*arguments)

    monkeypatch.setattr(os, call, together_with_others)
    wanted = chunks(16)
    all_at_once([partial(store.put, each) for each in wanted])
    assert all(store.has(each.hash, each.size) for each in wanted)


def test_one_sync_of_a_directory_serves_all_who_came_before_it_began(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    began, go_on = threading.Semaphore(0), threading.Semaphore(0)
    synced: list[str] = []

    def sync(directory: str) -> None:
        began.release()
        go_on.acquire(timeout=TIMEOUT)
        synced.append(directory)

    monkeypatch.setattr(syncing, "sync_directory", sync)
    group = syncing.GroupSync()
    ended: list[int] = []

    def ask(number: int) -> None:
        group.sync("d")
        ended.append(number)

    threads = [threading.Thread(target=ask, args=(number,), daemon=True) for number in range(9)]
    threads[0].start()
    assert began.acquire(timeout=TIMEOUT)
    for thread in threads[1:]:
        thread.start()
    while group._next.get("d") is None:
        time.sleep(0.001)
    go_on.release()  # the first, which may not have covered the others' names
    assert began.acquire(timeout=TIMEOUT)
    assert ended in ([], [0])
    for _ in range(9):
        go_on.release()
    for thread in threads:
        thread.join(TIMEOUT)
    assert sorted(ended) == list(range(9))
    assert 2 <= len(synced) <= 9


def test_a_sync_that_fails_fails_for_all_who_share_it(monkeypatch: pytest.MonkeyPatch) -> None:
    group = syncing.GroupSync()
    failures: list[int | None] = []
    entered = threading.Semaphore(0)
    go_on = threading.Event()

    def fail(_directory: str) -> None:
        entered.release()
        go_on.wait(TIMEOUT)
        raise OSError(errno.EDQUOT, "full")

    monkeypatch.setattr(syncing, "sync_directory", fail)

    def ask() -> None:
        with pytest.raises(OSError, match="full") as raised:
            group.sync("d")
        failures.append(raised.value.errno)

    threads = [threading.Thread(target=ask, daemon=True) for _ in range(3)]
    threads[0].start()
    assert entered.acquire(timeout=TIMEOUT)
    for thread in threads[1:]:
        thread.start()
    go_on.set()
    for thread in threads:
        thread.join(TIMEOUT)
    assert failures == [errno.EDQUOT] * 3
    assert not group._running
    assert not group._next


def test_what_a_closed_store_has_under_way_is_undone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A file system that hangs does not block closing, and late results are removed."""
    monkeypatch.setattr("store_workers.files.atomic_file.LONGEST_CLOSE", 0.01)
    store = opened(tmp_path)
    inside, go_on = threading.Event(), threading.Event()
    real = os.open

    def hanging(path: Any, flags: int, *more: Any) -> int:
        if "-workers-" in str(path):
            inside.set()
            go_on.wait(TIMEOUT)
        return real(path, flags, *more)

    monkeypatch.setattr(os, "open", hanging)
    ended: list[BaseException] = []

    def put() -> None:
        try:
            store.put(chunk())
        except BaseException as error:  # noqa: BLE001 - looked at below
            ended.append(error)

    thread = threading.Thread(target=put, daemon=True)
    thread.start()
    assert inside.wait(TIMEOUT)
    store.close()
    go_on.set()
    thread.join(TIMEOUT)
    assert [type(error) for error in ended] == [Abandoned]
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("number", [errno.EINVAL, errno.ENOTSUP, errno.ENOSYS])
def test_a_file_system_without_syncs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, number: int
) -> None:
    """Mounts of servers and of buckets: what cannot be synced is not refused for it."""

    def refuse(_descriptor: int) -> None:
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(os, "fsync", refuse)
    monkeypatch.setattr(os, "sync", lambda: None)
    store = opened(tmp_path / "store")
    store.put(chunk())
    assert store.has(HASH, len(DATA))
    assert store.get(HASH) == DATA


@pytest.mark.parametrize("number", [errno.EACCES, errno.EPERM, errno.EBADF, errno.EISDIR])
def test_a_directory_that_nobody_may_sync(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, number: int
) -> None:
    """The whole system is synced instead, after the chunk has its name."""
    steps: list[str] = []

    def refuse(_directory: str) -> None:
        raise OSError(number, os.strerror(number))

    real = os.replace

    def replace(source: str, target: str) -> None:
        steps.append("rename")
        real(source, target)

    monkeypatch.setattr(syncing, "sync_directory", refuse)
    monkeypatch.setattr(os, "replace", replace)
    monkeypatch.setattr(os, "sync", lambda: steps.append("sync"))
    store = opened(tmp_path)
    store.put(chunk())
    assert steps[-2:] == ["rename", "sync"]


def test_a_store_that_may_only_be_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "sync", lambda: None)
    root = tmp_path / "store"
    (root / HASH[:2]).mkdir(parents=True)
    for parent in (tmp_path, *list(tmp_path.parents)[:3]):
        parent.chmod(parent.stat().st_mode | 0o111)
    if os.geteuid() == 0:
        for path in (root, root / HASH[:2]):
            os.chown(path, NOBODY, NOBODY)
    for path in (root / HASH[:2], root):
        path.chmod(0o300)
    failures = as_nobody(lambda: opened(root).put(chunk()))
    root.chmod(0o700)
    (root / HASH[:2]).chmod(0o700)
    assert failures == []
    assert (root / HASH[:2] / HASH).read_bytes() == DATA


def test_another_inode_number_at_each_look(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """FUSE without stable inode numbers: the last reported chunk identifies the directory."""
    real, numbers = os.stat, iter(range(10**6))

    def renumbered(path: Any, *more: Any, **named: Any) -> Any:
        found = real(path, *more, **named)
        if str(path) != str(tmp_path):
            return found
        return os.stat_result((found[0], next(numbers), 7, *found[3:]))

    monkeypatch.setattr(os, "stat", renumbered)
    store = opened(tmp_path)
    wanted = chunks(5)
    for each in wanted:
        store.put(each)
    assert all(store.has(each.hash, each.size) for each in wanted)
    (tmp_path / wanted[-1].hash[:2] / wanted[-1].hash).unlink()
    failure = failing(lambda: store.put(chunk()))
    assert failure.code is ErrorCode.STORE_UNAVAILABLE
    assert failure.transient


def test_a_root_that_is_replaced_before_anything_was_told(tmp_path: Path) -> None:
    root = tmp_path / "store"
    root.mkdir()
    store = opened(root)
    store._look_at_root()
    root.rename(tmp_path / "old")
    root.mkdir()
    store.put(chunk())
    assert store.has(HASH, len(DATA))


def test_a_rename_that_replaces_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    real = os.replace

    def unwilling(source: str, target: str) -> None:
        if os.path.lexists(target):
            raise FileExistsError(errno.EEXIST, os.strerror(errno.EEXIST))
        real(source, target)

    monkeypatch.setattr(os, "replace", unwilling)
    store = opened(tmp_path)
    path = tmp_path / HASH[:2] / HASH
    path.parent.mkdir()
    path.write_bytes(b"cut short")
    store.put(chunk())
    assert path.read_bytes() == DATA
    assert [entry.name for entry in path.parent.iterdir()] == [HASH]


def test_a_store_that_must_exist(tmp_path: Path) -> None:
    root = tmp_path / "disk"
    location = DirectoryLocation(str(root))
    settings = Settings(create_store=False)
    failure = failing(lambda: location.open(settings))
    assert failure.code is ErrorCode.STORE_UNAVAILABLE
    assert "create_store" in failure.message
    root.mkdir()
    store = location.open(settings)
    root.rmdir()  # unmounted in between
    assert failing(lambda: store.put(chunk())).code is ErrorCode.STORE_UNAVAILABLE
    assert not root.exists()
    root.mkdir()
    store.put(chunk())
    assert store.has(HASH, len(DATA))
