"""Credentials, with real HTTP servers and proxies, and with no other server."""

from __future__ import annotations

from typing import TYPE_CHECKING
from urllib.parse import quote

import pytest

from tests.stores.scripted_server import Reply, ScriptedServer
from tests.support.forward_proxy import ForwardProxy
from tests.support.nginx import Nginx, basic_header
from tests.support.processes import HOST
from tests.support.rclone import Rclone
from tests.support.worker import download, run_worker, upload

if TYPE_CHECKING:
    from pathlib import Path

    from tests.support.data import Inputs

QUICK = {"max_attempts": 2, "retry_delay_ms": 10}


@pytest.fixture
def source(inputs: Inputs) -> Path:
    return inputs.path("600 KiB")


def with_user(url: str, user: str) -> str:
    return url.replace("://", f"://{user}@")


def test_bearer_token(source: Path, tmp_path: Path) -> None:
    with Nginx(tmp_path / "nginx", bearer="right-token") as server:
        auth = {"bearer_token": "right-token"}
        told = run_worker(upload(source, server.url, auth=auth)).terminal
        assert told["type"] == "FILE_UPLOADED"
        env = {"STORE_WORKERS_TOKEN": "right-token"}
        message = download(tmp_path / "back", server.url, told["hashes"])
        assert run_worker(message, env=env).terminal["type"] == "FILE_DOWNLOADED"
        env = {"STORE_WORKERS_TOKEN": "wrong-token"}
        assert run_worker(upload(source, server.url, auth=auth), env=env).status == 0
        for run in (
            run_worker(upload(source, server.url)),
            run_worker(upload(source, server.url), env=env),
            run_worker(upload(source, server.url, auth={"bearer_token": "wrong"})),
        ):
            assert (run.terminal["code"], run.terminal["http_status"]) == (
                "STORE_ACCESS_DENIED",
                401,
            )
            assert not run.of("CHUNK_RETRY")


@pytest.mark.parametrize("user", ["me:secret", "me:pass word", "mé:ü€", "me:", "me:p@q/?#"])
def test_basic(user: str, source: Path, tmp_path: Path) -> None:
    name, _, password = user.partition(":")
    with Nginx(tmp_path / "nginx", basic=(name, password)) as server:
        url = with_user(server.url, f"{quote(name, safe='')}:{quote(password, safe='')}")
        assert run_worker(upload(source, url)).terminal["type"] == "FILE_UPLOADED"
        auth = {"username": name, "password": password}
        env = {"STORE_WORKERS_TOKEN": "a-token-that-is-not-asked-for"}
        again = run_worker(upload(source, server.url, auth=auth), env=env).terminal
        assert again["new_chunks"] == 0
        assert {r.authorization for r in server.requests()} == {basic_header(name, password)}
        over = run_worker(upload(source, with_user(server.url, "x:y"), auth=auth))
        assert over.status == 0, "auth wins over the URL"
        assert run_worker(upload(source, with_user(server.url, "x:y"))).status == 1


def test_webdav_with_a_password(source: Path, tmp_path: Path) -> None:
    with Rclone(tmp_path / "rclone", "webdav", "--user", "me", "--pass", "secret") as server:
        assert run_worker(upload(source, with_user(server.url, "me:secret"))).status == 0
        run = run_worker(upload(source, server.url))
        assert (run.terminal["code"], run.terminal["http_status"]) == ("STORE_ACCESS_DENIED", 401)


def test_read_only_store(source: Path, tmp_path: Path) -> None:
    limit = ["limit_except GET { deny all; }"]
    with Nginx(tmp_path / "nginx", location=limit) as server:
        run = run_worker(upload(source, server.url))
    assert (run.terminal["code"], run.terminal["http_status"]) == ("STORE_ACCESS_DENIED", 403)


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
def test_credentials_never_follow_a_redirect(status: int, source: Path, tmp_path: Path) -> None:
    stored = run_worker(upload(source, tmp_path / "store", settings={"concurrency": 1})).terminal
    hashes = stored["hashes"]
    chunks = {hash: (tmp_path / "store" / hash[:2] / hash).read_bytes() for hash in hashes}
    auth = {"bearer_token": "topsecret"}
    one = {"concurrency": 1}
    with ScriptedServer(*[Reply(200, chunks[hash]) for hash in hashes]) as other:
        away = {"Location": f"{other.url}/chunks?signature=abc"}
        with ScriptedServer(*[Reply(status, headers=away)] * 20) as server:
            sent = run_worker(upload(source, server.url, auth=auth))
            assert (sent.terminal["code"], sent.terminal["http_status"]) == (
                "STORE_REJECTED",
                status,
            )
            assert f"{other.url}/chunks: use that server" in sent.terminal["message"]
            assert other.asked == []
            message = download(tmp_path / "back", server.url, hashes, auth=auth, settings=one)
            assert run_worker(message).terminal["type"] == "FILE_DOWNLOADED"
        assert {asked.path for asked in other.asked} == {"/chunks?signature=abc"}
        assert not any("authorization" in asked.headers for asked in other.asked)
    assert (tmp_path / "back").read_bytes() == source.read_bytes()


def test_proxy_forwards_http(source: Path, tmp_path: Path) -> None:
    with Nginx(tmp_path / "nginx", bearer="token") as server, ForwardProxy("me:secret") as proxy:
        env = {"http_proxy": proxy.url("me:secret"), "STORE_WORKERS_TOKEN": "token"}
        told = run_worker(upload(source, f"{server.url}/a?b=c"), env=env).terminal
        assert told["type"] == "FILE_UPLOADED"
        assert all(f" {server.url}/a/" in line for line in proxy.requests)
        assert all("?b=c " in line for line in proxy.requests)
        assert {request.authorization for request in server.requests()} == {"Bearer token"}
        denied = run_worker(
            upload(source, server.url, settings=QUICK), env={**env, "http_proxy": proxy.url("x:y")}
        )
        assert (denied.terminal["code"], denied.terminal["http_status"]) == (
            "STORE_ACCESS_DENIED",
            407,
        )
        seen = len(proxy.requests)
        direct = {**env, "no_proxy": HOST}
        assert run_worker(upload(source, server.url), env=direct).status == 0
        upper = {"HTTP_PROXY": proxy.url("x:y"), "STORE_WORKERS_TOKEN": "token"}
        assert run_worker(upload(source, server.url), env=upper).status == 0
        assert len(proxy.requests) == seen


@pytest.mark.parametrize("value", ["socks5://127.0.0.1:1080", "http://", "http://a b:1"])
def test_bad_proxy_is_named(value: str, source: Path) -> None:
    run = run_worker(upload(source, "http://127.0.0.1:1"), env={"http_proxy": value})
    assert (run.status, run.terminal["code"]) == (2, "BAD_MESSAGE")
    assert run.terminal["message"].startswith("http_proxy: ")


@pytest.mark.parametrize("token", ["two\r\nX-Evil: 1", "ü", "a\tb"])
def test_token_that_is_no_header(token: str, source: Path) -> None:
    run = run_worker(upload(source, "http://127.0.0.1:1", auth={"bearer_token": token}))
    assert (run.status, run.terminal["code"]) == (2, "BAD_MESSAGE")
    run = run_worker(upload(source, "http://127.0.0.1:1"), env={"STORE_WORKERS_TOKEN": token})
    assert (run.status, run.terminal["code"]) == (2, "BAD_MESSAGE")
    assert token not in run.stdout.decode()
