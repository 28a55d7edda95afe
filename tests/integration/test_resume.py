"""Nothing is sent twice, and there are no unnecessary requests, according to nginx's log."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING

import pytest

from tests.support.data import MIB, mixed, noise
from tests.support.faulty_server import FaultyServer, Rule, broken, stalled, truncated_object
from tests.support.nginx import Nginx
from tests.support.reference import check_stored
from tests.support.worker import STALL, Worker, download, run_worker, upload

if TYPE_CHECKING:
    from pathlib import Path

    from tests.support.stores import Store


@pytest.fixture
def source(tmp_path: Path) -> Path:
    """Return a file of about 40 distinct chunks."""
    path = tmp_path / "source"
    path.write_bytes(noise(20 * MIB))
    return path


def test_first_upload_hardly_asks(nginx: Store, source: Path) -> None:
    run = run_worker(upload(source, nginx.url))
    assert nginx.server
    asked = Counter(request.method for request in nginx.server.requests())
    assert asked["PUT"] == len(run.terminal["hashes"])
    assert asked["HEAD"] * 2 <= asked["PUT"], asked
    assert set(asked) <= {"HEAD", "PUT"}


def test_repeated_upload_only_asks(nginx: Store, source: Path) -> None:
    hashes = run_worker(upload(source, nginx.url)).terminal["hashes"]
    assert nginx.server
    nginx.server.forget_requests()
    run_worker(upload(source, nginx.url))
    asked = Counter(request.method for request in nginx.server.requests())
    assert set(asked) == {"HEAD"}
    assert asked["HEAD"] <= len(hashes)


@pytest.mark.parametrize("how", ["kill", "cancel", "owner gone"])
def test_interrupted_upload_goes_on_where_it_was(how: str, nginx: Store, source: Path) -> None:
    settings = {"concurrency": 2}
    with Worker(upload(source, nginx.url, settings=settings), read=how != "owner gone") as worker:
        if how == "owner gone":
            for _ in range(4):
                worker.stdout.readline()
            worker.stdout.close()
        else:
            worker.wait_for("CHUNK", count=4)
            worker.signal(9 if how == "kill" else 15)
        interrupted = worker.finish(whole=False, check=how != "owner gone")
    assert interrupted.status in {-9, 143, 1}
    assert nginx.server
    stored = nginx.files()
    run = run_worker(upload(source, nginx.url))
    hashes = run.terminal["hashes"]
    assert 4 <= len(stored) < len(set(hashes)), "the first run was not interrupted in its middle"
    assert run.terminal["new_chunks"] == len(set(hashes) - stored)
    done = [r.key for r in nginx.server.requests("PUT") if r.status in {201, 204}]
    assert Counter(done) == Counter(set(hashes)), "each distinct chunk has to be put exactly once"
    check_stored(nginx.read, hashes, source.read_bytes())


def test_interrupted_upload_to_a_directory(directory: Store, source: Path) -> None:
    with Worker(upload(source, directory.url, settings={"concurrency": 1})) as worker:
        worker.wait_for("CHUNK", count=4)
        worker.signal(9)
        worker.finish(whole=False)
    run = run_worker(upload(source, directory.url))
    hashes = run.terminal["hashes"]
    assert run.terminal["new_chunks"] <= len(set(hashes)) - 4
    check_stored(directory.read, hashes, source.read_bytes())


def test_equal_chunks_of_one_file_are_sent_once(nginx: Store, tmp_path: Path) -> None:
    source = tmp_path / "source"
    source.write_bytes(noise(4 * MIB) * 3)
    hashes = run_worker(upload(source, nginx.url)).terminal["hashes"]
    assert nginx.server
    puts = Counter(request.key for request in nginx.server.requests("PUT"))
    assert puts == Counter(set(hashes))


def test_file_that_grew_sends_only_what_is_new(nginx: Store, tmp_path: Path) -> None:
    source = tmp_path / "source"
    content = mixed(16 * MIB)
    source.write_bytes(content)
    before = run_worker(upload(source, nginx.url)).terminal
    source.write_bytes(content + noise(MIB))
    after = run_worker(upload(source, nginx.url)).terminal
    kept = [new == old for new, old in zip(after["hashes"], before["hashes"], strict=False)]
    assert kept[0], "the beginning is the same"
    assert after["new_bytes"] < MIB * 3


def test_truncated_object_is_not_taken_for_the_chunk(source: Path) -> None:
    """A server that keeps half of an interrupted PUT answers HEAD with 200."""
    once = Rule(truncated_object(), "PUT", tries={1}, nth=range(3, 6))
    settings = {"retry_delay_ms": 1}
    with FaultyServer(once) as server:
        run = run_worker(upload(source, server.url, settings=settings))
        check_stored(server.chunks.__getitem__, run.terminal["hashes"], source.read_bytes())
        # A second try may be one of the requests that the rule counts, and what a kept connection
        # loses is sent again within the try.
        assert 1 <= sum(record.fault is not None for record in server.requests("PUT")) <= 3
        assert len(run.of("CHUNK_RETRY")) <= 3


def test_answer_that_was_lost(source: Path) -> None:
    """The PUT was done but its answer was lost: tried again, and reported once."""
    once = Rule(broken(where="answer", reset=True), "PUT", tries={1})
    with FaultyServer(once) as server:
        run = run_worker(upload(source, server.url, settings={"retry_delay_ms": 1}))
        check_stored(server.chunks.__getitem__, run.terminal["hashes"], source.read_bytes())


def test_silence_costs_the_timeout(tmp_path: Path) -> None:
    source = tmp_path / "source"
    source.write_bytes(b"content")
    settings = {"timeout_ms": 300, "max_attempts": 2, "retry_delay_ms": 1}
    with FaultyServer(Rule(stalled(where="answer"), "PUT")) as server:
        run = run_worker(upload(source, server.url, settings=settings))
    assert run.terminal["code"] == "STORE_UNAVAILABLE"
    assert 0.6 <= run.duration < 1 + STALL


def test_store_that_fails_by_chance(source: Path, tmp_path: Path) -> None:
    """A real server that answers each fifth request with 503, both ways."""
    settings = {"retry_delay_ms": 2, "retry_max_delay_ms": 20, "max_attempts": 20}
    with Nginx(tmp_path / "nginx", failing_share=20) as server:
        run = run_worker(upload(source, server.url, settings=settings))
        assert run.terminal["type"] == "FILE_UPLOADED", run
        assert run.of("CHUNK_RETRY")
        hashes = run.terminal["hashes"]
        back = run_worker(download(tmp_path / "target", server.url, hashes, settings=settings))
        assert back.of("CHUNK_RETRY")
        assert (tmp_path / "target").read_bytes() == source.read_bytes()


def test_store_that_limits_its_rate(tmp_path: Path) -> None:
    """429 slows the run down and does not fail it."""
    source = tmp_path / "source"
    source.write_bytes(noise(6 * MIB))
    settings = {"retry_delay_ms": 50, "retry_max_delay_ms": 500, "max_attempts": 50}
    with Nginx(tmp_path / "nginx", rate=20) as server:
        run = run_worker(upload(source, server.url, settings=settings))
        assert run.terminal["type"] == "FILE_UPLOADED", run
        assert {e["code"] for e in run.of("CHUNK_RETRY")} <= {"STORE_UNAVAILABLE"}
