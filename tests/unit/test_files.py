"""Source and target: the file of an upload, and the file of a download."""

from __future__ import annotations

import errno
import fcntl
import hashlib
import os
import stat
from itertools import accumulate, count
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from store_workers.errors import ErrorCode, WorkerError
from store_workers.files import sparse
from store_workers.files.atomic_file import TemporaryFiles
from store_workers.files.descriptors import Reserved, named_descriptor, take_over
from store_workers.files.source import FileSource
from store_workers.files.target import PassedThrough, ReplacedFile, open_target
from tests.unit.in_process import TIMEOUT, beside

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


class Descriptors:
    """A pipe that the owner passes on: the worker inherits both ends."""

    def __init__(self) -> None:
        self.reader, self.writer = os.pipe()
        os.set_inheritable(self.reader, True)
        os.set_inheritable(self.writer, True)
        self._open = {self.reader, self.writer}

    def close(self, descriptor: int) -> None:
        if descriptor in self._open:
            os.close(descriptor)
            self._open.discard(descriptor)

    def close_all(self) -> None:
        for descriptor in tuple(self._open):
            self.close(descriptor)


@pytest.fixture
def pipe() -> Iterator[Descriptors]:
    made = Descriptors()
    yield made
    made.close_all()


def read_all(source: FileSource, span: int = 1000) -> bytes:
    """Read a source to its end, span by span."""
    buffer = memoryview(bytearray(span))
    content = bytearray()
    while True:
        count = source.fill(buffer)
        content += buffer[:count]
        if count < span:
            return bytes(content)


def failing(path: str, **how: int) -> WorkerError:
    """Return the failure of a file that cannot be uploaded."""
    with pytest.raises(WorkerError) as raised:
        read_all(FileSource(path, how.get("size")))
    assert raised.value.path == path
    return raised.value


# Names of descriptors.


@pytest.mark.parametrize(
    ("path", "number"),
    [
        ("/dev/fd/3", 3),
        ("/dev/fd/12", 12),
        ("/proc/self/fd/7", 7),
        ("/proc/thread-self/fd/7", 7),
        ("/dev/stdin", 0),
        ("/dev/stdout", 1),
        ("/dev/stderr", 2),
        ("/dev/fd/", None),
        ("/dev/fd/x", None),
        ("/dev/fd/-1", None),
        ("/dev/fd/3/x", None),
        ("/dev/fd/٣", None),
        ("/dev/fd/01", None),
        ("/dev/fd/00", None),
        ("/dev/fd/0", 0),
        ("/dev/fd", None),
        ("dev/fd/3", None),
        ("/tmp/dev/fd/3", None),
        ("/dev/stdin2", None),
        ("", None),
        ("/dev//stdout", 1),
        ("/dev/./fd//3", 3),
        ("/dev/fd/../fd/3", 3),
        ("/proc//self/fd/7", 7),
        ("/proc/thread-self/fd/../fd/7", 7),
        # Named: both workers of a parallel run must collect the same tests.
        pytest.param(f"/proc/{os.getpid()}/fd/7", 7, id="this-process"),
        pytest.param(f"/proc/{os.getppid()}/fd/7", None, id="another-process"),
        ("/dev/fd/../fd/٣", None),
    ],
)
def test_names_of_descriptors(path: str, number: int | None) -> None:
    assert named_descriptor(path) == number


def test_links_to_descriptors(tmp_path: Path) -> None:
    (tmp_path / "a").symlink_to("/dev/fd/3")
    (tmp_path / "b").symlink_to("a")
    (tmp_path / "folder").symlink_to("/proc/self/fd")
    (tmp_path / "loop").symlink_to("loop")
    (tmp_path / "file").write_bytes(b"")
    (tmp_path / "link").symlink_to("file")
    found = {name: named_descriptor(f"{tmp_path}/{name}") for name in os.listdir(tmp_path)}
    assert found == {"a": 3, "b": 3, "folder": None, "loop": None, "file": None, "link": None}
    assert named_descriptor(f"{tmp_path}/folder/7") == 7


def test_what_carries_the_events_is_reserved_by_every_name(
    tmp_path: Path, pipe: Descriptors
) -> None:
    (tmp_path / "events").write_bytes(b"")
    (tmp_path / "link").symlink_to("events")
    (tmp_path / "other").write_bytes(b"")
    with (tmp_path / "events").open("wb") as file:
        found = {
            name: Reserved(file.fileno()).number_of(f"{tmp_path}/{name}")
            for name in ("events", "link", "other", "new")
        }
        assert found == {"events": 1, "link": 1, "other": None, "new": None}
        assert Reserved(file.fileno()).number_of(f"/dev/fd/{pipe.reader}") is None
    assert Reserved(pipe.reader).number_of(f"/dev/fd/{pipe.reader}") == 1
    assert Reserved(pipe.reader).number_of("/dev//stdin") == 0
    with open(os.devnull, "wb") as null:  # nothing can be mixed up there
        assert Reserved(null.fileno()).number_of(os.devnull) is None


def test_a_number_beyond_all_descriptors_is_no_error() -> None:
    assert named_descriptor("/dev/fd/" + "9" * 5000) is not None


def test_only_what_was_handed_over_is_taken(pipe: Descriptors) -> None:
    own = os.open("/dev/null", os.O_RDONLY)
    try:
        with pytest.raises(FileNotFoundError):
            take_over(own)
    finally:
        os.close(own)
    taken = take_over(pipe.reader)
    assert os.fstat(taken) == os.fstat(pipe.reader)
    assert not os.get_inheritable(taken)
    os.close(taken)
    with pytest.raises(FileNotFoundError, match="there is no such descriptor"):
        take_over(99_999)


# The source.


@pytest.mark.parametrize("size", [0, 1, 999, 1000, 1001, 5000])
def test_a_file_is_read_from_its_beginning_to_its_end(tmp_path: Path, size: int) -> None:
    path = tmp_path / "file"
    content = os.urandom(size)
    path.write_bytes(content)
    digest = hashlib.sha256()
    source = FileSource(str(path), None, digest)
    assert source.total == size
    assert read_all(source) == content
    assert source.read_bytes == size
    assert digest.digest() == hashlib.sha256(content).digest()
    assert not source.changed()
    source.close()


@pytest.mark.parametrize("name", ["with space", "ü", "new\nline", "raw\udcff", "-"])
def test_any_name_can_be_read(tmp_path: Path, name: str) -> None:
    (tmp_path / os.fsdecode(name.encode("utf-8", "surrogateescape"))).write_bytes(b"x")
    source = FileSource(f"{tmp_path}/{name}", None)
    assert read_all(source) == b"x"
    source.close()


def test_files_that_cannot_be_read(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"")
    (tmp_path / "loop").symlink_to("loop")
    assert failing(f"{tmp_path}/missing").code is ErrorCode.FILE_NOT_FOUND
    assert failing(f"{tmp_path}/file/below").code is ErrorCode.FILE_NOT_FOUND
    assert failing(str(tmp_path)).code is ErrorCode.FILE_READ_FAILED
    assert failing(f"{tmp_path}/loop").code is ErrorCode.FILE_READ_FAILED
    assert failing(f"{tmp_path}/{'x' * 300}").code is ErrorCode.FILE_READ_FAILED
    assert failing("/proc/self/mem").code is ErrorCode.FILE_READ_FAILED
    assert failing("/dev/fd/99999").code is ErrorCode.FILE_NOT_FOUND
    assert "\n" not in failing(f"{tmp_path}/new\nline").message


def test_a_fifo_of_unknown_length(tmp_path: Path) -> None:
    path = tmp_path / "fifo"
    os.mkfifo(path)
    beside(lambda: path.write_bytes(b"x" * 300_000))
    source = FileSource(str(path), None)
    assert source.total is None
    assert read_all(source, span=100_000) == b"x" * 300_000
    assert not source.changed()
    source.close()


def test_a_descriptor_that_was_handed_over(pipe: Descriptors) -> None:
    os.write(pipe.writer, b"abc")
    source = FileSource(f"/dev/fd/{pipe.reader}", 6)
    assert source.total == 6
    os.write(pipe.writer, b"def")
    pipe.close(pipe.writer)
    assert read_all(source) == b"abcdef"
    source.close()


def test_a_descriptor_that_others_set_to_non_blocking(pipe: Descriptors) -> None:
    os.set_blocking(pipe.reader, False)
    source = FileSource(f"/dev/fd/{pipe.reader}", None)
    found: list[bytes] = []
    thread = beside(lambda: found.append(read_all(source)))
    thread.join(0.05)
    os.write(pipe.writer, b"abc")
    pipe.close(pipe.writer)
    thread.join(TIMEOUT)
    assert found == [b"abc"]
    source.close()


def test_a_file_that_was_handed_over_is_read_from_where_it_is(tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.write_bytes(b"0123456789")
    descriptor = os.open(path, os.O_RDONLY)
    os.set_inheritable(descriptor, True)
    os.lseek(descriptor, 4, os.SEEK_SET)
    source = FileSource(f"/dev/fd/{descriptor}", None)
    assert read_all(source) == b"456789"
    assert not source.changed()
    source.close()
    os.close(descriptor)


@pytest.mark.parametrize(
    ("length", "size", "span", "fits"),
    [
        (0, 0, 10, True),
        (5, 5, 10, True),
        (10, 10, 10, True),
        (20, 20, 10, True),
        (5, 6, 10, False),
        (5, 4, 10, False),
        (10, 11, 10, False),
        (10, 9, 10, False),
        (20, 10, 10, False),
        (20, 15, 10, False),
        (20, 30, 10, False),
        (0, 1, 10, False),
        (1, 0, 10, False),
    ],
)
def test_the_length_that_is_expected(
    tmp_path: Path, length: int, size: int, span: int, fits: bool
) -> None:
    path = tmp_path / "file"
    path.write_bytes(bytes(length))
    source = FileSource(str(path), size)
    if fits:
        assert read_all(source, span) == bytes(length)
    else:
        with pytest.raises(WorkerError) as raised:
            read_all(source, span)
        assert raised.value.code is ErrorCode.FILE_MISMATCH
    source.close()


def test_an_endless_stream_is_refused_as_soon_as_it_is_too_long() -> None:
    source = FileSource("/dev/zero", 2500)
    buffer = memoryview(bytearray(1000))
    assert [source.fill(buffer) for _ in range(2)] == [1000, 1000]
    with pytest.raises(WorkerError) as raised:
        source.fill(buffer)
    assert raised.value.code is ErrorCode.FILE_MISMATCH
    source.close()


@pytest.mark.parametrize("call", ["fstat", "close"])
def test_a_source_that_fails_at_its_end(
    tmp_path: Path, call: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "file").write_bytes(b"x")
    source = FileSource(f"{tmp_path}/file", None)
    read_all(source)

    def fail(_descriptor: int) -> None:
        raise OSError(errno.EIO, "Input/output error")

    monkeypatch.setattr(os, call, fail)
    with pytest.raises(WorkerError) as raised:  # noqa: PT012 - one of the two fails
        source.changed()
        source.close()
    monkeypatch.undo()
    assert raised.value.code is ErrorCode.FILE_READ_FAILED
    assert raised.value.path == f"{tmp_path}/file"


def test_a_mount_that_gives_a_file_another_number_at_each_look(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "file").write_bytes(b"x")
    numbers = count(1)
    real = os.stat

    def stat_anew(path: str, **how: Any) -> os.stat_result:
        found = list(real(path, **how))
        found[stat.ST_INO] = next(numbers)
        return os.stat_result(found, {"st_mtime_ns": real(path, **how).st_mtime_ns})

    monkeypatch.setattr(os, "stat", stat_anew)
    source = FileSource(f"{tmp_path}/file", None)
    read_all(source)
    assert not source.changed()
    source.close()


class Over(Exception):
    """The run is over."""


def over() -> None:
    raise Over


@pytest.mark.parametrize("way", ["upload", "download"])
def test_a_fifo_that_nobody_opens_does_not_hold_up_the_end(tmp_path: Path, way: str) -> None:
    path = tmp_path / "fifo"
    os.mkfifo(path)
    if way == "upload":
        source = FileSource(str(path), None, check=lambda: None)
        source._check = over
        with pytest.raises(Over):
            source.fill(memoryview(bytearray(10)))
        source.close()
    else:
        with pytest.raises(Over):
            open_target(str(path), TemporaryFiles(), over)


@pytest.mark.parametrize("way", ["upload", "download"])
def test_a_pipe_in_which_nothing_moves_does_not_hold_up_the_end(
    pipe: Descriptors, way: str
) -> None:
    if way == "upload":
        source = FileSource(f"/dev/fd/{pipe.reader}", None, check=over)
        with pytest.raises(Over):
            source.fill(memoryview(bytearray(10)))
        source.close()
        return
    target = PassedThrough(f"/dev/fd/{pipe.writer}", pipe.writer, lambda: None)
    fcntl.fcntl(pipe.writer, fcntl.F_SETPIPE_SZ, 4096)
    target.write(memoryview(bytes(4096)))
    target._check = over
    with pytest.raises(Over):
        target.write(memoryview(b"more than it holds"))
    target.close()


@pytest.mark.parametrize("kind", ["file", "descriptor of a file", "fifo", "device"])
def test_what_cannot_be_read_again_is_spent(tmp_path: Path, kind: str) -> None:
    path = tmp_path / "file"
    path.write_bytes(b"x" * 10)
    descriptor = os.open(path, os.O_RDONLY)
    os.set_inheritable(descriptor, True)
    place = {
        "file": str(path),
        "descriptor of a file": f"/dev/fd/{descriptor}",
        "fifo": f"{tmp_path}/fifo",
        "device": "/dev/zero",
    }[kind]
    if kind == "fifo":
        os.mkfifo(place)
        beside(lambda: (tmp_path / "fifo").write_bytes(b"x" * 10))
    source = FileSource(place, None)
    assert not source.spent, "nothing was taken yet"
    source.fill(memoryview(bytearray(5)))
    assert source.spent == (kind != "file")
    source.close()
    source.close()
    os.close(descriptor)


@pytest.mark.parametrize(
    "change", ["grows", "shrinks", "is touched", "is replaced", "is removed", "nothing"]
)
def test_a_file_that_changes_while_it_is_read(tmp_path: Path, change: str) -> None:
    path = tmp_path / "file"
    path.write_bytes(bytes(3000))
    source = FileSource(str(path), None)
    source.fill(memoryview(bytearray(1000)))
    if change == "grows":
        with path.open("ab") as file:
            file.write(b"more")
    elif change == "shrinks":
        os.truncate(path, 2000)
    elif change == "is touched":
        os.utime(path, ns=(0, 5))
    elif change == "is replaced":
        (tmp_path / "other").write_bytes(bytes(3000))
        (tmp_path / "other").replace(path)
    elif change == "is removed":
        path.unlink()
    read_all(source)
    assert source.changed() == (change != "nothing")
    assert source.read_bytes == {"grows": 3004, "shrinks": 2000}.get(change, 3000)
    source.close()


def test_a_link_is_followed(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"x")
    (tmp_path / "link").symlink_to("file")
    source = FileSource(str(tmp_path / "link"), None)
    assert read_all(source) == b"x"
    assert not source.changed()
    source.close()


# The target.


def written(path: str, *pieces: bytes) -> None:
    """Write a file as a download does."""
    target = open_target(path, TemporaryFiles())
    for piece in pieces:
        target.write(memoryview(piece))
    target.commit()


def refused(path: str) -> WorkerError:
    with pytest.raises(WorkerError) as raised:
        written(path, b"x" * 100_000)
    assert raised.value.path == path
    return raised.value


@pytest.mark.parametrize("name", ["with space", "ü", "new\nline", "raw\udcff"])
def test_a_file_of_any_name_is_written_aside(tmp_path: Path, name: str) -> None:
    path = tmp_path / os.fsdecode(name.encode("utf-8", "surrogateescape"))
    target = open_target(f"{tmp_path}/{name}", TemporaryFiles())
    assert isinstance(target, ReplacedFile)
    target.write(memoryview(b"abc"))
    assert not path.exists()
    target.commit()
    assert path.read_bytes() == b"abc"


def test_targets_that_cannot_be_written(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"old")
    (tmp_path / "loop").symlink_to("loop")
    assert refused(str(tmp_path)).code is ErrorCode.FILE_WRITE_FAILED
    assert refused(f"{tmp_path}/missing/file").code is ErrorCode.FILE_NOT_FOUND
    assert refused(f"{tmp_path}/file/below").code is ErrorCode.FILE_NOT_FOUND
    assert refused(f"{tmp_path}/loop").code is ErrorCode.FILE_WRITE_FAILED
    assert refused(f"{tmp_path}/{'x' * 300}").code is ErrorCode.FILE_WRITE_FAILED
    assert refused("/dev/full").code is ErrorCode.FILE_WRITE_FAILED
    assert refused("/dev/fd/99999").code in {
        ErrorCode.FILE_WRITE_FAILED,
        ErrorCode.FILE_NOT_FOUND,
    }
    assert (tmp_path / "file").read_bytes() == b"old"
    assert len(list(tmp_path.iterdir())) == 2


def test_a_fifo_is_written_straight_through(tmp_path: Path) -> None:
    path = tmp_path / "fifo"
    os.mkfifo(path)
    found: list[bytes] = []
    thread = beside(lambda: found.append(path.read_bytes()))
    written(str(path), b"abc", b"x" * 300_000)
    thread.join(TIMEOUT)
    assert found == [b"abc" + b"x" * 300_000]
    assert stat.S_ISFIFO(path.stat().st_mode)


def test_a_descriptor_is_written_straight_through_even_if_it_is_non_blocking(
    pipe: Descriptors,
) -> None:
    os.set_blocking(pipe.writer, False)
    fcntl.fcntl(pipe.writer, fcntl.F_SETPIPE_SZ, 4096)
    thread = beside(lambda: written(f"/dev/fd/{pipe.writer}", b"x" * 100_000))
    found = 0
    while found < 100_000:
        found += len(os.read(pipe.reader, 5000))
    thread.join(TIMEOUT)
    assert not thread.is_alive()


def test_a_file_that_was_handed_over_is_written_where_it_is(tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.write_bytes(b"0123")
    descriptor = os.open(path, os.O_WRONLY | os.O_APPEND)
    os.set_inheritable(descriptor, True)
    written(f"/dev/fd/{descriptor}", b"456")
    os.close(descriptor)
    assert path.read_bytes() == b"0123456"


def test_a_reader_that_goes_away_is_an_error(pipe: Descriptors) -> None:
    pipe.close(pipe.reader)
    assert refused(f"/dev/fd/{pipe.writer}").code is ErrorCode.FILE_WRITE_FAILED


def test_what_cannot_be_written_again_is_spent(tmp_path: Path) -> None:
    device = open_target("/dev/null", TemporaryFiles())
    file = open_target(f"{tmp_path}/file", TemporaryFiles())
    assert not device.spent
    device.write(memoryview(b"x"))
    file.write(memoryview(b"x"))
    assert (device.spent, file.spent) == (True, False)
    device.close()
    file.close()
    device.close()
    file.close()
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("number", [errno.EINVAL, errno.ENOTSUP, errno.EIO, errno.ENOSPC])
def test_a_device_that_can_be_synced_is_and_its_error_counts(
    number: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    target = open_target("/dev/null", TemporaryFiles())
    target.write(memoryview(b"x"))
    synced = []

    def fsync(descriptor: int) -> None:
        synced.append(descriptor)
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(os, "fsync", fsync)
    if number in {errno.EIO, errno.ENOSPC}:
        with pytest.raises(WorkerError) as raised:
            target.commit()
        assert raised.value.code is ErrorCode.FILE_WRITE_FAILED
    else:
        target.commit()
    assert synced
    target.close()


KIB = 1024
SPARSE = (
    [b"", b"x", bytes(10 * KIB), bytes(64 * KIB), bytes(200 * KIB)],
    [b"head" + bytes(100 * KIB), bytes(100 * KIB) + b"tail"],
    [b"head" + bytes(90 * KIB), bytes(90 * KIB), bytes(90 * KIB) + b"tail"],
    [b"x" * 5000, bytes(300 * KIB), b"y" * 5000, bytes(70 * KIB)],
    [(b"x" + bytes(4 * KIB)) * 50],
)


@pytest.mark.parametrize("places", [True, False], ids=["any order", "in order"])
@pytest.mark.parametrize("pieces", SPARSE, ids=range(len(SPARSE)))
def test_long_runs_of_zeros_are_left_out(tmp_path: Path, pieces: list[bytes], places: bool) -> None:
    path = tmp_path / "file"
    target = open_target(str(path), TemporaryFiles())
    if places:
        assert target.write_at
        ends = list(accumulate(map(len, pieces)))
        for piece, end in reversed(list(zip(pieces, ends, strict=True))):
            target.write_at(memoryview(piece), end - len(piece))
    else:
        for piece in pieces:
            target.write(memoryview(piece))
    target.commit()
    assert path.read_bytes() == b"".join(pieces)


def test_a_run_of_zeros_takes_no_space(tmp_path: Path) -> None:
    path = tmp_path / "file"
    written(str(path), b"head" + bytes(5 * KIB * KIB), bytes(3 * KIB * KIB))
    assert path.stat().st_size == 8 * KIB * KIB + 4
    assert path.stat().st_blocks * 512 < 64 * KIB


@given(
    pieces=st.lists(st.one_of(st.binary(max_size=50), st.integers(0, 40).map(bytes))),
    offset=st.integers(0, 100),
)
def test_what_is_left_out_is_zeros(pieces: list[bytes], offset: int) -> None:
    data = b"".join(pieces)
    found = bytearray(len(data))
    last = -1
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sparse, "BLOCK", 4)
        patch.setattr(sparse, "_BLOCK_OF_ZEROS", bytes(4))
        patch.setattr(sparse, "SHORTEST_HOLE", 16)
        patch.setattr(sparse, "_ZEROS", bytes(16))
        for begin, end in sparse.stretches(memoryview(data), offset):
            assert last < begin < end
            found[begin:end] = data[begin:end]
            last = end
    assert found == data


def test_holes_are_for_new_files_alone(tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.write_bytes(b"x" * 200 * KIB)
    descriptor = os.open(path, os.O_WRONLY)
    os.set_inheritable(descriptor, True)
    written(f"/dev/fd/{descriptor}", bytes(200 * KIB))
    os.close(descriptor)
    assert path.read_bytes() == bytes(200 * KIB)


def test_a_device_is_written_straight_through() -> None:
    target = open_target("/dev/null", TemporaryFiles())
    assert isinstance(target, PassedThrough)
    target.write(memoryview(b"x"))
    target.commit()
