"""Files that appear complete or not at all, with and without a temporary name."""

from __future__ import annotations

import errno
import os
import stat
import struct
import threading
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any

import pytest

from store_workers.files import atomic_file, replaceable
from store_workers.files.atomic_file import (
    TEMPORARY_PREFIX,
    TEMPORARY_SUFFIX,
    AtomicFile,
    TemporaryFiles,
    directory_of,
    temporary_files,
    temporary_name,
    write_all,
)
from store_workers.files.permissions import kept_mode
from store_workers.files.replaceable import check_replaceable, is_mount_point
from store_workers.files.syncing import sync_directory
from store_workers.threads import Abandoned
from tests.unit.in_process import TIMEOUT, beside

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path


@pytest.fixture(params=["unnamed", "named"])
def way(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    """Both ways to create a file: unnamed, and with a temporary name."""
    if request.param == "named":
        monkeypatch.setattr(atomic_file, "_UNNAMED", 0)
    else:
        assert atomic_file._UNNAMED, "this system has no unnamed files"
    return str(request.param)


@pytest.fixture(autouse=True)
def usual_umask() -> Iterator[None]:
    before = os.umask(0o022)
    yield
    os.umask(before)


def begun(target: Path, content: bytes, files: TemporaryFiles | None = None) -> AtomicFile:
    file = AtomicFile(str(target), files or TemporaryFiles())
    write_all(file.descriptor, [memoryview(content)])
    return file


def mode(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


def test_it_appears_by_its_commit(tmp_path: Path, way: str) -> None:
    target = tmp_path / "file"
    file = begun(target, b"content")
    assert not target.exists()
    left_over = [entry.name for entry in tmp_path.iterdir()]
    assert len(left_over) == (1 if way == "named" else 0)
    file.commit()
    assert target.read_bytes() == b"content"
    assert [entry.name for entry in tmp_path.iterdir()] == ["file"]
    assert mode(target) == 0o644


def test_the_old_file_stays_until_then(tmp_path: Path, way: str) -> None:
    target = tmp_path / "file"
    target.write_bytes(b"old")
    inode = target.stat().st_ino
    file = begun(target, b"new")
    assert target.read_bytes() == b"old"
    file.commit()
    assert target.read_bytes() == b"new"
    assert target.stat().st_ino != inode


@pytest.mark.parametrize("permissions", [0o600, 0o640, 0o755, 0o444])
def test_permissions_of_what_it_replaces_are_kept(
    tmp_path: Path, way: str, permissions: int
) -> None:
    target = tmp_path / "file"
    target.write_bytes(b"old")
    target.chmod(permissions)
    begun(target, b"new").commit()
    assert mode(target) == permissions


def test_a_set_user_id_bit_is_not_kept(tmp_path: Path, way: str) -> None:
    target = tmp_path / "file"
    target.write_bytes(b"old")
    target.chmod(0o4755)
    begun(target, b"new").commit()
    assert mode(target) == 0o755


def test_a_link_is_replaced_and_not_followed(tmp_path: Path, way: str) -> None:
    other = tmp_path / "other"
    other.write_bytes(b"other")
    other.chmod(0o600)
    target = tmp_path / "file"
    target.symlink_to(other)
    begun(target, b"new").commit()
    assert not target.is_symlink()
    assert other.read_bytes() == b"other"
    assert mode(target) == 0o600, "readable by those who could not read it by that name before"


def test_a_link_to_nothing_is_replaced_by_a_new_file(tmp_path: Path, way: str) -> None:
    target = tmp_path / "file"
    target.symlink_to("nowhere")
    begun(target, b"new").commit()
    assert mode(target) == 0o644
    assert not (tmp_path / "nowhere").exists()


def test_what_is_written_aside_is_for_its_owner_alone(tmp_path: Path, way: str) -> None:
    """Until it has the mode of the replaced file; after a kill permanently."""
    target = tmp_path / "file"
    target.write_bytes(b"old")
    target.chmod(0o640)
    file = begun(target, b"new")
    assert stat.S_IMODE(os.fstat(file.descriptor).st_mode) == 0o600
    file.commit()
    assert mode(target) == 0o640


def test_another_group_costs_the_groups_bits(tmp_path: Path, way: str) -> None:
    target = tmp_path / "file"
    target.write_bytes(b"old")
    os.chown(target, -1, os.getgid() + 1)
    target.chmod(0o664)
    begun(target, b"new").commit()
    assert mode(target) == 0o604


def access_list(*entries: tuple[int, int, int]) -> bytes:
    """Return a POSIX access control list of (tag, permissions, id), in the order of the tags."""
    return struct.pack("<I", 2) + b"".join(struct.pack("<HHI", *entry) for entry in entries)


NOBODY_ID = 0xFFFFFFFF
PLAIN = ((0x01, 6, NOBODY_ID), (0x04, 4, NOBODY_ID), (0x10, 7, NOBODY_ID), (0x20, 4, NOBODY_ID))
NAMED_FEWER = access_list(PLAIN[0], (0x02, 0, 1000), *PLAIN[1:])
NAMED_MORE = access_list(PLAIN[0], (0x02, 6, 1000), *PLAIN[1:])


@pytest.mark.parametrize(
    ("old", "owner", "group", "old_list", "new_list", "kept"),
    [
        (0o644, 0, 0, None, None, 0o644),
        (0o6755, 0, 0, None, None, 0o755),
        (0o660, 0, 5, None, None, 0o600),
        (0o604, 0, 5, None, None, 0o600),  # the old group's people are others now
        (0o664, 0, 5, None, None, 0o604),
        (0o640, 7, 0, None, None, 0o640),
        (0o066, 7, 0, None, None, 0o000),  # the old owner, who could do nothing
        (0o466, 7, 0, None, None, 0o444),
        (0o664, 0, 0, NAMED_MORE, None, 0o604),
        (0o664, 0, 0, NAMED_FEWER, None, 0o600),
        (0o664, 0, 0, None, NAMED_MORE, 0o604),
    ],
)
def test_no_class_of_people_gets_more(
    old: int, owner: int, group: int, old_list: bytes | None, new_list: bytes | None, kept: int
) -> None:
    def status(mode: int, owner: int, group: int) -> os.stat_result:
        return os.stat_result((mode, 1, 1, 1, owner, group, 0, 0, 0, 0))

    made = status(0o600, 0, 0)
    assert kept_mode(status(old, owner, group), made, old_list, new_list) == kept


def test_an_access_control_list_costs_the_groups_bits(tmp_path: Path, way: str) -> None:
    target = tmp_path / "file"
    target.write_bytes(b"old")
    target.chmod(0o664)
    os.setxattr(target, "system.posix_acl_access", NAMED_FEWER)
    begun(target, b"new").commit()
    assert mode(target) == 0o600


def test_the_umask_holds(tmp_path: Path, way: str) -> None:
    os.umask(0o077)
    target = tmp_path / "file"
    begun(target, b"x").commit()
    assert mode(target) == 0o600


def test_closing_leaves_nothing(tmp_path: Path, way: str) -> None:
    files = TemporaryFiles()
    file = begun(tmp_path / "file", b"x", files)
    files.close()
    assert list(tmp_path.iterdir()) == []
    with pytest.raises(Abandoned):
        file.commit()
    assert list(tmp_path.iterdir()) == []
    with pytest.raises(Abandoned):
        files.create(str(tmp_path))


def test_closing_twice_and_discarding_what_is_gone(tmp_path: Path) -> None:
    files = TemporaryFiles()
    descriptor, path = files.create(str(tmp_path))
    os.close(descriptor)
    files.discard(path)
    files.discard(path)
    files.close()
    files.close()
    assert list(tmp_path.iterdir()) == []


def test_closing_does_not_touch_what_has_its_name(tmp_path: Path, way: str) -> None:
    files = TemporaryFiles()
    begun(tmp_path / "file", b"x", files).commit()
    files.close()
    assert (tmp_path / "file").read_bytes() == b"x"


def test_closing_while_others_create_leaves_nothing(tmp_path: Path) -> None:
    for _ in range(20):
        files = TemporaryFiles()
        started = threading.Barrier(5)

        def create(files: TemporaryFiles = files, started: threading.Barrier = started) -> None:
            started.wait(TIMEOUT)
            try:
                for number in range(20):
                    descriptor, path = files.create(str(tmp_path))
                    os.close(descriptor)
                    if number % 2:
                        files.rename(path, str(tmp_path / f"done-{threading.get_ident()}"))
            except Abandoned:
                pass

        threads = [beside(create) for _ in range(4)]
        started.wait(TIMEOUT)
        files.close()
        for thread in threads:
            thread.join(TIMEOUT)
        assert list(temporary_files(str(tmp_path))) == []


def test_closing_does_not_wait_for_a_hanging_file_system(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(atomic_file, "LONGEST_CLOSE", 0.1)
    files = TemporaryFiles()
    descriptor, path = files.create(str(tmp_path))
    os.close(descriptor)
    release = threading.Event()
    held = threading.Event()
    opened = os.open

    def hang(*arguments: Any) -> int:
        held.set()
        assert release.wait(TIMEOUT)
        return opened(*arguments)

    monkeypatch.setattr(os, "open", hang)
    with ThreadPoolExecutor(1) as pool:
        late = pool.submit(files.create, str(tmp_path))
        assert held.wait(TIMEOUT)
        files.close()
        assert not late.done()
        assert not os.path.exists(path)
        release.set()
        with pytest.raises(Abandoned):
            late.result(TIMEOUT)
    assert list(tmp_path.iterdir()) == []
    with pytest.raises(Abandoned):
        files.create(str(tmp_path))


def test_what_is_planted_at_a_temporary_name_is_not_touched(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, way: str
) -> None:
    victim = tmp_path / "victim"
    victim.write_bytes(b"precious")
    planted = tmp_path / f"{TEMPORARY_PREFIX}planted{TEMPORARY_SUFFIX}"
    planted.symlink_to(victim)
    monkeypatch.setattr(atomic_file, "temporary_name", lambda: planted.name)
    files = TemporaryFiles()
    with pytest.raises(FileExistsError):
        begun(tmp_path / "file", b"evil", files).commit()
    with pytest.raises(FileExistsError):
        files.create(str(tmp_path))
    files.close()
    assert victim.read_bytes() == b"precious"
    assert planted.is_symlink()


def test_temporary_names_cannot_be_foreseen() -> None:
    names = {temporary_name() for _ in range(1000)}
    assert len(names) == 1000
    assert all(len(name) == len(TEMPORARY_PREFIX + TEMPORARY_SUFFIX) + 16 for name in names)


def test_only_our_temporary_files_are_found(tmp_path: Path) -> None:
    ours = temporary_name()
    for name in (ours, TEMPORARY_PREFIX, "x" + TEMPORARY_SUFFIX, "file"):
        (tmp_path / name).write_bytes(b"")
    assert [entry.name for entry in temporary_files(str(tmp_path))] == [ours]


@pytest.mark.parametrize("problem", ["missing", "file", "no permission"])
def test_a_directory_that_cannot_be_written(tmp_path: Path, way: str, problem: str) -> None:
    folder = tmp_path / "folder"
    if problem == "file":
        folder.write_bytes(b"")
    if problem == "no permission":
        # Nobody can create files there, not even root.
        folder = type(tmp_path)("/proc/self/fdinfo")
    with pytest.raises(OSError):  # noqa: PT011 - which one is the system's business
        AtomicFile(str(folder / "file"), TemporaryFiles())


def test_a_target_that_became_a_directory_fails_and_leaves_nothing(
    tmp_path: Path, way: str
) -> None:
    target = tmp_path / "file"
    files = TemporaryFiles()
    file = begun(target, b"x", files)
    target.mkdir()
    with pytest.raises(OSError):  # noqa: PT011
        file.commit()
    files.close()
    assert [entry.name for entry in tmp_path.iterdir()] == ["file"]


def test_a_relative_name(tmp_path: Path, way: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    file = AtomicFile("file", TemporaryFiles())
    file.commit()
    assert (tmp_path / "file").read_bytes() == b""
    assert directory_of("file") == "."
    assert directory_of("/file") == "/"


def test_the_file_is_synced_before_it_is_named_and_the_directory_after(
    tmp_path: Path, way: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    steps: list[str] = []
    fsync, replace = os.fsync, os.replace

    def noted_fsync(descriptor: int) -> None:
        steps.append("directory" if stat.S_ISDIR(os.fstat(descriptor).st_mode) else "file")
        fsync(descriptor)

    def noted_replace(source: str, target: str) -> None:
        steps.append("rename")
        replace(source, target)

    monkeypatch.setattr(os, "fsync", noted_fsync)
    monkeypatch.setattr(os, "replace", noted_replace)
    begun(tmp_path / "file", b"x").commit()
    assert steps == ["directory", "file", "rename", "directory"]


class Refusing:
    """A system call that fails: always, or from call number `after` on."""

    def __init__(self, call: Callable[..., Any], number: int, after: int = 0) -> None:
        self.call = call
        self.number = number
        self.left = after

    def __call__(self, *arguments: Any, **more: Any) -> Any:
        if self.left == 0:
            raise OSError(self.number, os.strerror(self.number))
        self.left -= 1
        return self.call(*arguments, **more)


def only_directories(call: Callable[[int], None], refusing: Refusing) -> Callable[[int], None]:
    def fsync(descriptor: int) -> None:
        directory = stat.S_ISDIR(os.fstat(descriptor).st_mode)
        (refusing if directory else call)(descriptor)

    return fsync


@pytest.mark.parametrize("number", [errno.EINVAL, errno.EPERM, errno.ENOSYS, errno.EACCES])
@pytest.mark.parametrize("call", ["link", "fchmod", "fsync of directories"])
def test_calls_that_a_file_system_refuses_are_done_without(
    tmp_path: Path, call: str, number: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    target = tmp_path / "file"
    target.write_bytes(b"old")
    if call == "fsync of directories":
        refusing = Refusing(os.fsync, number)
        monkeypatch.setattr(os, "fsync", only_directories(os.fsync, refusing))
    else:
        monkeypatch.setattr(os, call, Refusing(getattr(os, call), number))
    begun(target, b"new").commit()
    assert target.read_bytes() == b"new"
    assert [entry.name for entry in tmp_path.iterdir()] == ["file"]


def test_a_directory_whose_disk_fails_is_told_before_anything_is_lost(
    tmp_path: Path, way: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    refusing = Refusing(os.fsync, errno.EIO)
    monkeypatch.setattr(os, "fsync", only_directories(os.fsync, refusing))
    with pytest.raises(OSError, match="Input/output"):
        AtomicFile(str(tmp_path / "file"), TemporaryFiles())
    assert list(tmp_path.iterdir()) == []


def test_nothing_fails_once_the_file_is_there(
    tmp_path: Path, way: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    refusing = Refusing(os.fsync, errno.EIO, after=1)
    monkeypatch.setattr(os, "fsync", only_directories(os.fsync, refusing))
    begun(tmp_path / "file", b"new").commit()
    assert (tmp_path / "file").read_bytes() == b"new"


def test_names_that_cannot_be_changed_are_told_at_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(atomic_file, "_UNNAMED", 0)
    monkeypatch.setattr(os, "rename", Refusing(os.rename, errno.ENOSYS))
    with pytest.raises(OSError, match="not implemented"):
        AtomicFile(str(tmp_path / "file"), TemporaryFiles())
    assert list(tmp_path.iterdir()) == []


def test_what_is_mounted_by_itself_cannot_be_replaced(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    target = tmp_path / "the file"
    target.write_bytes(b"old")
    table = tmp_path / "mountinfo"
    place = str(target).replace(" ", "\\040")
    table.write_text(f"36 35 98:0 / {place} rw,noatime - ext3 /dev/root rw\n")
    assert not is_mount_point(str(target))
    monkeypatch.setattr(replaceable, "_TABLE", str(table))
    assert is_mount_point(str(target))
    assert not is_mount_point(str(tmp_path / "the"))
    with pytest.raises(OSError, match="is a mount point"):
        AtomicFile(str(target), TemporaryFiles())


def test_a_file_of_others_in_a_directory_with_the_sticky_bit_cannot_be_replaced(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    target = tmp_path / "file"
    target.write_bytes(b"old")
    status = tmp_path / "status"
    monkeypatch.setattr(replaceable, "_STATUS", str(status))
    monkeypatch.setattr(os, "geteuid", lambda: target.stat().st_uid + 1)
    status.write_text("Name:\tx\nCapEff:\t00000000a80425f3\n")
    check_replaceable(str(target))
    tmp_path.chmod(0o1777)
    with pytest.raises(PermissionError, match="belongs to another user"):
        AtomicFile(str(target), TemporaryFiles())
    status.write_text("Name:\tx\nCapEff:\t00000000a80425fb\n")
    check_replaceable(str(target))
    status.unlink()  # not known: the rename decides
    check_replaceable(str(target))


@pytest.mark.parametrize("gathers", [True, False], ids=["writev", "write"])
def test_all_pieces_are_written(
    tmp_path: Path, gathers: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    if not gathers:
        monkeypatch.delattr(os, "writev")
    pieces = [bytes([number % 256]) * (number % 7) for number in range(3000)]
    with (tmp_path / "file").open("wb") as file:
        write_all(file.fileno(), [memoryview(piece) for piece in pieces])
        write_all(file.fileno(), [])
    assert (tmp_path / "file").read_bytes() == b"".join(pieces)


@pytest.mark.parametrize("gathers", [True, False], ids=["writev", "write"])
def test_a_write_that_takes_less_is_gone_on_with(
    gathers: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    if not gathers:
        monkeypatch.delattr(os, "writev")
    reader, writer = os.pipe()
    content = bytes(range(256)) * 4096
    pieces = [memoryview(content)[start : start + 100_001] for start in range(0, 1 << 20, 100_001)]
    thread = beside(lambda: write_all(writer, pieces))
    found = bytearray()
    while len(found) < len(content):
        found += os.read(reader, 3000)
    thread.join(TIMEOUT)
    os.close(reader)
    os.close(writer)
    assert found == content


def test_an_error_of_a_write_is_raised() -> None:
    descriptor = os.open("/dev/full", os.O_WRONLY)
    try:
        with pytest.raises(OSError, match="No space"):
            write_all(descriptor, [memoryview(b"x")])
    finally:
        os.close(descriptor)


def test_a_directory_that_is_gone_cannot_be_synced(tmp_path: Path) -> None:
    sync_directory(str(tmp_path))
    with pytest.raises(FileNotFoundError):
        sync_directory(str(tmp_path / "gone"))
