"""Chunks with genuine hashes that are not a stream of a worker."""

from __future__ import annotations

import os
import shutil
import signal
import struct
import subprocess
import threading
import time
from functools import cache
from typing import TYPE_CHECKING, Any

import pytest

from tests.faults.conftest import stored_form
from tests.faults.states import bomb_chunk
from tests.faults.test_disk import small_disk
from tests.support.data import KIB, MIB, mixed
from tests.support.reference import LONGEST, digest
from tests.support.worker import STALL, Session, Worker, download, run_worker, session, upload

if TYPE_CHECKING:
    from pathlib import Path

    from tests.faults.conftest import Stored
    from tests.support.faulty_server import Exchange

MAGIC = b"\x28\xb5\x2f\xfd"
FLAT = 150 * MIB
TERABYTE = 1 << 40


def put(store: Path, stream: bytes, size: int = LONGEST) -> list[str]:
    """Put a stream into a directory store, cut every ``size`` bytes; return the hashes."""
    hashes = []
    for start in range(0, len(stream), size):
        chunk = stream[start : start + size]
        name = digest(chunk)
        (store / name[:2]).mkdir(parents=True, exist_ok=True)
        (store / name[:2] / name).write_bytes(chunk)
        hashes.append(name)
    return hashes


def run_length_block(last: bool) -> bytes:
    """Return four bytes that decode to 128 KiB: of no zeros, which would become holes."""
    return (int(last) | 1 << 1 | (128 * KIB) << 3).to_bytes(3, "little") + b"x"


def header(content_size: int | None = None, *, window: int = 0x58) -> bytes:
    """Return a frame's head: with a declared size, or with a window and no size."""
    if content_size is None:
        return MAGIC + b"\x00" + bytes([window])
    return MAGIC + b"\xc0" + bytes([window]) + content_size.to_bytes(8, "little")


def whole_frames() -> bytes:
    """Return frames of 4 MiB each, declared and true, a chunk full of them."""
    frame = header(4 * MIB) + run_length_block(False) * 31 + run_length_block(True)
    return frame * (LONGEST // len(frame))


def declared_bomb() -> bytes:
    """Return a frame that declares a terabyte, and goes on for a chunk's length."""
    head = header(TERABYTE)
    return head + run_length_block(False) * ((LONGEST - len(head)) // 4)


BOMBS = {
    "declares nothing": bomb_chunk,
    "declares a terabyte": declared_bomb,
    "whole frames": whole_frames,
}


@pytest.mark.parametrize("name", list(BOMBS))
def test_a_bomb_is_bounded_by_the_size_that_is_given(
    name: str, target: Path, tmp_path: Path
) -> None:
    hashes = put(tmp_path / "store", BOMBS[name]()) * 1000
    message = download(target, tmp_path / "store", hashes, size=64 * MIB)
    run = run_worker(message, measure=True)
    assert run.terminal["code"] == "FILE_MISMATCH", run
    assert run.peak_rss < FLAT
    assert os.listdir(target.parent) == []


@pytest.mark.parametrize("name", list(BOMBS))
def test_a_bomb_is_bounded_by_the_disk(name: str, tmp_path: Path) -> None:
    hashes = put(tmp_path / "store", BOMBS[name]()) * 1000
    with small_disk(tmp_path, "size=64m") as disk:
        message = download(disk / "file", tmp_path / "store", hashes)
        run = run_worker(message, measure=True)
        assert run.terminal["code"] == "FILE_WRITE_FAILED", run
        assert run.peak_rss < FLAT
        assert os.listdir(disk) == []


@pytest.mark.parametrize("name", list(BOMBS))
def test_memory_stays_flat_while_a_bomb_goes_off(name: str, tmp_path: Path) -> None:
    hashes = put(tmp_path / "store", BOMBS[name]()) * 10_000
    with Worker(download("/dev/null", tmp_path / "store", hashes), measure=True) as worker:
        worker.wait_for(lambda e: e["type"] == "PROGRESS" and e["written_bytes"] > 400 * MIB)
        worker.signal(signal.SIGTERM)
        run = worker.finish()
    assert run.status == 143
    assert run.peak_rss < FLAT


EMPTY_LAST_BLOCK = b"\x01\x00\x00"
SKIPPABLE = struct.pack("<II", 0x184D2A50, 0xFFFFFFFF)
NO_STREAMS = {
    "a window of terabytes": header(window=0xFF) + run_length_block(True),
    "a window of 256 MiB": header(window=(28 - 10) << 3) + run_length_block(True),
    "one segment of terabytes": MAGIC
    + b"\xe0"
    + (1 << 62).to_bytes(8, "little")
    + EMPTY_LAST_BLOCK,
    "the largest size of all": header((1 << 64) - 1) + run_length_block(True),
    "declared to be empty": header(0) + run_length_block(True),
    "shorter than declared": header(256 * KIB) + run_length_block(True),
    "longer than declared": header(64 * KIB) + run_length_block(True),
    "a reserved bit": MAGIC + b"\x08\x58" + EMPTY_LAST_BLOCK,
    "a block of a reserved kind": header() + b"\x07\x00\x00",
    "a block that is too large": header() + (1 | (128 * KIB + 1) << 3).to_bytes(3, "little"),
    "a dictionary": MAGIC + b"\x01\x58\x07" + EMPTY_LAST_BLOCK,
    "a wrong checksum": MAGIC + b"\x04\x58" + EMPTY_LAST_BLOCK + b"\0\0\0\0",
    "an endless frame": header() + run_length_block(False),
    "a skippable frame of 4 GiB": SKIPPABLE + b"x" * 1000,
    "half a magic number": MAGIC[:2],
    "nothing but zeros": bytes(10_000),
    "the format before": b"\x27\xb5\x2f\xfd" + b"\x00" * 20,
    "gzip": b"\x1f\x8b\x08\x00" + bytes(20),
}


def test_what_is_no_stream(target: Path, tmp_path: Path) -> None:
    """Also with size and digest given, one after the other in one session."""
    store = tmp_path / "store"
    claims: tuple[dict[str, Any], ...] = (
        {},
        {"size": 128 * KIB},
        {"sha256": digest(bytes(128 * KIB))},
    )
    messages = [
        download(target, None, put(store, stream), id=f"{name} {claim}", **claim)
        for name, stream in NO_STREAMS.items()
        for claim in claims
    ]
    run = run_worker(session(store, *messages, max_files=1), measure=True)
    codes = {event["id"]: event["code"] for event in run.of("ERROR")}
    assert codes.keys() == {message["id"] for message in messages}
    assert set(codes.values()) <= {"STREAM_CORRUPT", "FILE_MISMATCH"}, codes
    assert run.peak_rss < FLAT
    assert os.listdir(target.parent) == []


@pytest.mark.parametrize("garbage", [b"x", bytes(1000), MAGIC, SKIPPABLE])
def test_what_follows_the_end_of_a_stream(
    garbage: bytes, small: Stored, target: Path, tmp_path: Path
) -> None:
    store = tmp_path / "store"
    stream = b"".join(small.chunks[name] for name in small.hashes)
    hashes = put(store, stream + garbage)
    size, sha256 = len(small.content), digest(small.content)
    for more in ({}, {"size": size, "sha256": sha256}):
        run = run_worker(download(target, store, hashes, **more))
        assert run.terminal["code"] == "STREAM_CORRUPT", run
        assert not target.exists()


def test_streams_behind_each_other(small: Stored, target: Path, tmp_path: Path) -> None:
    """The output of `cat a.zst b.zst`: confirmed if each stream has its own table."""
    store = tmp_path / "store"
    stream = b"".join(small.chunks[name] for name in small.hashes)
    (tmp_path / "second").mkdir()
    second = stored_form(tmp_path / "second", b"another file")
    other = b"".join(second.chunks[name] for name in second.hashes)
    both, content = stream + other, small.content + b"another file"
    run = run_worker(download(target, store, put(store, both)))
    assert (run.terminal["size"], target.read_bytes()) == (len(content), content), run
    target.unlink()
    hashes = put(store, both + header() + b"\x01\0\0")  # and an empty frame that no table lists
    run = run_worker(download(target, store, hashes))
    assert run.terminal["code"] == "STREAM_CORRUPT", run
    assert not target.exists()
    run = run_worker(download(target, store, hashes, sha256=digest(content)))
    assert target.read_bytes() == content, run


@cache
def content() -> bytes:
    return mixed(3 * MIB)


TOOLS = {
    "level 1": ["zstd", "-1"],
    "level 19": ["zstd", "-19"],
    "ultra 22": ["zstd", "--ultra", "-22", "--long=27"],
    "long": ["zstd", "--long=27"],
    "threads": ["zstd", "-T4", "-B1MiB", "-3"],
    "no checksum": ["zstd", "--no-check"],
    "fast": ["zstd", "--fast=5"],
}


@pytest.fixture(scope="module", params=list(TOOLS))
def foreign(request: pytest.FixtureRequest) -> bytes:
    """Another tool's stream of `content`, of unknown size as it comes from a pipe."""
    zstd = shutil.which("zstd")
    assert zstd, "the zstd program is not installed"
    command = [zstd, *TOOLS[request.param][1:], "--stdout", "-"]
    return subprocess.run(command, input=content(), stdout=subprocess.PIPE, check=True).stdout


def test_another_tools_stream(foreign: bytes, target: Path, tmp_path: Path) -> None:
    """It is accepted only if the message gives size or digest."""
    store = tmp_path / "store"
    hashes = put(store, foreign)
    assert len(hashes) > 1
    with Session(store) as one:
        run = one.run(download(target, None, hashes))
        assert run.terminal["code"] == "STREAM_CORRUPT", run
        for more in ({"size": len(content())}, {"sha256": digest(content())}):
            run = one.run(download(target, None, hashes, **more))
            assert run.status == 0, run
            assert target.read_bytes() == content()
            target.unlink()
        run = one.run(download(target, None, hashes, size=len(content()) - 1))
        assert run.terminal["code"] == "FILE_MISMATCH", run
        run = one.run(download(target, None, hashes[:-1], size=len(content())))
        assert run.terminal["code"] in {"STREAM_CORRUPT", "FILE_MISMATCH"}, run
    assert not target.exists()


def test_frames_of_several_tools_and_skippable_ones_between(target: Path, tmp_path: Path) -> None:
    """As `pzstd` writes them, or `cat` puts them together; in chunks of any length."""
    zstd = shutil.which("zstd")
    assert zstd
    parts = [content()[start : start + 128 * KIB] for start in range(0, 384 * KIB, 128 * KIB)]
    frames = [
        subprocess.run(
            [zstd, "--stdout", "-"], input=part, stdout=subprocess.PIPE, check=True
        ).stdout
        for part in parts
    ]
    skippable = struct.pack("<II", 0x184D2A51, 5) + b"notes"
    stream = skippable.join(frames) + skippable
    whole = b"".join(parts)
    for size in (100, 4096, 70_000):
        hashes = put(tmp_path / "store", stream[: 40_000 * size], size)
        run = run_worker(download(target, tmp_path / "store", hashes, sha256=digest(whole)))
        assert run.status == 0, run
        assert target.read_bytes() == whole


def test_verify_finds_nothing_and_changes_nothing(medium: Stored, tmp_path: Path) -> None:
    run = run_worker(upload(medium.path, tmp_path / "store", verify=True))
    assert run.status == 0, run
    assert run.terminal["hashes"] == medium.hashes


# The file changes while it is read.


@pytest.mark.parametrize(
    "change", ["truncated", "shorter", "longer", "written to", "replaced", "removed", "touched"]
)
def test_a_file_that_changes_while_it_is_read(change: str, tmp_path: Path) -> None:
    """The store holds the first chunk back meanwhile, and so the reader."""
    from tests.support.faulty_server import FaultyServer, Rule
    from tests.support.reference import stream_of, zstd_decode

    path = tmp_path / "file"
    content = os.urandom(12 * MIB)
    path.write_bytes(content)
    settings = {"concurrency": 1, "compression_threads": 1}
    for more in ({}, {"size": len(content)}):
        path.write_bytes(content)
        changed = threading.Event()

        def held_back(exchange: Exchange, changed: threading.Event = changed) -> None:
            exchange.receive()
            changed.wait(STALL)
            exchange.send(exchange.honest())

        with FaultyServer(Rule(held_back, "PUT", nth={1})) as server:
            with Worker(upload(path, server.url, settings=settings, **more)) as worker:
                while not server.requests("PUT"):
                    time.sleep(0.005)
                time.sleep(0.2)
                change_file(path, change)
                changed.set()
                run = worker.finish()
            if more and change in {"truncated", "shorter", "longer"}:
                assert run.terminal["code"] == "FILE_MISMATCH", run
                assert not run.of("FILE_UPLOADED")
                continue
            assert run.status == 0, run
            assert run.terminal["changed"] is True
            stream = stream_of(lambda name, s=server: s.chunks[name], run.terminal["hashes"])  # type: ignore[misc]
            assert len(zstd_decode(stream)) == run.terminal["size"]


def change_file(path: Path, change: str) -> None:
    if change in {"truncated", "shorter"}:
        os.truncate(path, 0 if change == "truncated" else 11 * MIB + 1)
    elif change == "longer":
        with path.open("ab") as file:
            file.write(bytes(MIB))
    elif change == "written to":
        with path.open("r+b") as file:
            file.write(b"other")
    elif change == "replaced":
        other = path.with_name("other")
        other.write_bytes(b"other")
        other.replace(path)
    elif change == "removed":
        path.unlink()
    else:
        os.utime(path)


def test_a_file_that_does_not_change(small: Stored, tmp_path: Path) -> None:
    assert run_worker(upload(small.path, tmp_path / "store")).terminal["changed"] is False


@pytest.mark.parametrize("expected", [True, False], ids=["size given", "size unknown"])
@pytest.mark.parametrize("dies", [True, False], ids=["dies", "ends"])
def test_a_writer_that_dies(expected: bool, dies: bool, small: Stored, tmp_path: Path) -> None:
    """A writer that dies looks like the end of the stream: only `size` distinguishes this."""
    reading, writing = os.pipe()
    script = "cat {}; kill -9 $$" if dies else "cat {}; cat {}"
    half = tmp_path / "half"
    half.write_bytes(small.content[: len(small.content) // 2])
    rest = tmp_path / "rest"
    rest.write_bytes(small.content[len(small.content) // 2 :])
    command = script.format(half, rest)
    writer = subprocess.Popen(["sh", "-c", command], stdout=writing)
    os.close(writing)
    more = {"size": len(small.content)} if expected else {}
    message = upload(f"/dev/fd/{reading}", tmp_path / "store", **more)
    with Worker(message, pass_fds=[reading]) as worker:
        os.close(reading)
        run = worker.finish()
    writer.wait()
    if dies and expected:
        assert run.terminal["code"] == "FILE_MISMATCH", run
        assert str(len(small.content)) in run.terminal["message"]
    else:
        assert run.status == 0, run
        assert run.terminal["size"] == len(small.content) // (2 if dies else 1)
