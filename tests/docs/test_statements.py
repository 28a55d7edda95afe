"""What docs/protocol.md says in prose, tried: each test is named by the sentence it stands for."""

from __future__ import annotations

import json
import os
import signal
import stat
import subprocess
import threading
import time
from contextlib import suppress
from typing import TYPE_CHECKING, Any

import pytest

from tests.support.data import KIB, MIB, noise
from tests.support.faulty_server import FaultyServer, Rule, stalled
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
    from pathlib import Path


@pytest.fixture
def path(tmp_path: Path) -> Path:
    path = tmp_path / "file"
    path.write_bytes(noise(600 * KIB))
    return path


@pytest.fixture
def store(tmp_path: Path) -> Path:
    return tmp_path / "store"


def line(message: Any) -> bytes:
    return json.dumps(message).encode() + b"\n"


def test_the_work_starts_at_the_newline_while_stdin_stays_open(path: Path, store: Path) -> None:
    with Worker(upload(path, store), close_stdin=False) as worker:
        assert worker.finish().status == 0


def test_an_object_over_several_lines_ends_with_stdin(path: Path, store: Path) -> None:
    text = json.dumps(upload(path, store), indent=2).encode()
    assert run_worker(text).status == 0


def test_blank_lines_before_it_are_skipped(path: Path, store: Path) -> None:
    assert run_worker(b"\n  \r\n\n" + line(upload(path, store))).status == 0


def test_what_follows_the_newline_is_not_read_as_a_message(path: Path, store: Path) -> None:
    assert run_worker(line(upload(path, store)) + b"not json at all\n").status == 0


def test_a_first_line_that_cannot_begin_an_object_is_refused_at_once() -> None:
    with Worker(b"hello\n", close_stdin=False) as worker:
        assert worker.finish().status == 2


@pytest.mark.parametrize(
    "text",
    [
        b'{"type":"UPLOAD_START","path":"a","path":"b"}\n',
        b'{"type":"UPLOAD_START","path":"a","size":NaN}\n',
        b'{"type":"UPLOAD_START","path":"a","size":5.0}\n',
        b'{"type":"UPLOAD_START","path":"a","id":null}\n',
        b'{"type":"UPLOAD_START","path":"a","extra":1}\n',
        b'{"type":"UPLOAD_START","path":"\\ud800"}\n',
        b'{"type":"UPLOAD_START","path":"a\\u0000b"}\n',
        b'{"type":"UPLOAD_START","path":"\xff"}\n',
    ],
)
def test_json_is_taken_strictly(text: bytes) -> None:
    assert run_worker(text).status == 2


def test_a_message_of_more_than_256_mib_is_refused(tmp_path: Path) -> None:
    start = b'{"type":"UPLOAD_START","path":"'
    process = subprocess.Popen(
        [bare_python(), str(ARTIFACT)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        env=clean_environ(),
    )
    assert process.stdin
    assert process.stdout

    def send() -> None:
        assert process.stdin
        with suppress(BrokenPipeError):
            process.stdin.write(start)
            for _ in range(257):
                process.stdin.write(b"x" * MIB)
        with suppress(BrokenPipeError):
            process.stdin.close()

    sender = threading.Thread(target=send, daemon=True)
    with process:
        sender.start()
        event = json.loads(process.stdout.read())
        sender.join(20)
    assert process.returncode == 2
    assert event["code"] == "BAD_MESSAGE"
    assert "longer than" in event["message"]


def test_the_refusal_of_a_message_has_its_id() -> None:
    event = run_worker({"type": "UPLOAD_START", "id": "job-1"}).terminal
    assert event["id"] == "job-1"


@pytest.mark.parametrize(("number", "status"), [("SIGINT", 130), ("SIGTERM", 143), ("SIGHUP", 129)])
def test_a_signal_stops_it_with_128_and_its_number(path: Path, number: str, status: int) -> None:
    with (
        FaultyServer(Rule(stalled(where="answer"), "PUT")) as server,
        Worker(upload(path, server.url)) as worker,
    ):
        while not server.requests("PUT"):
            time.sleep(0.01)
        worker.signal(getattr(signal, number))
        run = worker.finish(check=False)
    assert run.status == status
    assert json.loads(run.stdout.splitlines()[-1])["code"] == "CANCELLED"


def test_sighup_that_was_ignored_at_the_start_stays_ignored(path: Path, store: Path) -> None:
    script = 'trap "" HUP; exec "$0" "$1"'
    with FaultyServer(Rule(stalled(where="answer"), "PUT")) as server:
        process = subprocess.Popen(
            ["sh", "-c", script, bare_python(), str(ARTIFACT)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            env=clean_environ(),
        )
        assert process.stdin
        process.stdin.write(line(upload(path, server.url)))
        process.stdin.flush()
        while not server.requests("PUT"):
            time.sleep(0.01)
        process.send_signal(signal.SIGHUP)
        time.sleep(0.5)
        assert process.poll() is None
        process.terminate()
        process.communicate(timeout=10)
    assert process.returncode == 143


def test_a_symbolic_link_to_a_file_is_replaced_itself(path: Path, store: Path) -> None:
    hashes = run_worker(upload(path, store)).terminal["hashes"]
    folder = path.parent
    (folder / "pointed-to").write_text("old")
    (folder / "link").symlink_to("pointed-to")
    (folder / "dangling").symlink_to("nowhere")
    for name in ("link", "dangling"):
        assert run_worker(download(folder / name, store, hashes)).status == 0
        assert not (folder / name).is_symlink()
        assert (folder / name).read_bytes() == path.read_bytes()
    assert (folder / "pointed-to").read_text() == "old"
    assert not (folder / "nowhere").exists()


def test_permissions_of_a_file_that_is_replaced_are_kept(path: Path, store: Path) -> None:
    hashes = run_worker(upload(path, store)).terminal["hashes"]
    old, new = path.with_name("old"), path.with_name("new")
    old.write_text("old")
    old.chmod(0o640)
    before = os.umask(0o027)
    try:
        run_worker(download(old, store, hashes))
        run_worker(download(new, store, hashes))
    finally:
        os.umask(before)
    assert stat.S_IMODE(old.stat().st_mode) == 0o640
    assert stat.S_IMODE(new.stat().st_mode) == 0o666 & ~0o027


def test_the_directory_must_exist(path: Path, store: Path) -> None:
    hashes = run_worker(upload(path, store)).terminal["hashes"]
    event = run_worker(download(path.parent / "no" / "file", store, hashes)).terminal
    assert event["code"] == "FILE_NOT_FOUND"


@pytest.mark.parametrize("name", ["/dev/stdin", "/dev/stdout", "/dev/fd/0", "/dev/fd/1"])
@pytest.mark.parametrize("kind", ["upload", "download"])
def test_descriptors_of_message_and_events_are_refused(name: str, kind: str, store: Path) -> None:
    message = upload(name, store) if kind == "upload" else download(name, store, ["0" * 64])
    event = run_worker(message).terminal
    assert event["code"] == "BAD_MESSAGE"
    assert event["message"].startswith("path: ")


def test_a_descriptor_is_handed_over_in_both_directions(path: Path, store: Path) -> None:
    with path.open("rb") as source:
        number = source.fileno()
        run = run_worker(upload(f"/dev/fd/{number}", store), pass_fds=[number])
    copy = path.with_name("copy")
    with copy.open("wb") as target:
        number = target.fileno()
        message = download(f"/dev/fd/{number}", store, run.terminal["hashes"])
        assert run_worker(message, pass_fds=[number]).status == 0
    assert copy.read_bytes() == path.read_bytes()


def test_bytes_of_a_name_that_are_no_utf8_come_as_lone_surrogates(
    tmp_path: Path, store: Path
) -> None:
    name = os.fsencode(tmp_path) + b"/odd-\xff"
    with open(name, "wb") as file:
        file.write(b"content")
    text = b'{"type":"UPLOAD_START","path":"%s","store":"%s"}\n' % (
        os.fsencode(tmp_path) + b"/odd-\\udcff",
        os.fsencode(store),
    )
    run = run_worker(text, env={"LC_ALL": "C"})
    assert run.status == 0
    assert run.terminal["path"].endswith("/odd-\udcff")


def test_the_level_decides_the_hashes_and_threads_do_not(tmp_path: Path, store: Path) -> None:
    path = tmp_path / "numbers"
    path.write_bytes(b"".join(b"%d\n" % number for number in range(700_000)))
    lists = {
        (level, threads): run_worker(
            upload(
                path,
                store,
                settings={"compression_level": level, "compression_threads": threads},
            )
        ).terminal["hashes"]
        for level in (1, 3)
        for threads in (1, 3)
    }
    assert lists[1, 1] == lists[1, 3]
    assert lists[3, 1] == lists[3, 3]
    assert lists[1, 1] != lists[3, 1]


def test_the_same_chunk_twice_in_a_file_is_sent_once(tmp_path: Path, store: Path) -> None:
    path = tmp_path / "twice"
    path.write_bytes(noise(4 * MIB) * 2)
    run = run_worker(upload(path, store, settings={"compression_threads": 1}))
    chunks = run.of("CHUNK")
    assert len({chunk["hash"] for chunk in chunks}) == run.terminal["new_chunks"]
    stored = [each for each in store.glob("*/*") if each.is_file()]
    assert len(stored) == run.terminal["new_chunks"]
