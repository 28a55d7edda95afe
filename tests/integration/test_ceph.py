"""The S3 store with a real Ceph: three storage daemons, a gateway, and real faults."""

from __future__ import annotations

import shutil
import tempfile
import time
import zlib
from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from tests.support.ceph import Ceph
from tests.support.data import MIB, noise
from tests.support.forward_proxy import ForwardProxy
from tests.support.reference import check_stored, digest
from tests.support.tcp_proxy import Hurt, TcpProxy
from tests.support.worker import Worker, download, run_worker, upload

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.support.contract import Event
    from tests.support.data import Inputs
    from tests.support.worker import Message

pytestmark = pytest.mark.timeout(180)


@pytest.fixture(scope="module")
def ceph() -> Iterator[Ceph]:
    folder = Path(tempfile.mkdtemp(prefix="ceph"))  # sockets lie in it: pytest's paths are too long
    try:
        with Ceph(folder / "c") as made:
            yield made
    finally:
        shutil.rmtree(folder, ignore_errors=True)


@pytest.fixture
def source(tmp_path: Path, request: pytest.FixtureRequest) -> Path:
    """Noise that no other test stores: 16 chunks of 512 KiB, and the short ones at the end."""
    path = tmp_path / "source"
    path.write_bytes(noise(8 * MIB, seed=zlib.crc32(request.node.name.encode())))
    return path


def stored(ceph: Ceph, prefix: str, wanted: str) -> bytes:
    answer = ceph.client.get_object(Bucket=ceph.bucket, Key=f"{prefix}/{wanted}")
    return bytes(answer["Body"].read())


@pytest.mark.parametrize("name", ["0 bytes", "600 KiB", "15 MiB mixed"])
def test_round_trip_and_nothing_sent_twice(
    name: str, ceph: Ceph, inputs: Inputs, tmp_path: Path
) -> None:
    source, prefix = inputs.path(name), f"trip/a b+ü/{len(name)}"
    url = ceph.store(prefix.replace(" ", "%20"))
    with ForwardProxy() as witness:
        env = {**ceph.environ, "http_proxy": witness.url()}
        told = run_worker(upload(source, url), env=env).terminal
        assert told["type"] == "FILE_UPLOADED"
        puts = Counter(line for line in witness.requests if line.startswith("PUT "))
        assert len(puts) == told["new_chunks"] == len(set(told["hashes"]))
        assert set(puts.values()) == {1}
        content = source.read_bytes()
        check_stored(lambda wanted: stored(ceph, prefix, wanted), told["hashes"], content)
        witness.requests.clear()
        again = run_worker(upload(source, url), env=env).terminal
        assert (again["hashes"], again["new_chunks"]) == (told["hashes"], 0)
        methods = Counter(line.split(" ")[0] for line in witness.requests)
        assert set(methods) <= {"HEAD", "GET"}
        assert methods["GET"] <= 1, "one page of the bucket's list at most"
    target = tmp_path / "back"
    message = download(target, url, told["hashes"], sha256=digest(content))
    assert run_worker(message, env=ceph.environ).terminal["type"] == "FILE_DOWNLOADED"
    assert target.read_bytes() == content


def test_missing_object_bucket_and_wrong_secrets(ceph: Ceph, source: Path, tmp_path: Path) -> None:
    message = download(tmp_path / "back", ceph.store("gone"), ["ab" * 32])
    missing = run_worker(message, env=ceph.environ).terminal
    assert (missing["code"], missing["http_status"]) == ("CHUNK_NOT_FOUND", 404)
    nowhere = run_worker(upload(source, ceph.store("x", bucket="nowhere")), env=ceph.environ)
    assert nowhere.terminal["code"] == "STORE_REJECTED"
    assert "no bucket nowhere" in nowhere.terminal["message"]
    for change, word in (
        ({"AWS_SECRET_ACCESS_KEY": "wrong"}, "SignatureDoesNotMatch"),
        ({"AWS_ACCESS_KEY_ID": "wrong"}, "InvalidAccessKeyId"),
    ):
        run = run_worker(upload(source, ceph.store("x")), env={**ceph.environ, **change})
        assert run.terminal["code"] == "STORE_ACCESS_DENIED"
        assert word in run.terminal["message"]
        assert not run.of("CHUNK_RETRY")


def test_writers_of_the_same_chunks_at_once(ceph: Ceph, source: Path) -> None:
    """The first writer stores a chunk; for the others it is present."""
    message = upload(source, ceph.store("race"))
    workers = [Worker(message, env=ceph.environ) for _ in range(3)]
    try:
        runs = [worker.finish() for worker in workers]
    finally:
        for worker in workers:
            worker.close()
    assert {run.terminal["type"] for run in runs} == {"FILE_UPLOADED"}
    distinct = set(runs[0].terminal["hashes"])
    assert sum(run.terminal["new_chunks"] for run in runs) == len(distinct)
    assert ceph.keys("race/").keys() == distinct


def test_a_cut_object_is_replaced_in_spite_of_the_condition(ceph: Ceph, source: Path) -> None:
    url = ceph.store("cut")
    told = run_worker(upload(source, url), env=ceph.environ).terminal
    client = ceph.client
    for wanted in (told["hashes"][0], told["hashes"][5]):  # one is asked for, one is not
        client.put_object(Bucket=ceph.bucket, Key=f"cut/{wanted}", Body=b"cut")
    again = run_worker(upload(source, url), env=ceph.environ)
    assert again.terminal["type"] == "FILE_UPLOADED"
    content = source.read_bytes()
    check_stored(lambda wanted: stored(ceph, "cut", wanted), told["hashes"], content)


def test_damaged_body_is_refused_by_the_server_and_sent_again(ceph: Ceph, source: Path) -> None:
    hurt = Hurt("flip", "up", after=300_000)
    with TcpProxy(ceph.port, hurt, connections={1, 2}) as proxy:
        url = ceph.store("flip").replace(str(ceph.port), str(proxy.port))
        settings = {"retry_delay_ms": 10, "concurrency": 2}
        run = run_worker(upload(source, url, settings=settings), env=ceph.environ)
    assert run.terminal["type"] == "FILE_UPLOADED", run
    retries = run.of("CHUNK_RETRY")
    assert {event["code"] for event in retries} == {"CHUNK_CORRUPT"}
    assert "XAmzContentSHA256Mismatch" in retries[0]["message"]
    content = source.read_bytes()
    check_stored(lambda wanted: stored(ceph, "flip", wanted), run.terminal["hashes"], content)


def test_slow_down_is_survived_with_fewer_requests(ceph: Ceph, source: Path) -> None:
    with ceph.at_most(2):
        message = upload(
            source,
            ceph.store("slow"),
            settings={"concurrency": 16, "max_attempts": 30, "retry_max_delay_ms": 500},
        )
        run = run_worker(message, env=ceph.environ)
    assert run.terminal["type"] == "FILE_UPLOADED", run
    retries = run.of("CHUNK_RETRY")
    assert retries, "sixteen requests at once should have been too many"
    assert {event["code"] for event in retries} == {"STORE_UNAVAILABLE"}
    assert all("503" in event["message"] for event in retries)
    assert ceph.keys("slow/").keys() == set(run.terminal["hashes"])


def test_suspended_user(ceph: Ceph, source: Path, tmp_path: Path) -> None:
    told = run_worker(upload(source, ceph.store("user")), env=ceph.environ).terminal
    with ceph.suspended():
        for message in (
            upload(source, ceph.store("suspended")),
            download(tmp_path / "back", ceph.store("user"), told["hashes"]),
        ):
            run = eventually_fails(message, ceph.environ)
            assert run["code"] == "STORE_ACCESS_DENIED"
            assert "UserSuspended" in run["message"]
            assert run["http_status"] == 403


def eventually_fails(message: Message, env: dict[str, str]) -> Event:
    """Run until the gateway has noticed a change of its configuration."""
    deadline = time.monotonic() + 30
    while True:
        terminal = run_worker(message, env=env).terminal
        if terminal["type"] == "ERROR" or time.monotonic() > deadline:
            return terminal
        time.sleep(0.5)


def test_full_quota(ceph: Ceph, source: Path) -> None:
    held = len(ceph.keys(""))
    with ceph.quota(held + 3):
        run = run_worker(upload(source, ceph.store("quota")), env=ceph.environ)
        assert run.terminal["code"] == "STORE_REJECTED", run
        assert "QuotaExceeded" in run.terminal["message"]
        assert not run.terminal["retryable"]
        assert not run.of("CHUNK_RETRY")
    again = run_worker(upload(source, ceph.store("quota")), env=ceph.environ)
    assert again.terminal["type"] == "FILE_UPLOADED"


def test_clock_that_is_wrong(ceph: Ceph, source: Path) -> None:
    """A request signed an hour ago, sent again: what a host with a wrong clock sends."""
    import urllib3

    from store_workers.stores.s3.errors import read_error
    from store_workers.stores.s3.signing import NO_BODY, Keys, Signer

    keys = Keys(ceph.access_key, ceph.secret_key)
    host = ceph.url.removeprefix("http://")
    signer = Signer(host, "us-east-1", lambda: time.time() - 3600)
    path = f"/{ceph.bucket}/{'ab' * 32}"
    with urllib3.PoolManager() as pool:
        headers = signer.headers("GET", path, NO_BODY, keys)
        answer = pool.request("GET", ceph.url + path, headers=headers, retries=False)
    assert answer.status == 403
    assert read_error(answer.data).code == "RequestTimeTooSkewed"


def test_stall_of_the_cluster_costs_the_timeout_and_is_survived(ceph: Ceph, source: Path) -> None:
    settings = {"timeout_ms": 1000, "max_attempts": 20, "retry_max_delay_ms": 200}
    message = upload(source, ceph.store("stall"), settings=settings)
    with ceph.stalled():
        worker = Worker(message, env=ceph.environ)
        try:
            event = worker.wait_for("CHUNK_RETRY")
        except BaseException:
            worker.close()
            raise
        assert event["code"] == "STORE_UNAVAILABLE"
    with worker:
        assert worker.finish().terminal["type"] == "FILE_UPLOADED"


def test_one_of_three_daemons_is_killed(ceph: Ceph, tmp_path: Path) -> None:
    """Runs last, since the cluster is not repaired: in an upload, then in a download."""
    source = tmp_path / "large"
    source.write_bytes(noise(48 * MIB, seed=8))
    message = upload(source, ceph.store("kill"), settings={"concurrency": 4})
    with Worker(message, env=ceph.environ) as worker:
        worker.wait_for("CHUNK", count=10)
        ceph.kill_osd(0)
        told = worker.finish(90).terminal
    assert told["type"] == "FILE_UPLOADED"
    sizes = ceph.keys("kill/")
    assert sizes.keys() == set(told["hashes"])
    assert sum(sizes.values()) == told["compressed_size"]

    target = tmp_path / "back"
    whole = {"sha256": digest(source.read_bytes()), "settings": {"progress_interval_ms": 5}}
    message = download(target, ceph.store("kill"), told["hashes"], **whole)
    with Worker(message, env=ceph.environ) as worker:
        worker.wait_for(lambda event: event.get("fetched_chunks", 0) >= 5)
        ceph.kill_osd(1)
        assert worker.finish(90).terminal["type"] == "FILE_DOWNLOADED"
    assert target.read_bytes() == source.read_bytes()
