"""No secret is shown: placed in every field that accepts one, searched for in all output.

Every run has the log and tracebacks enabled.
"""

from __future__ import annotations

import base64
import json
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

import pytest

from tests.stores.scripted_server import Reply, ScriptedServer
from tests.support.certificates import Authority
from tests.support.contract import TERMINAL
from tests.support.faulty_server import FaultyServer, Rule, not_http, status
from tests.support.forward_proxy import ForwardProxy
from tests.support.nginx import Nginx
from tests.support.rclone import RcloneS3
from tests.support.worker import Worker, download, session, upload

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.support.data import Inputs

QUICK = {"max_attempts": 2, "retry_delay_ms": 1, "timeout_ms": 20000}
LOUD = {
    "STORE_WORKERS_DEBUG": "1",
    "STORE_WORKERS_LOG": "debug",
    "AWS_EC2_METADATA_DISABLED": "true",
    "PYTHONDEVMODE": "1",
}
MISSING = ["ab" * 32]


class Secrets:
    """Secrets of one run, none of which is a part of another or of other text."""

    def __init__(self) -> None:
        self.known: dict[str, str] = {}

    def __call__(self, name: str) -> str:
        return self.known.setdefault(name, f"sEcReT{len(self.known)}zQ{name[:3]}xJ")

    def forms(self) -> Iterator[tuple[str, bytes]]:
        """Yield each secret in every form in which it could be shown."""
        for name, value in self.known.items():
            plain = value.encode()
            yield name, plain
            yield name, quote(value, safe="").encode()
            for before in (b"", b"a", b"ab"):  # in base64 whatever stands before it
                coded = base64.b64encode(before + plain)
                yield name, coded[4 if before else 0 : len(coded) - len(coded) % 4 - 4]
            yield name, plain.hex().encode()

    def check(self, *texts: bytes) -> None:
        """Fail where one of them is in one of the texts."""
        for text in texts:
            for name, form in self.forms():
                assert form not in text, f"{name} came out: {text.decode(errors='replace')}"


@pytest.fixture
def secret() -> Secrets:
    return Secrets()


@pytest.fixture
def source(inputs: Inputs) -> Path:
    return inputs.path("600 KiB")


def run(message: Any, env: dict[str, str], secret: Secrets) -> dict[str, Any]:
    """Run a worker, and search all its output and its arguments for the secrets."""
    return run_all(message, env, secret)[-1]


def run_all(message: Any, env: dict[str, str], secret: Secrets) -> list[dict[str, Any]]:
    """Run a worker as `run` does; return all events."""
    with Worker(message, env={**LOUD, **env}, stderr_wanted=True) as worker:
        arguments = Path(f"/proc/{worker.pid}/cmdline").read_bytes()
        # Traces are switched on, so the contract's rule against them does not hold.
        done = worker.finish(60, check=False)
    assert done.stdout.endswith(b"\n"), done
    secret.check(done.stdout, done.stderr, arguments)
    assert b"level=" in done.stderr, "the log should have been on"
    return [json.loads(line) for line in done.stdout.splitlines()]


def run_both(
    source: Path, folder: Path, fields: dict[str, Any], env: dict[str, str], secret: Secrets
) -> tuple[dict[str, Any], dict[str, Any]]:
    """Upload and download in one session with these fields; return how the two end."""
    up, down = messages(source, folder, {})
    rest = {name: value for name, value in fields.items() if name != "store"}
    both = ({**up, "id": "up"}, {**down, "id": "down"})
    lines = session(fields.get("store"), *both, **rest)
    events = run_all(lines, env, secret)
    ends = {e["id"]: e for e in events if e["type"] in TERMINAL and "id" in e}
    return ends["up"], ends["down"]


def http_ways(secret: Secrets, url: str) -> list[tuple[dict[str, Any], dict[str, str]]]:
    """Return every way to give an HTTP store secrets: fields of a message, and variables."""
    query = f"{url}/path?token={secret('query')}"
    inside = query.replace("://", f"://{secret('user')}:{secret('password')}@")
    return [
        ({"store": query, "auth": {"bearer_token": secret("bearer")}}, {}),
        ({"store": query, "auth": {"username": secret("name"), "password": secret("pass")}}, {}),
        ({"store": inside}, {}),
        ({}, {"STORE_WORKERS_STORE": inside, "STORE_WORKERS_TOKEN": secret("token")}),
        ({"store": query}, {"STORE_WORKERS_TOKEN": secret("token")}),
    ]


def messages(source: Path, tmp_path: Path, fields: dict[str, Any]) -> list[Any]:
    return [
        upload(source, None, settings=QUICK, **fields),
        download(tmp_path / "back", None, MISSING, settings=QUICK, **fields),
    ]


FAULTS = {
    "success": None,
    "401": status(401, body=b"no"),
    "403": status(403, body=b"no"),
    "500": status(500, body=b"no"),
    "redirect": status(302, location="http://127.0.0.1:1/elsewhere"),
    "no http": not_http(),
}


@pytest.mark.parametrize("kind", FAULTS)
def test_http(kind: str, secret: Secrets, source: Path, tmp_path: Path) -> None:
    fault = FAULTS[kind]
    with FaultyServer(*([Rule(fault)] if fault else [])) as server:
        base = server.url.rpartition("/")[0]
        ways = http_ways(secret, base)
        # What is answered is read alike whatever was sent: once in all ways, else one of each kind.
        for fields, env in ways if kind in {"success", "403"} else (ways[0], ways[3]):
            up, down = run_both(source, tmp_path, fields, env, secret)
            assert (up["type"] == "FILE_UPLOADED") is (kind == "success"), up
            assert down["type"] == "ERROR"
            for told in (up, down):
                assert told.get("code") not in ("INTERNAL", "BAD_MESSAGE"), told


def test_http_in_runs_of_their_own(secret: Secrets, source: Path, tmp_path: Path) -> None:
    with FaultyServer(Rule(status(403, body=b"no"), "GET")) as server:
        fields, env = http_ways(secret, server.url.rpartition("/")[0])[2]
        up, down = (run(each, env, secret) for each in messages(source, tmp_path, fields))
    assert (up["type"], down.get("code")) == ("FILE_UPLOADED", "STORE_ACCESS_DENIED")


@pytest.mark.parametrize(
    "url", ["http://127.0.0.1:1", "http://name.invalid", "https://127.0.0.1:1"]
)
def test_unreachable(url: str, secret: Secrets, source: Path, tmp_path: Path) -> None:
    for fields, env in http_ways(secret, url)[2:4]:
        for told in run_both(source, tmp_path, fields, env, secret):
            assert told["code"] == "STORE_UNAVAILABLE"


def test_an_echo_of_the_request_is_not_shown(secret: Secrets, source: Path, tmp_path: Path) -> None:
    """A server that repeats what it received, in every part of its answer."""
    for fields, env in http_ways(secret, "http://HOST"):
        auth = fields.get("auth", {})
        echo = " ".join([*auth.values(), *env.values(), str(fields.get("store"))])
        replies = [Reply(status, echo.encode()) for status in (400, 500, 400, 500)]
        with ScriptedServer(*replies) as server:
            text = json.dumps([fields, env]).replace("HOST", f"127.0.0.1:{server.port}")
            there = json.loads(text)
            for message in messages(source, tmp_path, there[0]):
                assert run(message, there[1], secret)["type"] == "ERROR"


@pytest.mark.parametrize("refusal", [None, 403, 407, 502])
@pytest.mark.parametrize("secure", [False, True])
def test_proxy(
    refusal: int | None, secure: bool, secret: Secrets, source: Path, tmp_path: Path
) -> None:
    authority = Authority(tmp_path / "authority")
    user = f"{secret('proxyuser')}:{secret('proxypass')}"
    tls = authority.tls() if secure else None
    with Nginx(tmp_path / "nginx", tls=tls) as server, ForwardProxy(user, refusal=refusal) as proxy:
        env = {"all_proxy": proxy.url(user), "SSL_CERT_FILE": str(authority.file)}
        up, down = run_both(source, tmp_path, {"store": server.url}, env, secret)
        assert (up["type"] == "FILE_UPLOADED") is (refusal is None)
        assert down["type"] == "ERROR"
        if refusal is None:
            away = {**env, "all_proxy": f"http://{user}@127.0.0.1:1"}
            assert run(upload(source, server.url, settings=QUICK), away, secret)["type"] == "ERROR"


def test_proxies_that_are_refused(secret: Secrets, source: Path) -> None:
    user = f"{secret('proxyuser')}:{secret('proxypass')}"
    for url in ("http://127.0.0.1:1", "https://127.0.0.1:1"):
        for proxy in (f"socks5://{user}@127.0.0.1:1", f"http://{user}@:"):
            assert run_refused(upload(source, url), {"all_proxy": proxy}, secret)


def run_refused(message: Any, env: dict[str, str], secret: Secrets) -> bool:
    """Run what is not accepted, which ends before the log begins; was it refused?"""
    with Worker(message, env={**LOUD, **env}, stderr_wanted=True) as worker:
        done = worker.finish(60, check=False)
    secret.check(done.stdout, done.stderr)
    return done.status == 2


def test_messages_that_are_refused(secret: Secrets, source: Path) -> None:
    token, url = secret("token"), f"http://{secret('user')}:{secret('password')}@127.0.0.1:1"
    s3 = f"s3://{secret('key')}:{secret('key2')}@bucket/x"
    refused: list[dict[str, Any]] = [
        {"store": url, "auth": {"bearer_token": f"{token}\n"}},
        {"store": url, "auth": {"bearer_token": token, "username": token}},
        {"store": url, "auth": {"access_key_id": token, "secret_access_key": token}},
        {"store": url, "auth": token},
        {"store": url, "auth": {"bearer_token": [token]}},
        {"store": f"{url}:{token}/"},
        {"store": f"{url}/#{token}"},
        {"store": f"ftp://{token}@host/"},
        {"store": f"file://{token}@host/"},
        {"store": s3},
        {"store": f"s3://bucket/x?endpoint=http://{token}:x@127.0.0.1:1"},
        {"store": f"s3://bucket/x?secret={token}"},
        {"store": "s3://bucket/x", "auth": {"bearer_token": token}},
        {"store": url, "unknown": token},
        {"store": url, "settings": {"concurrency": token}},
    ]
    assert run_refused(upload(source, None, **refused[0]), {}, secret)
    lines = [upload(source, None, id=str(place), **fields) for place, fields in enumerate(refused)]
    with Worker(session(None, *lines), env=LOUD, stderr_wanted=True) as worker:
        done = worker.finish(60, check=False)
    secret.check(done.stdout, done.stderr)
    ends = [json.loads(line) for line in done.stdout.splitlines()]
    codes = {end["id"]: end["code"] for end in ends if end["type"] == "ERROR"}
    assert codes == {str(place): "BAD_MESSAGE" for place in range(len(refused))}
    for name in ("STORE_WORKERS_TOKEN", "AWS_ENDPOINT_URL", "AWS_REGION"):
        store = "s3://bucket/x" if name.startswith("AWS") else "http://127.0.0.1:1"
        message = upload(source, store)
        assert run_refused(message, {name: f"{token}\n"}, secret), name


def s3_ways(
    secret: Secrets, server: RcloneS3, home: Path, right: bool
) -> list[tuple[dict[str, Any], dict[str, str]]]:
    """Return every way to give an S3 store secrets, the server's own or others."""
    access = server.access_key if right else secret("access")
    token = secret("session")
    keys = (access, server.secret_key)
    aws = home / ".aws"
    aws.mkdir(parents=True, exist_ok=True)
    (aws / "credentials").write_text(
        f"[one]\naws_access_key_id = {keys[0]}\naws_secret_access_key = {keys[1]}\n"
        f"aws_session_token = {token}\n"
    )
    printed = {"Version": 1, "AccessKeyId": keys[0], "SecretAccessKey": keys[1]}
    (home / "printed").write_text(json.dumps({**printed, "SessionToken": token}))
    (home / "garbage").write_text(f"{token} is no JSON")
    (aws / "config").write_text(
        f"[profile one]\n[profile two]\ncredential_process = cat {home}/printed\n"
        f"[profile three]\ncredential_process = cat {home}/garbage\n"
        f"[profile four]\ncredential_process = sh -c 'cat {home}/garbage >&2; exit 3'\n"
    )
    auth = {"access_key_id": keys[0], "secret_access_key": keys[1], "session_token": token}
    env = {
        "AWS_ACCESS_KEY_ID": keys[0],
        "AWS_SECRET_ACCESS_KEY": keys[1],
        "AWS_SESSION_TOKEN": token,
    }
    names = ("one", "two") if right else ("one", "two", "three", "four")
    ways: list[tuple[dict[str, Any], dict[str, str]]] = [({"auth": auth}, {}), ({}, env)]
    ways += [({}, {"HOME": str(home), "AWS_PROFILE": name}) for name in names]
    return ways


@pytest.mark.parametrize("right", [True, False])
def test_s3(right: bool, secret: Secrets, source: Path, tmp_path: Path) -> None:
    with RcloneS3Secret(tmp_path / "rclone", secret) as server:
        for fields, env in s3_ways(secret, server, tmp_path / "home", right):
            both = {"store": server.store(), **fields}
            for told in run_both(source, tmp_path, both, env, secret):
                succeeds = right and told["id"] == "up"
                assert (told["type"] == "FILE_UPLOADED") is succeeds, told
                assert told.get("code") not in ("INTERNAL", "BAD_MESSAGE"), told


class RcloneS3Secret(RcloneS3):
    """An rclone whose keys are secrets of the test."""

    def __init__(self, folder: Path, secret: Secrets) -> None:
        self.access_key, self.secret_key = secret("right"), secret("key")
        super().__init__(folder)


def test_s3_answers_that_echo(secret: Secrets, source: Path, tmp_path: Path) -> None:
    auth = {
        "access_key_id": secret("access"),
        "secret_access_key": secret("secret"),
        "session_token": secret("session"),
    }
    for status_, code in (
        (403, "SignatureDoesNotMatch"),
        (400, "Odd"),
        (403, "InvalidAccessKeyId"),
    ):
        body = (
            f"<Error><Code>{code}</Code><Message>{' '.join(auth.values())}</Message>"
            f"<StringToSign>{auth['session_token']}</StringToSign></Error>"
        ).encode()
        with ScriptedServer(*[Reply(status_, body)] * 60) as server:
            url = f"s3://bucket/x?endpoint={server.url}&region=r-1"
            for message in messages(source, tmp_path, {"store": url, "auth": auth}):
                assert code in run(message, {}, secret)["message"]


def test_web_identity_and_container(secret: Secrets, source: Path, tmp_path: Path) -> None:
    (tmp_path / "token").write_text(secret("web"))
    echo = f"<ErrorResponse><Error><Code>AccessDenied</Code><Message>{secret('web')}</Message>"
    for body in (f"{echo}</Error></ErrorResponse>", secret("web")):
        with ScriptedServer(*[Reply(403, body.encode())] * 4) as server:
            url = "s3://bucket/x?endpoint=http://127.0.0.1:1&region=us-east-1"
            identity = {
                "AWS_ENDPOINT_URL_STS": server.url,
                "AWS_ROLE_ARN": "arn:aws:iam::123456789012:role/backup",
                "AWS_WEB_IDENTITY_TOKEN_FILE": str(tmp_path / "token"),
            }
            container = {
                "AWS_CONTAINER_CREDENTIALS_FULL_URI": f"{server.url}/{secret('path')}",
                "AWS_CONTAINER_AUTHORIZATION_TOKEN": secret("container"),
            }
            # A container's server is asked again after seconds: once is enough.
            for env in (identity,) if body.startswith("<") else (identity, container):
                told = run(upload(source, url, settings=QUICK), env, secret)
                assert told["code"] in ("STORE_ACCESS_DENIED", "STORE_UNAVAILABLE"), told
