"""Locations of buckets: the URL, the message, the environment, the profile."""

from __future__ import annotations

import os
import signal
import threading
from typing import TYPE_CHECKING, Any

import pytest

from store_workers.errors import BadMessage, ErrorCode, StoreFailure
from store_workers.stores.s3.key_process import KeyProcesses, _has_terminal
from store_workers.stores.s3.location import S3Location, read_s3_url
from store_workers.wire.messages import Auth, Settings, Tls
from tests.stores.messages import start
from tests.stores.scripted_server import Reply, ScriptedServer
from tests.support.waiting import wait_until

if TYPE_CHECKING:
    from pathlib import Path

    from store_workers.stores.s3.store import S3Store

KEYS = {"AWS_ACCESS_KEY_ID": "id", "AWS_SECRET_ACCESS_KEY": "secret"}
HASH = "ab" * 32


def read(
    url: str, environment: dict[str, str] | None = None, auth: Auth | None = None
) -> S3Location:
    return read_s3_url(url, "store", start(auth=auth), {**KEYS, **(environment or {})})


def opened(location: S3Location, **settings: Any) -> S3Store:
    """Open a store, which must not look up keys before they are needed."""
    store: Any = location.open(Settings(**settings))
    return store.store  # type: ignore[no-any-return]


def place(store: S3Store) -> tuple[str, str, str]:
    """Return the signed host, the path before a hash, and the region."""
    return store._signer._host, store._base, store._signer._region


@pytest.fixture(autouse=True)
def surroundings(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """No configuration but the test's own: botocore reads the process's environment."""
    for name in list(os.environ):
        if name.startswith("AWS_") or name.lower().endswith("_proxy"):
            monkeypatch.delenv(name)
    monkeypatch.setenv("AWS_CONFIG_FILE", str(tmp_path / "config"))
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", str(tmp_path / "credentials"))
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")


def profile(tmp_path: Path, text: str) -> dict[str, str]:
    """Write a shared configuration; return the variables that name it."""
    (tmp_path / "config").write_text(text)
    return {"AWS_CONFIG_FILE": str(tmp_path / "config")}


AT = "?endpoint=http://127.0.0.1:9000"


@pytest.mark.parametrize(
    ("url", "host", "base"),
    [
        (f"s3://bucket{AT}", "127.0.0.1:9000", "/bucket"),
        (f"s3://bucket/{AT}", "127.0.0.1:9000", "/bucket"),
        (f"s3://bucket/a/b/{AT}", "127.0.0.1:9000", "/bucket/a/b"),
        (f"s3://bucket/a b{AT}", "127.0.0.1:9000", "/bucket/a%20b"),
        (f"s3://bucket/a%20b%3F%23%25{AT}", "127.0.0.1:9000", "/bucket/a%20b%3F%23%25"),
        (f"s3://bucket/ü+=&{AT}", "127.0.0.1:9000", "/bucket/%C3%BC%2B%3D%26"),
        (f"s3://bucket/raw%ff{AT}", "127.0.0.1:9000", "/bucket/raw%FF"),
        (f"s3://Old_Bucket.x/p{AT}", "127.0.0.1:9000", "/Old_Bucket.x/p"),
        ("s3://bucket/p?endpoint=https://host:443/sub/", "host", "/sub/bucket/p"),
        ("s3://bucket/p?endpoint=http%3A%2F%2F[::1]:80", "[::1]", "/bucket/p"),
        ("s3://bucket/p?endpoint=http://[::1]:81", "[::1]:81", "/bucket/p"),
    ],
)
def test_urls(url: str, host: str, base: str) -> None:
    assert place(opened(read(url))) == (host, base, "us-east-1")


@pytest.mark.parametrize(
    ("url", "named"),
    [
        ("s3://", "bucket"),
        ("s3:///prefix", "bucket"),
        ("s3://ab", "bucket"),
        ("s3://-bucket", "bucket"),
        ("s3://bu..cket", "bucket"),
        ("s3://bucket:80/x", "bucket"),
        ("s3://büro", "bucket"),
        (f"s3://{'b' * 256}", "bucket"),
        ("s3://AKIA:topsecret@bucket/x", "auth or the environment"),
        ("s3://bucket/x#y", "fragment"),
        ("s3://bucket/../x", ".."),
        ("s3://bucket/a/%2e%2e/x", ".."),
        ("s3://bucket/a%00", "control"),
        (f"s3://bucket/{'x' * 960}", "1024"),
        ("s3://bucket/x?region=", "region"),
        ("s3://bucket/x?region=evil.example.com/", "region"),
        ("s3://bucket/x?region=a&region=b", "once"),
        ("s3://bucket/x?acl=topsecret", "endpoint="),
        ("s3://bucket/x?endpoint=ftp://host", "http://host"),
        ("s3://bucket/x?endpoint=host:80", "http://host"),
        ("s3://bucket/x?endpoint=http://", "http://host"),
        ("s3://bucket/x?endpoint=http://h:x", "valid URL"),
        ("s3://bucket/x?endpoint=http://u:topsecret@host", "must not have a user"),
        ("s3://bucket/x?endpoint=http://host/%3Ftopsecret", "must not have a user"),
    ],
)
def test_bad_urls_are_told_without_showing_them(url: str, named: str) -> None:
    with pytest.raises(BadMessage) as caught:
        read(url)
    assert caught.value.message.startswith("store")
    assert named in caught.value.message
    assert "topsecret" not in caught.value.message


@pytest.mark.parametrize(
    ("environment", "host", "region"),
    [
        ({"AWS_ENDPOINT_URL": "http://one"}, "one", "us-east-1"),
        ({"AWS_ENDPOINT_URL": "http://one", "AWS_ENDPOINT_URL_S3": "http://two"}, "two", None),
        ({"AWS_ENDPOINT_URL": "http://one", "AWS_DEFAULT_REGION": "r-1"}, "one", "r-1"),
        (
            {"AWS_ENDPOINT_URL": "http://h", "AWS_DEFAULT_REGION": "r-1", "AWS_REGION": "r-2"},
            "h",
            "r-2",
        ),
    ],
)
def test_environment(environment: dict[str, str], host: str, region: str | None) -> None:
    found = place(opened(read("s3://bucket/p", environment)))
    assert found == (host, "/bucket/p", region or "us-east-1")


def test_url_wins_over_the_environment() -> None:
    environment = {"AWS_ENDPOINT_URL_S3": "http://one", "AWS_REGION": "r-1"}
    found = place(opened(read("s3://bucket?endpoint=http://two&region=r-2", environment)))
    assert found == ("two", "/bucket", "r-2")


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("AWS_ENDPOINT_URL", "http://user:topsecret@host"),
        ("AWS_ENDPOINT_URL_S3", "topsecret"),
        ("AWS_REGION", "topsecret.example.com"),
        ("AWS_SECRET_ACCESS_KEY", "topsecret\n"),
        ("AWS_SESSION_TOKEN", "topsecret\r\nX-Evil: 1"),
    ],
)
def test_bad_variables_are_named_without_their_value(name: str, value: str) -> None:
    with pytest.raises(BadMessage) as caught:
        read("s3://bucket", {name: value})
    assert name in caught.value.message
    assert "topsecret" not in caught.value.message


@pytest.mark.parametrize(
    ("url", "environment", "host", "base"),
    [
        ("s3://bucket/p?region=eu-west-1", {}, "bucket.s3.eu-west-1.amazonaws.com", "/p"),
        ("s3://bucket", {}, "bucket.s3.us-east-1.amazonaws.com", ""),
        ("s3://bucket?region=cn-north-1", {}, "bucket.s3.cn-north-1.amazonaws.com.cn", ""),
        ("s3://a.b.c/p?region=eu-west-1", {}, "s3.eu-west-1.amazonaws.com", "/a.b.c/p"),
        (
            "s3://bucket?region=us-west-2",
            {"AWS_USE_FIPS_ENDPOINT": "true", "AWS_USE_DUALSTACK_ENDPOINT": "true"},
            "bucket.s3-fips.dualstack.us-west-2.amazonaws.com",
            "",
        ),
        (
            "s3://bucket",
            {"AWS_ENDPOINT_URL": "http://one", "AWS_IGNORE_CONFIGURED_ENDPOINT_URLS": "true"},
            "bucket.s3.us-east-1.amazonaws.com",
            "",
        ),
    ],
)
def test_buckets_on_aws_are_part_of_the_host(
    url: str, environment: dict[str, str], host: str, base: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    found = place(opened(read(url, environment)))
    assert found[:2] == (host, base)


@pytest.mark.parametrize(
    "text",
    [
        "[default]\nregion = r-3\nendpoint_url = http://conf:81\n",
        (
            "[default]\nregion = r-3\nservices = mine\n[services mine]\ns3 =\n"
            "  endpoint_url = http://conf:81\n"
        ),
    ],
)
def test_profile_gives_endpoint_and_region(text: str, tmp_path: Path) -> None:
    found = place(opened(read("s3://bucket/p", profile(tmp_path, text))))
    assert found == ("conf:81", "/bucket/p", "r-3")


def test_named_profile_gives_keys(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "credentials").write_text(
        "[default]\naws_access_key_id = other\naws_secret_access_key = o\n"
        "[backup]\naws_access_key_id = mine\naws_secret_access_key = m\naws_session_token = t\n"
    )
    monkeypatch.setenv("AWS_PROFILE", "backup")
    store = opened(read_s3_url(f"s3://bucket{AT}&region=r-1", "store", start(), {}))
    keys = store._keyring.current()
    assert (keys.access_key_id, keys.secret_access_key, keys.session_token) == ("mine", "m", "t")
    assert not store._keyring.renew(keys)


def test_message_wins_over_the_environment() -> None:
    auth = Auth(access_key_id="mine", secret_access_key="m", session_token="t")
    keys = opened(read(f"s3://bucket{AT}", auth=auth))._keyring.current()
    assert (keys.access_key_id, keys.secret_access_key, keys.session_token) == ("mine", "m", "t")


@pytest.mark.parametrize(
    "auth", [Auth(bearer_token="t"), Auth(username="u", password="p")], ids=["bearer", "basic"]
)
def test_other_secrets_are_refused(auth: Auth) -> None:
    with pytest.raises(BadMessage, match="auth: "):
        read("s3://bucket", auth=auth)


@pytest.mark.parametrize(
    ("environment", "text", "named"),
    [
        ({"AWS_PROFILE": "nowhere"}, "", "no profile nowhere"),
        ({}, "[default\n", "cannot be read"),
        ({"AWS_ACCESS_KEY_ID": "topsecret"}, "", "AWS_SECRET_ACCESS_KEY is missing"),
        ({}, "[default]\ncredential_process = /nonexistent/topsecret\n", "no credentials"),
        ({}, "[default]\ncredential_process = sh -c 'echo topsecret; exit 3'\n", "custom-process"),
        ({}, "[default]\ncredential_process = echo topsecret\n", "no credentials"),
        ({}, "", "AWS_WEB_IDENTITY_TOKEN_FILE"),
    ],
)
def test_no_credentials(
    environment: dict[str, str],
    text: str,
    named: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    environment = {**environment, **profile(tmp_path, text)}
    location = read_s3_url(f"s3://bucket{AT}", "store", start(), environment)
    with pytest.raises(StoreFailure) as caught:
        opened(location)._keyring.current()
    failing = named == "custom-process"
    expected = ErrorCode.STORE_UNAVAILABLE if failing else ErrorCode.STORE_ACCESS_DENIED
    assert caught.value.code is expected
    assert named in caught.value.message
    assert "topsecret" not in caught.value.message


GROUPED = pytest.mark.skipif(
    os.name == "nt" or _has_terminal(),
    reason="a program that may ask a person at a terminal is in no group of its own",
)
ROLE_BY_A_PROGRAM = """[default]
role_arn = arn:aws:iam::123456789012:role/backup
source_profile = other
[profile other]
"""


def hanging_program(folder: Path, stubborn: bool) -> Path:
    """Write a program that hangs in a child of its own, once it has said which group it is."""
    script = folder / "hang.sh"
    deaf = "trap '' TERM" if stubborn else ":"
    script.write_text(
        f"#!/bin/sh\n{deaf}\necho $$ >{folder}/new\nmv {folder}/new {folder}/group\n"
        "sleep 600 &\nwait\n"
    )
    script.chmod(0o700)
    return script


def has_ended(group: int) -> bool:
    """Tell whether no process of a group is left."""
    try:
        os.killpg(group, 0)
    except ProcessLookupError:
        return True
    return False


@GROUPED
@pytest.mark.parametrize(
    ("before", "stubborn"),
    [("[default]\n", False), (ROLE_BY_A_PROGRAM, True)],
    ids=["profile", "role, and no signal ends it"],
)
def test_a_program_that_hangs_is_ended(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, before: str, stubborn: bool
) -> None:
    monkeypatch.setattr("store_workers.stores.s3.aws.SHORTEST_LOOK_UP", 0.5)
    script = hanging_program(tmp_path, stubborn)
    environment = profile(tmp_path, f"{before}credential_process = {script}\n")
    location = read_s3_url(f"s3://bucket{AT}", "store", start(), environment)
    keyring = opened(location, timeout_ms=1)._keyring

    def is_given_up() -> bool:
        with pytest.raises(StoreFailure, match=r"did not (answer|end) within 0\.5 s") as caught:
            keyring.current()
        assert (caught.value.code, caught.value.transient) == (ErrorCode.STORE_UNAVAILABLE, True)
        return (tmp_path / "group").exists()  # on a busy machine it may not have begun

    wait_until(is_given_up)
    group = int((tmp_path / "group").read_text())
    wait_until(lambda: has_ended(group))


@GROUPED
def test_a_program_ends_with_the_run(tmp_path: Path) -> None:
    processes = KeyProcesses(600)
    process = processes.start([str(hanging_program(tmp_path, stubborn=False))])
    wait_until((tmp_path / "group").exists)
    waiting = threading.Thread(target=process.communicate)
    waiting.start()
    processes.close()
    waiting.join(60)
    group = int((tmp_path / "group").read_text())
    wait_until(lambda: has_ended(group))
    assert process.returncode == -signal.SIGTERM
    with pytest.raises(StoreFailure, match="over"):
        processes.start(["true"])


def test_a_program_reads_no_messages() -> None:
    before = os.dup(0)
    reading, writing = os.pipe()
    os.write(writing, b"message")
    os.close(writing)
    os.dup2(reading, 0)
    try:
        assert KeyProcesses(600).start(["cat"]).communicate() == (b"", b"")
        assert os.read(reading, 10) == b"message"
    finally:
        os.dup2(before, 0)
        os.close(before)
        os.close(reading)


def test_authorities() -> None:
    environment = {**KEYS, "AWS_CA_BUNDLE": "/aws.pem", "SSL_CERT_FILE": "/ssl.pem"}
    own = Tls(ca_file="/own.pem", cert_file="/cert.pem")
    trust = read_s3_url("s3://bucket", "store", start(tls=own), environment)._tls
    assert (trust.ca_file, trust.cert_file) == ("/own.pem", "/cert.pem")
    assert read_s3_url("s3://bucket", "store", start(), environment)._tls.ca_file == "/aws.pem"


def sts(server: ScriptedServer) -> dict[str, str]:
    """Return the environment of a run that assumes a role at this server."""
    return {
        "AWS_ENDPOINT_URL_STS": server.url,
        "AWS_ROLE_ARN": "arn:aws:iam::123456789012:role/backup",
        "AWS_ROLE_SESSION_NAME": "session",
    }


ROLE = """<AssumeRoleWithWebIdentityResponse><AssumeRoleWithWebIdentityResult><Credentials>
<AccessKeyId>ROLEKEY</AccessKeyId><SecretAccessKey>s</SecretAccessKey><SessionToken>t</SessionToken>
<Expiration>2099-01-01T00:00:00Z</Expiration></Credentials></AssumeRoleWithWebIdentityResult>
</AssumeRoleWithWebIdentityResponse>"""
THROTTLED = b"<ErrorResponse><Error><Code>Throttling</Code></Error></ErrorResponse>"
DENIED = b"<ErrorResponse><Error><Code>AccessDenied</Code></Error></ErrorResponse>"


@pytest.mark.parametrize(
    ("reply", "code", "transient"),
    [
        (Reply(400, THROTTLED), ErrorCode.STORE_UNAVAILABLE, True),
        (Reply(503, b""), ErrorCode.STORE_UNAVAILABLE, True),
        (Reply(403, DENIED), ErrorCode.STORE_ACCESS_DENIED, False),
    ],
)
def test_sources_of_keys_that_refuse(
    reply: Reply,
    code: ErrorCode,
    transient: bool,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    (tmp_path / "token").write_text("web-token")
    with ScriptedServer(*[reply] * 3, Reply(200, ROLE.encode())) as server:
        for name, value in sts(server).items():
            monkeypatch.setenv(name, value)
        monkeypatch.setenv("AWS_WEB_IDENTITY_TOKEN_FILE", str(tmp_path / "token"))
        keyring = opened(read_s3_url(f"s3://bucket{AT}", "store", start(), {}))._keyring
        with pytest.raises(StoreFailure) as raised:
            keyring.current()
        assert (raised.value.code, raised.value.transient) == (code, transient)
        del server._replies[:-1]
        assert keyring.current().access_key_id == "ROLEKEY"


def test_a_process_that_fails_is_asked_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    script = tmp_path / "keys.sh"
    keys = '{"Version": 1, "AccessKeyId": "PROCESS", "SecretAccessKey": "s"}'
    script.write_text(f"#!/bin/sh\n[ -e {tmp_path}/ready ] || exit 1\necho '{keys}'\n")
    script.chmod(0o700)
    (tmp_path / "config").write_text(f"[default]\ncredential_process = {script}\n")
    monkeypatch.setenv("AWS_CONFIG_FILE", str(tmp_path / "config"))
    keyring = opened(read_s3_url(f"s3://bucket{AT}", "store", start(), {}))._keyring
    with pytest.raises(StoreFailure, match="credential_process failed") as raised:
        keyring.current()
    assert (raised.value.code, raised.value.transient) == (ErrorCode.STORE_UNAVAILABLE, True)
    (tmp_path / "ready").touch()
    assert keyring.current().access_key_id == "PROCESS"


def test_no_class_of_botocore_is_changed(monkeypatch: pytest.MonkeyPatch) -> None:
    from botocore.httpsession import URLLib3Session

    before = dict(vars(URLLib3Session))
    opened(read_s3_url(f"s3://bucket{AT}", "store", start(), {}))
    assert dict(vars(URLLib3Session)) == before


def test_the_users_own_bounds_of_the_metadata_service_count(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("AWS_METADATA_SERVICE_TIMEOUT", "40")
    monkeypatch.setenv("AWS_METADATA_SERVICE_NUM_ATTEMPTS", "3")
    keyring: Any = opened(read_s3_url(f"s3://bucket{AT}", "store", start(), {}))._keyring
    assert keyring._seconds > 120
