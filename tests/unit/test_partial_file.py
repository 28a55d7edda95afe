"""Partial files: their checks, names and permissions."""

from __future__ import annotations

import errno
import hashlib
import os
import stat
from functools import cache
from random import Random
from typing import TYPE_CHECKING, Any

import pytest

from store_workers.errors import ErrorCode, StoreFailure, WorkerError
from store_workers.files import partial_file
from store_workers.files.atomic_file import TemporaryFiles
from store_workers.files.kept_chunks import SLOTS, KeptChunks
from store_workers.files.partial_file import JOURNAL, PART, PartialFile, Piece
from tests.stores.memory_store import MemoryStore
from tests.unit.in_process import InProcess, download, upload

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from store_workers.wire.events import FileDownloaded

MIB = 1024 * 1024


@cache
def content() -> bytes:
    """Noise, zeros and noise, in some 15 frames."""
    return Random(1).randbytes(6 * MIB) + bytes(3 * MIB) + Random(2).randbytes(5 * MIB + 99)


LIST = bytes(range(32))


def opened(path: Path, list_digest: bytes = LIST) -> PartialFile:
    return PartialFile(str(path), list_digest, TemporaryFiles())


def pieces(sizes: list[int]) -> Iterator[tuple[Piece, bytes]]:
    """Consecutive frames, with content for each."""
    offset = content_offset = 0
    for number, size in enumerate(sizes):
        yield Piece(offset, 7, content_offset, size, 5, number, offset), os.urandom(size)
        offset += 7
        content_offset += size


def written(path: Path, sizes: list[int]) -> list[bytes]:
    """Write pieces into a partial file, and leave it as a failed run does."""
    file = opened(path)
    file.go_on_behind(0, 0)
    contents = []
    for piece, content in pieces(sizes):
        file.append(piece, memoryview(content))
        contents.append(content)
    file.close()
    return contents


def found(path: Path, list_digest: bytes = LIST) -> list[bytes]:
    file = opened(path, list_digest)
    contents = [content for _, content in file.checked()]
    file.close()
    return contents


def test_what_was_written_is_found_again(tmp_path: Path) -> None:
    contents = written(tmp_path / "file", [10, 0, 100_000, 1])
    names = sorted(os.listdir(tmp_path))
    assert names == [f".file.0001020304050607.{end}" for end in ("chnk", "jrnl", "part")]
    assert {stat.S_IMODE((tmp_path / name).stat().st_mode) for name in names} == {0o600}
    assert found(tmp_path / "file") == contents
    assert found(tmp_path / "file") == contents


def test_records_of_another_list_are_none(tmp_path: Path) -> None:
    written(tmp_path / "file", [10, 20])
    other = LIST[:8] + bytes(24)
    assert found(tmp_path / "file", other) == []


@pytest.mark.parametrize("seed", range(40))
def test_nothing_damaged_is_believed(tmp_path: Path, seed: int) -> None:
    random = Random(seed)
    contents = written(tmp_path / "file", [1000] * 8)
    for _ in range(random.randint(1, 3)):
        path = tmp_path / f".file.0001020304050607.{random.choice(['part', 'jrnl'])}"
        data = bytearray(path.read_bytes())
        place = random.randrange(len(data))
        if random.random() < 0.4:
            data[place] ^= 1 << random.randrange(8)
        elif random.random() < 0.5:
            del data[place:]
        else:
            data[place : place + 50] = random.randbytes(random.randrange(1, 90))
        path.write_bytes(data)
    left = found(tmp_path / "file")
    assert left == contents[: len(left)]


def test_pieces_that_do_not_follow_are_not_believed(tmp_path: Path) -> None:
    written(tmp_path / "file", [1000] * 4)
    journal = tmp_path / ".file.0001020304050607.jrnl"
    records = journal.read_bytes()
    size = len(records) // 4
    journal.write_bytes(records[:size] + records[2 * size :])
    assert len(found(tmp_path / "file")) == 1
    journal.write_bytes(records[size:])
    assert found(tmp_path / "file") == []


def test_one_run_at_a_time(tmp_path: Path) -> None:
    first = opened(tmp_path / "file")
    with pytest.raises(WorkerError, match="another run") as raised:
        opened(tmp_path / "file")
    assert raised.value.code is ErrorCode.FILE_WRITE_FAILED
    first.close()
    opened(tmp_path / "file").close()
    assert os.listdir(tmp_path) == [], "nothing worth keeping was kept"


@pytest.mark.parametrize("kind", ["link", "hard link", "fifo", "another's", "readable journal"])
def test_what_others_may_have_planted_is_refused(tmp_path: Path, kind: str) -> None:
    written(tmp_path / "file", [10])
    part = tmp_path / ".file.0001020304050607.part"
    if kind == "hard link":
        os.link(part, tmp_path / "other")
    elif kind == "another's":
        os.chown(part, 12345, -1)
    elif kind == "readable journal":
        part.with_suffix(".jrnl").chmod(0o666)
    else:
        part.rename(tmp_path / "other")
        part.symlink_to("other") if kind == "link" else os.mkfifo(part)
    with pytest.raises(WorkerError) as raised:
        opened(tmp_path / "file")
    assert raised.value.code is ErrorCode.FILE_WRITE_FAILED
    assert "remove it" in raised.value.message


def test_a_long_name_is_cut(tmp_path: Path) -> None:
    contents = written(tmp_path / ("ü" * 127), [10])
    assert found(tmp_path / ("ü" * 127)) == contents
    assert all(len(os.fsencode(name)) <= 255 for name in os.listdir(tmp_path))


@pytest.mark.parametrize("kind", ["directory", "fifo", "nowhere"])
def test_targets_that_cannot_be_resumed(tmp_path: Path, kind: str) -> None:
    target = tmp_path / "file"
    if kind == "directory":
        target.mkdir()
    elif kind == "fifo":
        os.mkfifo(target)
    else:
        target = tmp_path / "none" / "file"
    with pytest.raises(WorkerError) as raised:
        opened(target)
    assert raised.value.code in {ErrorCode.FILE_WRITE_FAILED, ErrorCode.FILE_NOT_FOUND}


def test_kept_chunks(tmp_path: Path) -> None:
    descriptor = os.open(tmp_path / "ring", os.O_RDWR | os.O_CREAT)
    chunks = [os.urandom(5000 - number) for number in range(SLOTS + 3)]
    hashes = [hashlib.sha256(chunk).hexdigest() for chunk in chunks]
    kept = KeptChunks(descriptor)
    for hash, chunk in zip(hashes, chunks, strict=True):
        kept.put(hash, chunk)
    kept.put(hashes[0], bytes(100_000))  # larger than a slot
    os.pwrite(descriptor, b"damage", 8192 * 10 + 1000)
    again = KeptChunks(descriptor)
    right = [again.get(hash) == chunk for hash, chunk in zip(hashes, chunks, strict=True)]
    assert right == [number > 2 and number != 10 for number in range(SLOTS + 3)]
    os.ftruncate(descriptor, 0)
    os.pwrite(descriptor, b"\xff" * 100, 0)
    assert KeptChunks(descriptor).get(hashes[5]) is None
    os.close(descriptor)


def test_end_that_fails_leaves_no_large_file_but_the_partial_one(tmp_path: Path) -> None:
    file = opened(tmp_path / "file")
    file.go_on_behind(0, 0)
    ((piece, content),) = pieces([10])
    file.append(piece, memoryview(content))
    file.kept.put(hashlib.sha256(content).hexdigest(), content)
    (tmp_path / "file").mkdir()  # nothing can take its place
    with pytest.raises(WorkerError):
        file.commit()
    file.close()
    endings = {name.rpartition(".")[2] for name in os.listdir(tmp_path) if name != "file"}
    assert endings == {"part", "jrnl"}
    (tmp_path / "file").rmdir()
    assert found(tmp_path / "file") == [content]


@pytest.mark.parametrize("full", [PART, JOURNAL])
def test_kept_chunks_make_room_for_what_was_written(
    full: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """For each of the files that finds the disk full, and for the journal's next page."""
    file = opened(tmp_path / "file")
    file.go_on_behind(0, 0)
    ((piece, content),) = pieces([10])
    file.kept.put(hashlib.sha256(content).hexdigest(), content)
    (ring,) = tmp_path.glob("*.chnk")
    (struck,) = tmp_path.glob(f"*{full}")
    number = struck.stat().st_ino

    def write(descriptor: int, data: memoryview, place: int) -> None:
        if os.fstat(descriptor).st_ino == number and ring.stat().st_size:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        os.pwrite(descriptor, data, place)

    monkeypatch.setattr(partial_file, "write_all_at", write)
    file.append(piece, memoryview(content))
    assert ring.stat().st_size == 0
    file.close()
    assert found(tmp_path / "file") == [content]


# Downloads.


class Stopping(MemoryStore):
    """A store that returns some chunks, and then fails."""

    def __init__(self, gives: int) -> None:
        super().__init__()
        self.left = gives
        self.given: list[str] = []

    def get(self, hash: str) -> bytes:
        if self.left == 0:
            raise StoreFailure(ErrorCode.STORE_UNAVAILABLE, "it stops")
        self.left -= 1
        self.given.append(hash)
        return super().get(hash)


@pytest.fixture(scope="module")
def stored(tmp_path_factory: pytest.TempPathFactory) -> tuple[Stopping, list[str]]:
    store = Stopping(-1)
    source = tmp_path_factory.mktemp("source") / "source"
    source.write_bytes(content())
    return store, list(upload(source, store).hashes)


def begun(path: Path, stored: tuple[Stopping, list[str]], gives: int, **more: Any) -> None:
    """Download until the store stops."""
    store, hashes = stored
    store.left = gives
    message = {"type": "DOWNLOAD_START", "path": str(path), "hashes": hashes, "resume": True}
    run = InProcess({**message, **more}, store)
    with pytest.raises(WorkerError, match="it stops"):
        run.finish()
    store.left = -1
    store.given.clear()


def resumed(path: Path, stored: tuple[Stopping, list[str]], **more: Any) -> FileDownloaded:
    store, hashes = stored
    end = download(path, store, hashes, resume=True, **more)
    assert path.read_bytes() == content()
    assert os.listdir(path.parent) == [path.name]
    assert end.size == len(content())
    assert end.compressed_size == len(store.stream(hashes))
    return end


@pytest.mark.parametrize("gives", [0, 1, 7, 13, 19])
@pytest.mark.parametrize("digest", [False, True])
def test_a_download_goes_on_where_it_stopped(
    tmp_path: Path, stored: tuple[Stopping, list[str]], gives: int, digest: bool
) -> None:
    path = tmp_path / "file"
    path.write_bytes(b"old")
    begun(path, stored, gives)
    assert path.read_bytes() == b"old"
    more = {"sha256": hashlib.sha256(content()).hexdigest()} if digest else {}
    end = resumed(path, stored, **more)
    assert len(stored[0].given) == len(stored[1]) - gives, "fetched twice"
    assert end.resumed_bytes is not None


def damaged_part(folder: Path) -> None:
    for path in folder.glob("*.part"):
        path.write_bytes(path.read_bytes()[: 5 * MIB // 2])


def damaged_middle(folder: Path) -> None:
    for path in folder.glob("*.part"):
        with path.open("r+b") as file:
            file.seek(3 * MIB)
            file.write(b"damage")


def no_journal(folder: Path) -> None:
    for path in folder.glob("*.jrnl"):
        path.unlink()


def longer(folder: Path) -> None:
    for path in folder.iterdir():
        with path.open("ab") as file:
            file.write(b"\xff" * 20 * MIB)


@pytest.mark.parametrize("damage", [damaged_part, damaged_middle, no_journal, longer])
def test_what_does_not_check_is_fetched_again(
    tmp_path: Path, stored: tuple[Stopping, list[str]], damage: Callable[[Path], None]
) -> None:
    begun(tmp_path / "file", stored, 20)
    damage(tmp_path)
    resumed(tmp_path / "file", stored)


def test_what_is_not_what_was_wanted_is_not_kept(
    tmp_path: Path, stored: tuple[Stopping, list[str]]
) -> None:
    store, hashes = stored
    with pytest.raises(WorkerError) as raised:
        download(tmp_path / "file", store, hashes, resume=True, sha256="0" * 64)
    assert raised.value.code is ErrorCode.FILE_MISMATCH
    assert os.listdir(tmp_path) == []


def test_a_new_file_has_the_mode_that_the_umask_leaves(
    tmp_path: Path, stored: tuple[Stopping, list[str]]
) -> None:
    before = os.umask(0o027)
    try:
        resumed(tmp_path / "file", stored)
        assert stat.S_IMODE((tmp_path / "file").stat().st_mode) == 0o640
        (tmp_path / "file").chmod(0o600)
        resumed(tmp_path / "file", stored)
        assert stat.S_IMODE((tmp_path / "file").stat().st_mode) == 0o600
    finally:
        os.umask(before)
