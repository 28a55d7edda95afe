"""The built artifact on stores that people have: SeaweedFS, Azure's emulator, WebDAV servers.

Each test does the same: a round trip, a repeat that sends nothing, a missing chunk, wrong
credentials, many requests at once, and the loss of a server or a part of it.
"""

from __future__ import annotations

import threading
import time
from random import Random
from typing import TYPE_CHECKING, Any

import pytest

from tests.support.azurite import Azurite
from tests.support.seaweed import SeaweedFS
from tests.support.webdav import Apache, Lighttpd
from tests.support.worker import Worker, download, run_worker, upload

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

SIZE = 6 << 20
MANY = {"concurrency": 64}
QUICK = {"max_attempts": 2, "retry_delay_ms": 10}
MISSING = "ab" * 32


class Place:
    """A store as a message names it, and what can happen to it.

    `strange` are the fields of somebody without the right; `hurt` and `heal` are called in the
    middle of an upload.
    """

    def __init__(
        self,
        store: str,
        fields: dict[str, Any],
        strange: dict[str, Any],
        hurt: Callable[[], object] | None = None,
        heal: Callable[[], object] = lambda: None,
    ) -> None:
        self.store = store
        self.fields = fields
        self.strange = strange
        self.hurt = hurt
        self.heal = heal

    def upload(self, path: Path, **more: Any) -> Any:
        fields = {**self.fields, **more}
        return upload(path, fields.pop("store", self.store), **fields)

    def download(self, path: Path, hashes: list[str], **more: Any) -> Any:
        return download(path, self.store, hashes, **{**self.fields, **more})


@pytest.fixture(scope="module")
def seaweed(tmp_path_factory: pytest.TempPathFactory) -> Iterator[SeaweedFS]:
    with SeaweedFS(tmp_path_factory.mktemp("seaweed") / "cluster") as server:
        yield server


KINDS = ["apache", "lighttpd", "azurite", "seaweed-s3", "seaweed"]
ASKING = ["apache", "lighttpd", "azurite", "seaweed-s3"]
"""Those that ask for credentials."""
MORTAL = ["apache", "lighttpd", "seaweed-s3"]
"""Those of which something can die, and come back with what it has."""


@pytest.fixture(scope="module", params=KINDS)
def place(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Any:
    folder = tmp_path_factory.mktemp(request.param) / "server"
    wrong = {"auth": {"username": "me", "password": "wrong"}}
    if request.param in {"apache", "lighttpd"}:
        kind = Apache if request.param == "apache" else Lighttpd
        with kind(folder) as server:
            # The folders are not there yet.
            url = f"{server.url}/deep/er"
            yield Place(url, {"auth": server.auth}, wrong, server.stop, server.start)
        return
    if request.param == "azurite":
        with Azurite(folder) as azure:
            headers = {"x-ms-blob-type": "BlockBlob"}
            strange = {"store": azure.store(azure.sas()[:-5] + "AAA%3D"), "headers": headers}
            yield Place(azure.store(), {"headers": headers}, strange)
        return
    cluster: SeaweedFS = request.getfixturevalue("seaweed")
    if request.param == "seaweed-s3":
        strange = {"auth": {"access_key_id": "testkey", "secret_access_key": "wrong"}}
        kill = cluster.kill_a_volume_server
        yield Place(cluster.store(), {"auth": cluster.auth}, strange, kill)
        return
    yield Place(f"{cluster.url}/chunks", {}, {})


@pytest.fixture(scope="module")
def source(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("source") / "file"
    path.write_bytes(Random(7).randbytes(SIZE))
    return path


def test_round_trip(place: Place, source: Path, tmp_path: Path) -> None:
    first = run_worker(place.upload(source, settings=MANY))
    assert first.status == 0, first
    again = run_worker(place.upload(source)).terminal
    assert (again["new_chunks"], again["hashes"]) == (0, first.terminal["hashes"])
    back = run_worker(place.download(tmp_path / "back", again["hashes"], settings=MANY))
    assert back.status == 0, back
    assert (tmp_path / "back").read_bytes() == source.read_bytes()


def test_a_missing_chunk(place: Place, tmp_path: Path) -> None:
    run = run_worker(place.download(tmp_path / "back", [MISSING], settings=QUICK))
    assert (run.terminal["code"], run.terminal["http_status"]) == ("CHUNK_NOT_FOUND", 404), run


@pytest.mark.parametrize("place", ASKING, indirect=True, scope="module")
def test_wrong_credentials(place: Place, source: Path) -> None:
    run = run_worker(place.upload(source, settings=QUICK, **place.strange))
    assert run.terminal["code"] == "STORE_ACCESS_DENIED", run
    assert run.terminal["http_status"] in {401, 403}


@pytest.mark.parametrize("place", MORTAL, indirect=True, scope="module")
def test_a_server_that_dies_in_the_middle(place: Place, tmp_path: Path) -> None:
    assert place.hurt
    path = tmp_path / "file"
    path.write_bytes(Random(8).randbytes(2 * SIZE))
    with Worker(place.upload(path, settings={"rate_limit": 2 * SIZE, **MANY})) as worker:
        worker.wait_for("CHUNK", count=5)
        place.hurt()
        healing = threading.Timer(0.5, place.heal)
        healing.start()
        run = worker.finish()
        healing.join()
    assert run.status == 0, run
    back = run_worker(place.download(tmp_path / "back", run.terminal["hashes"]))
    assert back.status == 0, back
    assert (tmp_path / "back").read_bytes() == path.read_bytes()


def test_a_restart_of_two_seconds_is_survived_by_the_defaults(tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.write_bytes(Random(9).randbytes(SIZE))
    with Apache(tmp_path / "apache") as server:
        server.stop()
        coming = threading.Timer(2.0, server.start)
        coming.start()
        started = time.monotonic()
        run = run_worker(upload(path, server.url, auth=server.auth))
        coming.join()
    assert run.status == 0, run
    assert run.of("CHUNK_RETRY")
    assert time.monotonic() - started > 1.9
