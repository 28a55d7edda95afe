"""TLS with a real nginx: trusted CAs, client certificates, refusals."""

from __future__ import annotations

import datetime as dt
import ssl
import subprocess
from typing import TYPE_CHECKING

import pytest

from tests.support.certificates import Authority
from tests.support.forward_proxy import ForwardProxy
from tests.support.nginx import Nginx, Tls
from tests.support.processes import HOST
from tests.support.tcp_proxy import Hurt, TcpProxy
from tests.support.worker import bare_python, download, run_worker, upload

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from tests.support.data import Inputs

QUICK = {"max_attempts": 2, "retry_delay_ms": 10}


@pytest.fixture
def authority(tmp_path: Path) -> Authority:
    return Authority(tmp_path / "authority")


@pytest.fixture
def server(authority: Authority, tmp_path: Path) -> Iterator[Nginx]:
    with Nginx(tmp_path / "nginx", tls=authority.tls()) as made:
        yield made


@pytest.fixture
def source(inputs: Inputs) -> Path:
    return inputs.path("600 KiB")


@pytest.mark.parametrize("way", ["message", "SSL_CERT_FILE", "SSL_CERT_DIR"])
def test_private_authority(
    way: str, server: Nginx, authority: Authority, source: Path, tmp_path: Path
) -> None:
    env, tls = {}, {}
    if way == "message":
        tls = {"tls": {"ca_file": str(authority.file)}}
        env = {"SSL_CERT_FILE": str(tmp_path / "never-opened")}
    elif way == "SSL_CERT_FILE":
        env = {way: str(authority.file)}
    else:
        folder = tmp_path / "authorities"
        folder.mkdir()
        (folder / "one.pem").write_bytes(authority.file.read_bytes())
        subprocess.run(["openssl", "rehash", str(folder)], check=True)
        env = {way: str(folder)}
    told = run_worker(upload(source, server.url, **tls), env=env).terminal
    assert told["type"] == "FILE_UPLOADED"
    again = run_worker(upload(source, server.url, **tls), env=env).terminal
    assert again["new_chunks"] == 0
    back = run_worker(download(tmp_path / "back", server.url, told["hashes"], **tls), env=env)
    assert back.terminal["type"] == "FILE_DOWNLOADED", back
    assert (tmp_path / "back").read_bytes() == source.read_bytes()


def test_system_authorities_are_the_default(server: Nginx, source: Path) -> None:
    run = run_worker(upload(source, server.url, settings=QUICK))
    assert run.terminal["code"] == "STORE_REJECTED"
    assert "certificate" in run.terminal["message"] or "issuer" in run.terminal["message"]
    assert not run.of("CHUNK_RETRY"), "what does not verify is not tried again"
    assert server.requests() == []


def issue(tmp_path: Path, kind: str) -> tuple[Tls, Authority]:
    """Return a server's certificate that must not be taken, and the authority that is trusted."""
    authority = Authority(tmp_path / "authority")
    if kind == "foreign":
        return Authority(tmp_path / "foreign").tls(), authority
    if kind == "other host":
        pair = authority.server("other.example.com")
        return Tls(pair.certificate, pair.key), authority
    yesterday = dt.datetime.now(dt.timezone.utc) - dt.timedelta(days=1)
    issued = authority._authority.issue_cert(HOST, not_after=yesterday)
    certificate, key = tmp_path / "old.pem", tmp_path / "old.key"
    issued.cert_chain_pems[0].write_to_path(str(certificate))
    issued.private_key_pem.write_to_path(str(key))
    return Tls(certificate, key), authority


@pytest.mark.parametrize(
    ("kind", "word"),
    [("foreign", "issuer"), ("other host", "mismatch"), ("expired", "expired")],
)
def test_certificates_that_do_not_verify(
    kind: str, word: str, source: Path, tmp_path: Path
) -> None:
    tls, authority = issue(tmp_path, kind)
    with Nginx(tmp_path / "nginx", tls=tls) as server:
        message = upload(source, server.url, tls={"ca_file": str(authority.file)}, settings=QUICK)
        run = run_worker(message)
        assert server.requests() == []
    assert run.terminal["code"] == "STORE_REJECTED"
    assert word in run.terminal["message"], run
    assert not run.terminal["retryable"]
    assert not run.of("CHUNK_RETRY")


def test_old_protocols_are_refused(authority: Authority, source: Path, tmp_path: Path) -> None:
    old = ["ssl_protocols TLSv1.1;", "ssl_ciphers ALL:@SECLEVEL=0;"]
    with Nginx(tmp_path / "nginx", tls=authority.tls(), server=old) as server:
        env = {"SSL_CERT_FILE": str(authority.file)}
        run = run_worker(upload(source, server.url, settings=QUICK), env=env)
    assert run.terminal["code"] == "STORE_REJECTED"
    assert "secure connection" in run.terminal["message"]


@pytest.mark.parametrize("version", ["TLSv1.2", "TLSv1.3"])
def test_client_certificate(
    version: str, authority: Authority, source: Path, tmp_path: Path
) -> None:
    pair = authority.client()
    ours = {"cert_file": str(pair.certificate), "key_file": str(pair.key)}
    trust = {"ca_file": str(authority.file)}
    protocol = [f"ssl_protocols {version};"]
    with Nginx(tmp_path / "nginx", tls=authority.tls(clients=True), server=protocol) as server:
        without = run_worker(upload(source, server.url, tls=trust, settings=QUICK))
        assert without.terminal["code"] == "STORE_REJECTED"
        other = Authority(tmp_path / "other").client()
        foreign = {**trust, "cert_file": str(other.certificate), "key_file": str(other.key)}
        denied = run_worker(upload(source, server.url, tls=foreign, settings=QUICK))
        assert denied.terminal["code"] == "STORE_REJECTED"
        told = run_worker(upload(source, server.url, tls={**trust, **ours})).terminal
        assert told["type"] == "FILE_UPLOADED"
        target = tmp_path / "back"
        message = download(target, server.url, told["hashes"], tls={**trust, **ours})
        assert run_worker(message).terminal["type"] == "FILE_DOWNLOADED"
    assert target.read_bytes() == source.read_bytes()


@pytest.mark.parametrize("which", ["ca_file", "cert_file", "key_file"])
def test_missing_file_is_named(which: str, authority: Authority, source: Path) -> None:
    pair = authority.client()
    files = {
        "ca_file": str(authority.file),
        "cert_file": str(pair.certificate),
        "key_file": str(pair.key),
        which: "/nonexistent/file.pem",
    }
    run = run_worker(upload(source, "https://127.0.0.1:1/", tls=files))
    assert (run.terminal["code"], run.terminal["path"]) == ("FILE_NOT_FOUND", files[which])


def test_http_on_a_tls_port_and_tls_on_an_http_port(
    server: Nginx, authority: Authority, source: Path, tmp_path: Path
) -> None:
    plain = run_worker(upload(source, f"http://{HOST}:{server.port}/", settings=QUICK))
    assert (plain.terminal["code"], plain.terminal["http_status"]) == ("STORE_REJECTED", 400)
    with Nginx(tmp_path / "plain") as other:
        env = {"SSL_CERT_FILE": str(authority.file)}
        url = f"https://{HOST}:{other.port}/"
        secure = run_worker(upload(source, url, settings=QUICK), env=env)
    assert secure.terminal["code"] == "STORE_REJECTED"


@pytest.mark.parametrize(
    ("kind", "direction", "after"),
    [
        ("stall", "down", 0),
        ("stall", "up", 100_000),
        ("throttle", "up", 100_000),
        ("throttle", "down", 0),
        ("reset", "up", 100_000),
        ("close", "down", 0),
        ("flip", "up", 100_000),
        ("flip", "up", 300),
        ("flip", "down", 500),
    ],
)
def test_faults_on_the_way_are_survived(
    kind: str,
    direction: str,
    after: int,
    server: Nginx,
    authority: Authority,
    source: Path,
) -> None:
    env = {"SSL_CERT_FILE": str(authority.file)}
    settings = {"max_attempts": 9, "retry_delay_ms": 10, "timeout_ms": 700, "concurrency": 1}
    hurt = Hurt(kind, direction, after=after, rate=100)
    with TcpProxy(server.port, hurt, connections={1}) as proxy:
        url = proxy.url.replace("http://", "https://")
        run = run_worker(upload(source, url, settings=settings), env=env)
    assert run.terminal["type"] == "FILE_UPLOADED", run
    if (kind, after) not in {("reset", 100_000), ("flip", 100_000)}:
        # There a kept connection dies unanswered: that is made good within the try.
        assert run.of("CHUNK_RETRY")
    assert {path.name for path in server.chunks.iterdir()} == set(run.terminal["hashes"])


@pytest.mark.parametrize("secure_proxy", [False, True])
def test_proxy_sees_nothing_of_a_secure_transfer(
    secure_proxy: bool, server: Nginx, authority: Authority, source: Path, tmp_path: Path
) -> None:
    tls = authority.tls() if secure_proxy else None
    user = "office:pass word"
    with ForwardProxy(user, tls) as proxy:
        env = {
            "https_proxy": proxy.url("office:pass%20word"),
            "SSL_CERT_FILE": str(authority.file),
            "STORE_WORKERS_TOKEN": "bearersecret",
        }
        told = run_worker(upload(source, server.url), env=env).terminal
        assert told["type"] == "FILE_UPLOADED"
        message = download(tmp_path / "back", server.url, told["hashes"])
        assert run_worker(message, env=env).terminal["type"] == "FILE_DOWNLOADED"
        assert set(proxy.requests) == {f"CONNECT {HOST}:{server.port} HTTP/1.0"} or set(
            proxy.requests
        ) == {f"CONNECT {HOST}:{server.port} HTTP/1.1"}
        assert b"bearersecret" not in proxy.seen
        assert told["hashes"][0].encode() not in proxy.seen
        seen = len(proxy.requests)
        run_worker(upload(source, server.url), env={**env, "no_proxy": HOST})
        assert len(proxy.requests) == seen, "no_proxy means the direct way"


@pytest.mark.parametrize(
    ("status", "code", "http_status"),
    [
        (407, "STORE_ACCESS_DENIED", 407),
        (403, "STORE_ACCESS_DENIED", 403),
        (503, "STORE_UNAVAILABLE", 503),
    ],
)
def test_proxy_that_refuses(
    status: int, code: str, http_status: int, server: Nginx, authority: Authority, source: Path
) -> None:
    with ForwardProxy(refusal=status) as proxy:
        env = {"https_proxy": proxy.url("me:topsecret"), "SSL_CERT_FILE": str(authority.file)}
        run = run_worker(upload(source, server.url, settings=QUICK), env=env)
    assert (run.terminal["code"], run.terminal["http_status"]) == (code, http_status), run
    assert "proxy" in run.terminal["message"]
    assert b"topsecret" not in run.stdout + run.stderr


def test_proxy_that_is_away(server: Nginx, authority: Authority, source: Path) -> None:
    env = {"https_proxy": "http://me:topsecret@127.0.0.1:1", "SSL_CERT_FILE": str(authority.file)}
    run = run_worker(upload(source, server.url, settings=QUICK), env=env)
    assert run.terminal["code"] == "STORE_UNAVAILABLE"
    assert "proxy" in run.terminal["message"]
    assert b"topsecret" not in run.stdout + run.stderr


def test_the_bare_interpreter_speaks_tls() -> None:
    """What the tests above need of the machine."""
    subprocess.run([bare_python(), "-c", "import ssl"], check=True)
    assert ssl.HAS_TLSv1_3
