"""Streams: FIFOs and descriptors of any length, with constant memory."""

from __future__ import annotations

import contextlib
import json
import os
import subprocess
import threading
from typing import TYPE_CHECKING

import pytest

from tests.support.data import MIB, mixed, noise, text
from tests.support.faulty_server import FaultyServer, Rule, stalled
from tests.support.reference import check_stored, digest
from tests.support.worker import (
    ARTIFACT,
    Worker,
    bare_python,
    clean_environ,
    download,
    run_worker,
    upload,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from tests.support.stores import Store

# A short run ends before its queues were ever full: what a long one may take more, under 2 % of it.
TOLERANCE = 16 * MIB
TOLERANCE_BACK = 32 * MIB
CEILING = 100 * MIB


@contextlib.contextmanager
def beside(work: Callable[[], object]) -> Iterator[None]:
    """Do something in a thread for as long as the block lasts."""
    thread = threading.Thread(target=work, daemon=True)
    thread.start()
    yield
    thread.join(30)
    assert not thread.is_alive()


def write_all(descriptor: int, content: bytes) -> None:
    """Write to a pipe and close it."""
    with open(descriptor, "wb") as stream:
        stream.write(content)


def read_all(descriptor: int, into: list[bytes]) -> None:
    """Read a pipe to its end."""
    with open(descriptor, "rb") as stream:
        into.append(stream.read())


def test_upload_from_a_fifo(directory: Store, tmp_path: Path) -> None:
    content = mixed(5 * MIB)
    fifo = tmp_path / "fifo"
    os.mkfifo(fifo)
    with beside(lambda: fifo.write_bytes(content)):
        run = run_worker(upload(fifo, directory.url, sha256=True))
    assert (run.terminal["size"], run.terminal["sha256"]) == (len(content), digest(content))
    check_stored(directory.read, run.terminal["hashes"], content)


def test_upload_from_a_descriptor(directory: Store) -> None:
    content = text(3 * MIB)
    reader, writer = os.pipe()
    with beside(lambda: write_all(writer, content)):
        message = upload(f"/dev/fd/{reader}", directory.url)
        with Worker(message, pass_fds=[reader]) as worker:
            os.close(reader)
            run = worker.finish()
    assert run.terminal["size"] == len(content)
    check_stored(directory.read, run.terminal["hashes"], content)


def test_same_bytes_same_hashes_whatever_the_way(directory: Store, tmp_path: Path) -> None:
    content = mixed(6 * MIB)
    source = tmp_path / "source"
    source.write_bytes(content)
    as_file = run_worker(upload(source, directory.url)).terminal["hashes"]
    reader, writer = os.pipe()

    def in_drops() -> None:
        with open(writer, "wb", buffering=0) as stream:
            stream.writelines(
                content[start : start + 10_007] for start in range(0, len(content), 10_007)
            )

    with (
        beside(in_drops),
        Worker(upload(f"/dev/fd/{reader}", directory.url), pass_fds=[reader]) as worker,
    ):
        os.close(reader)
        run = worker.finish()
    assert run.terminal["hashes"] == as_file
    assert run.terminal["new_chunks"] == 0


def test_stream_of_the_expected_length(directory: Store, tmp_path: Path) -> None:
    fifo = tmp_path / "fifo"
    os.mkfifo(fifo)
    with beside(lambda: fifo.write_bytes(b"x" * 1000)):
        run = run_worker(upload(fifo, directory.url, size=1000))
    assert run.terminal["type"] == "FILE_UPLOADED", run


@pytest.mark.parametrize("size", [999, 1001])
def test_stream_of_another_length(directory: Store, tmp_path: Path, size: int) -> None:
    """A dump that died is not a success, and its last chunks are not stored."""
    fifo = tmp_path / "fifo"
    os.mkfifo(fifo)
    with beside(lambda: fifo.write_bytes(b"x" * 1000)):
        run = run_worker(upload(fifo, directory.url, size=size))
    assert run.terminal["code"] == "FILE_MISMATCH", run


def stored(directory: Store, tmp_path: Path, content: bytes) -> list[str]:
    """Put some bytes into the store."""
    source = tmp_path / "source"
    source.write_bytes(content)
    hashes: list[str] = run_worker(upload(source, directory.url)).terminal["hashes"]
    return hashes


def test_download_into_a_fifo(directory: Store, tmp_path: Path) -> None:
    content = mixed(6 * MIB)
    hashes = stored(directory, tmp_path, content)
    fifo = tmp_path / "target"
    os.mkfifo(fifo)
    got: list[bytes] = []
    with beside(lambda: got.append(fifo.read_bytes())):
        run = run_worker(download(fifo, directory.url, hashes))
    assert run.terminal["type"] == "FILE_DOWNLOADED", run
    assert got == [content]
    assert fifo.is_fifo()


def test_download_into_a_descriptor(directory: Store, tmp_path: Path) -> None:
    content = mixed(6 * MIB)
    hashes = stored(directory, tmp_path, content)
    reader, writer = os.pipe()
    got: list[bytes] = []
    with beside(lambda: read_all(reader, got)):
        message = download(f"/dev/fd/{writer}", directory.url, hashes, sha256=digest(content))
        with Worker(message, pass_fds=[writer]) as worker:
            os.close(writer)
            run = worker.finish()
    assert run.terminal["type"] == "FILE_DOWNLOADED", run
    assert got == [content]


def test_damage_behind_a_fifo_is_told(directory: Store, tmp_path: Path) -> None:
    """Written bytes cannot be taken back, but the run is not a success."""
    hashes = stored(directory, tmp_path, noise(6 * MIB))
    fifo = tmp_path / "target"
    os.mkfifo(fifo)
    with beside(fifo.read_bytes):
        run = run_worker(download(fifo, directory.url, hashes[:-1]))
    assert run.terminal["code"] == "STREAM_CORRUPT", run


SPELLINGS = ["/dev/stdout", "/dev/fd/1", "/proc/self/fd/1", "/dev//stdout", "/dev/./fd/1", "link"]


@pytest.mark.parametrize("path", SPELLINGS)
def test_stdout_is_for_events_alone(directory: Store, tmp_path: Path, path: str) -> None:
    hashes = stored(directory, tmp_path, b"content")
    (tmp_path / "link").symlink_to("/dev/stdout")
    run = run_worker(download(tmp_path / path, directory.url, hashes))
    assert run.terminal["code"] == "BAD_MESSAGE", run
    assert len(run.events) == 1
    assert (tmp_path / "link").is_symlink()


@pytest.mark.parametrize("path", [name.replace("stdout", "stdin") for name in SPELLINGS])
def test_stdin_is_for_the_message_alone(directory: Store, tmp_path: Path, path: str) -> None:
    (tmp_path / "link").symlink_to("/dev/stdin")
    place = tmp_path / path.replace("fd/1", "fd/0")
    run = run_worker(upload(place, directory.url))
    assert run.terminal["code"] == "BAD_MESSAGE", run


def test_the_file_that_takes_the_events_is_no_target(directory: Store, tmp_path: Path) -> None:
    hashes = stored(directory, tmp_path, b"content")
    events = tmp_path / "events"
    message = json.dumps(download(events, directory.url, hashes)).encode() + b"\n"
    with events.open("wb") as stdout:
        subprocess.run(
            [bare_python(), str(ARTIFACT)],
            input=message,
            stdout=stdout,
            check=False,
            env=clean_environ(),
        )
    assert json.loads(events.read_bytes())["code"] == "BAD_MESSAGE"


@pytest.mark.parametrize("kind", ["file", "fifo", "descriptor"])
def test_what_was_taken_from_a_pipe_cannot_be_asked_for_again(kind: str, tmp_path: Path) -> None:
    """The same message, sent again, would store a stream without its beginning."""
    source = tmp_path / "source"
    content = noise(3 * MIB)
    reader, writer = os.pipe()
    if kind == "file":
        source.write_bytes(content)
    else:
        os.mkfifo(source)

    def feed() -> None:
        with contextlib.suppress(BrokenPipeError):
            write_all(writer if kind == "descriptor" else os.open(source, os.O_WRONLY), content)

    if kind != "file":
        threading.Thread(target=feed, daemon=True).start()
    path = f"/dev/fd/{reader}" if kind == "descriptor" else source
    message = upload(path, "http://127.0.0.1:1/nobody", settings={"max_attempts": 1})
    with Worker(message, pass_fds=[reader]) as worker:
        os.close(reader)
        run = worker.finish()
    assert run.terminal["code"] == "STORE_UNAVAILABLE", run
    assert run.terminal["retryable"] is (kind == "file")


@pytest.mark.parametrize("kind", ["file", "fifo"])
def test_what_was_written_to_a_pipe_is_not_written_again(kind: str, tmp_path: Path) -> None:
    content = noise(8 * MIB)
    with FaultyServer() as server:
        (tmp_path / "source").write_bytes(content)
        hashes = run_worker(upload(tmp_path / "source", server.url)).terminal["hashes"]
        server.rules.append(Rule(stalled(where="body"), "GET", key=hashes[-1]))
        target = tmp_path / "target"
        if kind == "fifo":
            os.mkfifo(target)
            threading.Thread(target=target.read_bytes, daemon=True).start()
        message = download(target, server.url, hashes, settings={"progress_interval_ms": 10})
        with Worker(message) as worker:
            worker.wait_for(lambda e: e["type"] == "PROGRESS" and e["written_bytes"] > 0)
            worker.signal(15)
            run = worker.finish()
    assert run.terminal["code"] == "CANCELLED", run
    assert run.terminal["retryable"] is (kind == "file")


def test_fifo_whose_writer_never_comes_can_be_cancelled(directory: Store, tmp_path: Path) -> None:
    fifo = tmp_path / "fifo"
    os.mkfifo(fifo)
    message = upload(fifo, directory.url, settings={"progress_interval_ms": 20})
    with Worker(message) as worker:
        worker.wait_for("PROGRESS")
        worker.signal(15)
        run = worker.finish()
    assert run.status == 143
    assert run.terminal["retryable"] is True, "nothing was taken yet"


def pattern() -> bytes:
    """Return 8 MiB: an eighth of them noise, so that there are chunks to store."""
    return noise(MIB) + text(7 * MIB)


def stream(directory: Store, folder: Path, repeat: int) -> tuple[int, list[str]]:
    """Upload a stream of ``repeat`` times 8 MiB; return the peak of memory and the hashes."""
    fifo = folder / f"fifo-{repeat}"
    os.mkfifo(fifo)
    block = pattern()

    def feed() -> None:
        with fifo.open("wb", buffering=0) as pipe:
            for _ in range(repeat):
                view = memoryview(block)
                while view:
                    view = view[pipe.write(view) :]

    with beside(feed):
        run = run_worker(upload(fifo, directory.url), measure=True, timeout=110)
    assert run.terminal["size"] == repeat * len(block), run
    return run.peak_rss, run.terminal["hashes"]


@pytest.mark.timeout(240)
@pytest.mark.parametrize(
    "length", [256, pytest.param(1024, marks=pytest.mark.by_command("large"))], ids=str
)
def test_memory_does_not_grow_with_the_stream(
    length: int, directory: Store, tmp_path: Path
) -> None:
    """Many MiB through a FIFO take no more memory than 64 MiB, in both directions."""
    short, short_hashes = stream(directory, tmp_path, 64 // 8)
    long, long_hashes = stream(directory, tmp_path, length // 8)
    assert long <= short + TOLERANCE, f"{long / MIB:.0f} MiB against {short / MIB:.0f}"
    assert long <= CEILING

    def back(hashes: list[str]) -> int:
        message = download("/dev/null", directory.url, hashes)
        run = run_worker(message, measure=True, timeout=110)
        assert run.terminal["type"] == "FILE_DOWNLOADED", run
        return run.peak_rss

    short, long = back(short_hashes), back(long_hashes)
    assert long <= short + TOLERANCE_BACK, f"{long / MIB:.0f} MiB against {short / MIB:.0f}"
    assert long <= CEILING
