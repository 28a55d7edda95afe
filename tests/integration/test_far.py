"""Limited connections and stores: a requested rate, a store that serves few requests."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING

import pytest

from tests.support.data import MIB, noise
from tests.support.faulty_server import FaultyServer, Rule, honest_after, stalled, status
from tests.support.stores import STORES
from tests.support.worker import Run, download, run_worker, upload

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from tests.support.faulty_server import Exchange
    from tests.support.stores import Store

RATE = 2 * MIB
CHUNKS = 40


@pytest.fixture(params=["directory", "nginx"])
def limited_store(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Store]:
    """A store on a file system, and one behind a socket."""
    with STORES[request.param](tmp_path) as made:
        yield made


def test_rate_limit_holds_in_both_directions(limited_store: Store, tmp_path: Path) -> None:
    source = tmp_path / "source"
    source.write_bytes(noise(2 * MIB))
    settings = {"rate_limit": RATE, "progress_interval_ms": 50}
    stored = run_worker(upload(source, limited_store.url, settings=settings))
    back = download(tmp_path / "back", limited_store.url, stored.terminal["hashes"])
    fetched = run_worker({**back, "settings": settings})
    assert (tmp_path / "back").read_bytes() == source.read_bytes()
    for run in (stored, fetched):
        # Later would be a busy machine's fault; earlier is ours.
        assert run.terminal["duration_ms"] >= 850


class Turnstile:
    """Serves `most` PUTs at once, and applies a fault to the others."""

    def __init__(self, most: int, otherwise: Callable[[Exchange], None]) -> None:
        self._most = most
        self._otherwise = otherwise
        self._lock = threading.Lock()
        self._inside = 0
        self.turned_away = 0

    def __call__(self, exchange: Exchange) -> None:
        with self._lock:
            full = self._inside >= self._most
            self.turned_away += full
            self._inside += not full
        if full:
            self._otherwise(exchange)
            return
        try:
            honest_after(0.01)(exchange)
        finally:
            with self._lock:
                self._inside -= 1


def reset(exchange: Exchange) -> None:
    """Close without an answer."""
    exchange.receive()
    exchange.connection.reset()


def leave_waiting(exchange: Exchange) -> None:
    """Do not answer for longer than the worker waits."""
    exchange.receive()
    exchange.wait(3)


@pytest.mark.parametrize(
    ("otherwise", "settings"),
    [
        pytest.param(status(503), {}, id="503"),
        pytest.param(status(503), {"concurrency": 32}, id="503, though 32 were asked for"),
        pytest.param(reset, {}, id="a reset"),
        pytest.param(leave_waiting, {"timeout_ms": 1000}, id="silence"),
    ],
)
def test_store_that_takes_six_at_once(
    otherwise: Callable[[Exchange], None], settings: dict[str, int], tmp_path: Path
) -> None:
    source = tmp_path / "source"
    source.write_bytes(noise(CHUNKS * MIB // 2))
    turnstile = Turnstile(6, otherwise)
    with FaultyServer(Rule(turnstile, "PUT")) as server:
        quick = {"retry_delay_ms": 20, "retry_max_delay_ms": 200}
        run = run_worker(upload(source, server.url, settings={**quick, **settings}))
    assert run.terminal["type"] == "FILE_UPLOADED"
    assert len(run.of("CHUNK_RETRY")) <= 3 * CHUNKS
    assert_few_tries(run)


def assert_few_tries(run: Run) -> None:
    """No chunk gets near its last try while others succeed."""
    assert max(chunk["attempts"] for chunk in run.of("CHUNK")) <= 6


@pytest.mark.parametrize("late", [-1, 3], ids=["the last chunk", "one in the middle"])
def test_connection_that_stalls_does_not_hold_up_a_download(late: int, tmp_path: Path) -> None:
    source = tmp_path / "source"
    source.write_bytes(noise(CHUNKS * MIB // 4))
    with FaultyServer() as server:
        hashes = run_worker(upload(source, server.url)).terminal["hashes"]
        key = hashes[late]
        server.rules.append(Rule(stalled(where="body"), "GET", key=key, tries={1}))
        run = run_worker(download(tmp_path / "back", server.url, hashes))
        assert server.tries("GET", key) == 2
    assert (tmp_path / "back").read_bytes() == source.read_bytes()
    assert run.terminal["duration_ms"] < 25_000, "it waited for the whole timeout"
    assert run.of("CHUNK_RETRY") == []
