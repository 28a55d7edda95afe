"""Log lines on standard error: only on request, complete, and without secrets."""

from __future__ import annotations

import json
import os
import re
import subprocess
import time
from typing import TYPE_CHECKING, Any

import pytest

from tests.support.data import KIB, MIB, noise
from tests.support.faulty_server import FIRST, FaultyServer, Rule, honest_after, status
from tests.support.worker import (
    ARTIFACT,
    STALL,
    Run,
    Worker,
    bare_python,
    clean_environ,
    download,
    run_worker,
    upload,
)

if TYPE_CHECKING:
    from pathlib import Path

PAIR = re.compile(r'([a-z_0-9]+)=("(?:[^"\\]|\\.)*"|[^ "=]+)(?: |$)')


def lines_of(stderr: bytes) -> list[dict[str, Any]]:
    """Parse log lines; each has to be pairs from its beginning to its end."""
    found = []
    for line in stderr.decode().splitlines():
        assert "".join(match.group(0) for match in PAIR.finditer(line)) == line, line
        pairs = dict(PAIR.findall(line))
        assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z", pairs["time"])
        assert pairs["level"] in {"debug", "info", "warning", "error"}
        found.append({n: json.loads(v) if v[0] == '"' else v for n, v in pairs.items()})
    return found


def logged(message: object, level: str, **more: str) -> tuple[Run, list[dict[str, Any]]]:
    run = run_worker(message, env={"STORE_WORKERS_LOG": level, **more}, stderr_wanted=True)
    return run, lines_of(run.stderr)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    path = tmp_path / "two words.bin"
    path.write_bytes(noise(600 * KIB))
    return path


def test_debug_shows_every_try_and_every_event(path: Path) -> None:
    settings = {"retry_delay_ms": 1, "progress_interval_ms": 20}
    with FaultyServer(
        Rule(status(503), "PUT", tries=FIRST, nth={1}), Rule(honest_after(0.1), "PUT")
    ) as server:
        run, lines = logged(upload(path, server.url, id="job 1", settings=settings), "debug")
    assert lines[0]["event"] == "UPLOAD_START"
    assert {line["id"] for line in lines} == {"job 1"}
    assert lines[0]["path"] == str(path)
    assert lines[0]["store"] == server.url
    tries = [line for line in lines if line["event"] == "TRY"]
    failed = [line for line in tries if line["code"] != "OK"]
    chunks = run.of("CHUNK")
    assert len(tries) == len(chunks) + 1
    assert [(line["attempt"], line["code"]) for line in failed] == [("1", "STORE_UNAVAILABLE")]
    for chunk in chunks:
        (good,) = [t for t in tries if t["chunk"] == str(chunk["index"]) and t["code"] == "OK"]
        assert good["hash"] == chunk["hash"]
        assert good["attempt"] == str(chunk["attempts"])
        assert good["bytes"] == str(chunk["size"])
        assert 90 <= int(good["duration_ms"]) <= run.terminal["duration_ms"]
    told = [line["event"] for line in lines if line["event"] not in {"TRY", "UPLOAD_START"}]
    assert told == [event["type"] for event in run.events]
    (retry,) = [line for line in lines if line["event"] == "CHUNK_RETRY"]
    assert retry["level"] == "warning"
    assert retry["attempt"] == "1"


def test_info_shows_the_beginning_the_end_and_trouble(path: Path) -> None:
    rules = [Rule(status(500), "PUT", tries=FIRST, nth={2})]
    with FaultyServer(*rules) as server:
        message = upload(path, server.url, settings={"retry_delay_ms": 1})
        run, lines = logged(message, "info")
        assert [line["event"] for line in lines] == ["UPLOAD_START", "CHUNK_RETRY", "FILE_UPLOADED"]
        assert "hashes" not in lines[-1]
        assert lines[-1]["size"] == str(600 * KIB)
        copy = path.with_name("copy")
        _, lines = logged(download(copy, server.url, run.terminal["hashes"]), "INFO")
        assert [line["event"] for line in lines] == ["DOWNLOAD_START", "FILE_DOWNLOADED"]


def test_warning_shows_trouble_alone(path: Path) -> None:
    with FaultyServer(Rule(status(500), "PUT")) as server:
        settings = {"max_attempts": 2, "retry_delay_ms": 1, "concurrency": 1}
        _, lines = logged(upload(path, server.url, settings=settings), "warning")
    assert [(line["level"], line["event"]) for line in lines] == [
        ("warning", "CHUNK_RETRY"),
        ("error", "ERROR"),
    ]
    assert lines[-1]["chunk"] == "0"
    assert lines[-1]["attempt"] == "2"
    assert lines[-1]["http_status"] == "500"
    assert run_worker(
        upload(path, path.parent / "store"), env={"STORE_WORKERS_LOG": "warning"}
    ).stderr == (b"")


def test_unknown_word_counts_as_info_and_says_so(path: Path) -> None:
    _, lines = logged(upload(path, path.parent / "store"), "verbose")
    assert [line["event"] for line in lines] == ["LOG", "UPLOAD_START", "FILE_UPLOADED"]
    assert lines[0]["message"] == (
        "STORE_WORKERS_LOG is not one of debug, info, warning: using info"
    )


@pytest.mark.parametrize("level", [None, ""])
def test_silent_by_default(path: Path, level: str | None) -> None:
    run = run_worker(upload(path, path.parent / "store"), env={"STORE_WORKERS_LOG": level})
    assert run.stderr == b""


SECRET = "s3cr3t-Zx81"


@pytest.mark.parametrize(
    ("auth", "url"),
    [
        ({"bearer_token": SECRET}, "{}"),
        ({"username": "u", "password": SECRET}, "{}"),
        (None, "http://user:" + SECRET + "@{}"),
        (None, "{}?token=" + SECRET),
    ],
)
@pytest.mark.parametrize("fails", [False, True])
def test_no_secret_in_any_line(
    path: Path, auth: dict[str, str] | None, url: str, fails: bool
) -> None:
    rules = [Rule(status(401, body=SECRET.encode()))] if fails else []
    with FaultyServer(*rules) as server:
        base = server.url.removeprefix("http://") if "@" in url else server.url
        message = upload(path, url.format(base), **({"auth": auth} if auth else {}))
        run, lines = logged(message, "debug")
        assert len(lines) >= 3
        assert lines[0]["store"] == server.url
        assert SECRET.encode() not in run.stderr
        assert SECRET.encode() not in run.stdout
        sent = json.dumps([record.headers for record in server.requests()])
        assert server.requests()
        assert "authorization" in sent or "?" in url


def test_token_of_the_environment_is_not_logged(path: Path) -> None:
    with FaultyServer() as server:
        run, _ = logged(upload(path, server.url), "debug", STORE_WORKERS_TOKEN=SECRET)
        assert server.requests()[0].headers["authorization"] == f"Bearer {SECRET}"
    assert SECRET.encode() not in run.stderr


def test_log_that_nobody_reads_holds_nothing_up(tmp_path: Path) -> None:
    path = tmp_path / "big.bin"
    path.write_bytes(noise(8 * MIB))
    ours, theirs = os.pipe()  # 64 KiB, and far less than the lines of this run
    try:
        started = time.monotonic()
        done = subprocess.run(
            [bare_python(), str(ARTIFACT)],
            input=json.dumps(
                upload(path, tmp_path / "store", settings={"progress_interval_ms": 1})
            ).encode(),
            stdout=subprocess.PIPE,
            stderr=theirs,
            env=clean_environ({"STORE_WORKERS_LOG": "debug"}),
            check=False,
            timeout=60,
        )
        assert done.returncode == 0
        assert time.monotonic() - started < 60
    finally:
        os.close(ours)
        os.close(theirs)


def test_full_pipe_delays_no_cancellation(tmp_path: Path) -> None:
    path = tmp_path / "big.bin"
    path.write_bytes(noise(4 * MIB))
    ours, theirs = os.pipe()
    os.set_blocking(theirs, False)
    try:
        while os.write(theirs, b"x" * 4096):
            pass
    except BlockingIOError:
        pass
    os.set_blocking(theirs, True)
    with FaultyServer(Rule(honest_after(60), "PUT")) as server:
        process = subprocess.Popen(
            [bare_python(), str(ARTIFACT)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=theirs,
            env=clean_environ({"STORE_WORKERS_LOG": "debug"}),
        )
        assert process.stdin
        process.stdin.write(json.dumps(upload(path, server.url)).encode() + b"\n")
        process.stdin.flush()
        while not server.requests("PUT"):
            time.sleep(0.01)
        process.terminate()
        started = time.monotonic()
        stdout, _ = process.communicate(timeout=60)
    os.close(ours)
    os.close(theirs)
    assert process.returncode == 143
    assert json.loads(stdout.splitlines()[-1])["code"] == "CANCELLED"
    assert time.monotonic() - started < 3 + STALL


def test_refused_message_is_logged(tmp_path: Path) -> None:
    with Worker(
        b'{"type":"UPLOAD_START"}\n', env={"STORE_WORKERS_LOG": "info"}, stderr_wanted=True
    ) as worker:
        run = worker.finish()
    (line,) = lines_of(run.stderr)
    assert line["event"] == "ERROR"
    assert line["code"] == "BAD_MESSAGE"
