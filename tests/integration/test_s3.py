"""The S3 store with a real server that needs no root, and every source of credentials."""

from __future__ import annotations

import hashlib
import json
import subprocess
from collections import Counter
from typing import TYPE_CHECKING

import pytest

from tests.stores.scripted_server import Reply, ScriptedServer
from tests.support.certificates import Authority
from tests.support.faulty_server import deaf_port
from tests.support.forward_proxy import ForwardProxy
from tests.support.nginx import Nginx
from tests.support.rclone import RcloneS3
from tests.support.reference import check_stored, digest
from tests.support.worker import (
    ARTIFACT,
    STALL,
    bare_python,
    clean_environ,
    download,
    run_worker,
    upload,
)

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from tests.support.data import Inputs

NO_METADATA = {"AWS_EC2_METADATA_DISABLED": "true"}


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RcloneS3]:
    with RcloneS3(tmp_path_factory.mktemp("rclone")) as made:
        yield made


@pytest.fixture
def source(inputs: Inputs) -> Path:
    return inputs.path("600 KiB")


@pytest.fixture
def home(tmp_path: Path) -> Path:
    """A home directory with a folder for AWS's files."""
    (tmp_path / "home" / ".aws").mkdir(parents=True)
    return tmp_path / "home"


@pytest.mark.parametrize("name", ["0 bytes", "600 KiB", "15 MiB mixed"])
def test_round_trip_and_nothing_sent_twice(
    name: str, server: RcloneS3, inputs: Inputs, tmp_path: Path
) -> None:
    source, url = inputs.path(name), server.store("trip")
    told = run_worker(upload(source, url), env=server.environ).terminal
    assert told["type"] == "FILE_UPLOADED"
    root = server.data / server.bucket / "trip"
    check_stored(lambda wanted: (root / wanted).read_bytes(), told["hashes"], source.read_bytes())

    with ForwardProxy() as witness:
        env = {**server.environ, "http_proxy": witness.url()}
        again = run_worker(upload(source, url), env=env).terminal
        assert (again["hashes"], again["new_chunks"]) == (told["hashes"], 0)
        assert witness.requests
        methods = Counter(line.split(" ")[0] for line in witness.requests)
        assert set(methods) <= {"HEAD", "GET"}
        assert methods["GET"] <= 1, "one page of the bucket's list at most"

    target = tmp_path / "back"
    message = download(target, url, told["hashes"], sha256=digest(source.read_bytes()))
    assert run_worker(message, env=server.environ).terminal["type"] == "FILE_DOWNLOADED"


def test_a_cut_object_is_replaced(server: RcloneS3, source: Path) -> None:
    url = server.store("cut")
    told = run_worker(upload(source, url), env=server.environ).terminal
    first = server.data / server.bucket / "cut" / told["hashes"][0]
    whole = first.read_bytes()
    first.write_bytes(whole[:-5])
    again = run_worker(upload(source, url), env=server.environ)
    assert [event["new"] for event in again.of("CHUNK") if event["index"] == 0] == [True]
    assert first.read_bytes() == whole


def test_missing_object_and_missing_bucket(server: RcloneS3, source: Path, tmp_path: Path) -> None:
    missing = download(tmp_path / "back", server.store("gone"), ["ab" * 32])
    run = run_worker(missing, env=server.environ)
    assert (run.terminal["code"], run.terminal["http_status"]) == ("CHUNK_NOT_FOUND", 404)
    elsewhere = server.store().replace(f"s3://{server.bucket}/", "s3://nowhere/")
    for message in (upload(source, elsewhere), download(tmp_path / "b", elsewhere, ["ab" * 32])):
        run = run_worker(message, env=server.environ)
        assert run.terminal["code"] == "STORE_REJECTED"
        assert "no bucket nowhere" in run.terminal["message"]
    assert not (tmp_path / "back").exists()


@pytest.mark.parametrize(
    ("change", "word"),
    [
        ({"AWS_SECRET_ACCESS_KEY": "wrong"}, "SignatureDoesNotMatch"),
        ({"AWS_ACCESS_KEY_ID": "wrong"}, "InvalidAccessKeyId"),
    ],
)
def test_wrong_secrets(change: dict[str, str], word: str, server: RcloneS3, source: Path) -> None:
    run = run_worker(upload(source, server.store()), env={**server.environ, **change})
    assert run.terminal["code"] == "STORE_ACCESS_DENIED"
    assert word in run.terminal["message"]
    assert not run.of("CHUNK_RETRY")


def test_auth_of_the_message_wins(server: RcloneS3, source: Path) -> None:
    right = {"access_key_id": server.access_key, "secret_access_key": server.secret_key}
    wrong = {"AWS_ACCESS_KEY_ID": "wrong", "AWS_SECRET_ACCESS_KEY": "wrong"}
    told = run_worker(upload(source, server.store("auth"), auth=right), env=wrong).terminal
    assert told["type"] == "FILE_UPLOADED"
    denied = run_worker(
        upload(source, server.store("auth"), auth={**right, "secret_access_key": "x"}),
        env=server.environ,
    )
    assert denied.terminal["code"] == "STORE_ACCESS_DENIED"


def test_named_profile_with_endpoint_region_and_keys(
    server: RcloneS3, source: Path, home: Path
) -> None:
    (home / ".aws" / "config").write_text(
        "[profile backup]\nregion = us-east-1\nservices = here\n"
        f"[services here]\ns3 =\n  endpoint_url = {server.url}\n"
    )
    (home / ".aws" / "credentials").write_text(
        f"[backup]\naws_access_key_id = {server.access_key}\n"
        f"aws_secret_access_key = {server.secret_key}\n"
    )
    env = {"HOME": str(home), "AWS_PROFILE": "backup", **NO_METADATA}
    url = f"s3://{server.bucket}/profile"
    assert run_worker(upload(source, url), env=env).terminal["type"] == "FILE_UPLOADED"
    env["AWS_PROFILE"] = "other"
    run = run_worker(upload(source, url), env=env)
    assert run.terminal["code"] == "STORE_ACCESS_DENIED"
    assert "no profile other" in run.terminal["message"]


def test_store_and_secrets_from_the_environment(server: RcloneS3, source: Path) -> None:
    env = {
        **server.environ,
        "STORE_WORKERS_STORE": f"s3://{server.bucket}/environment",
        "AWS_ENDPOINT_URL_S3": server.url,
    }
    assert run_worker(upload(source, None), env=env).terminal["type"] == "FILE_UPLOADED"


def role(server: RcloneS3, action: str) -> bytes:
    """Return what STS answers."""
    return (
        f'<{action}Response xmlns="https://sts.amazonaws.com/doc/2011-06-15/"><{action}Result>'
        f"<Credentials><AccessKeyId>{server.access_key}</AccessKeyId>"
        f"<SecretAccessKey>{server.secret_key}</SecretAccessKey><SessionToken>t</SessionToken>"
        "<Expiration>2199-01-01T00:00:00Z</Expiration></Credentials><AssumedRoleUser>"
        "<AssumedRoleId>a:b</AssumedRoleId><Arn>arn:aws:sts::1:assumed-role/r/s</Arn>"
        f"</AssumedRoleUser></{action}Result></{action}Response>"
    ).encode()


def test_web_identity_over_https_with_a_private_authority(
    server: RcloneS3, source: Path, tmp_path: Path
) -> None:
    authority = Authority(tmp_path / "authority")
    (tmp_path / "token").write_text("webtoken")
    reply = Reply(200, role(server, "AssumeRoleWithWebIdentity"), {"Content-Type": "text/xml"})
    with ScriptedServer(reply) as sts:
        front = [f"location = / {{ proxy_pass {sts.url}; }}"]
        with Nginx(tmp_path / "nginx", tls=authority.tls(), server=front) as nginx:
            env = {
                **NO_METADATA,
                "AWS_ENDPOINT_URL_STS": nginx.url,
                "AWS_ROLE_ARN": "arn:aws:iam::123456789012:role/backup",
                "AWS_WEB_IDENTITY_TOKEN_FILE": str(tmp_path / "token"),
            }
            message = upload(source, server.store("web"))
            trusted = {**env, "SSL_CERT_FILE": str(authority.file)}
            assert run_worker(message, env=trusted).terminal["type"] == "FILE_UPLOADED"
            assert b"WebIdentityToken=webtoken" in sts.asked[0].body
            denied = run_worker(message, env=env)
            assert denied.terminal["code"] == "STORE_REJECTED"
            assert "no secure connection" in denied.terminal["message"]
            assert len(sts.asked) == 1, "nothing is sent to a server that does not verify"


def test_role_of_another_profile(server: RcloneS3, source: Path, home: Path) -> None:
    (home / ".aws" / "config").write_text(
        "[default]\nrole_arn = arn:aws:iam::123456789012:role/backup\nsource_profile = base\n"
        "[profile base]\naws_access_key_id = base\naws_secret_access_key = secret\n"
    )
    reply = Reply(200, role(server, "AssumeRole"), {"Content-Type": "text/xml"})
    with ScriptedServer(reply) as sts:
        env = {"HOME": str(home), "AWS_ENDPOINT_URL_STS": sts.url, **NO_METADATA}
        told = run_worker(upload(source, server.store("role")), env=env).terminal
    assert told["type"] == "FILE_UPLOADED"
    assert "Credential=base/" in sts.asked[0].headers["authorization"]


def test_single_sign_on(server: RcloneS3, source: Path, home: Path) -> None:
    start = "https://sso.example.com/start"
    (home / ".aws" / "config").write_text(
        f"[default]\nsso_start_url = {start}\nsso_region = us-east-1\n"
        "sso_account_id = 123456789012\nsso_role_name = backup\n"
    )
    cache = home / ".aws" / "sso" / "cache"
    cache.mkdir(parents=True)
    token = {"accessToken": "ssotoken", "expiresAt": "2199-01-01T00:00:00Z", "startUrl": start}
    name = hashlib.sha1(start.encode()).hexdigest()
    (cache / f"{name}.json").write_text(json.dumps(token))
    keys = {
        "accessKeyId": server.access_key,
        "secretAccessKey": server.secret_key,
        "sessionToken": "t",
        "expiration": 7226582400000,
    }
    with ScriptedServer(Reply(200, json.dumps({"roleCredentials": keys}).encode())) as sso:
        env = {"HOME": str(home), "AWS_ENDPOINT_URL_SSO": sso.url, **NO_METADATA}
        told = run_worker(upload(source, server.store("sso")), env=env).terminal
    assert told["type"] == "FILE_UPLOADED"
    assert sso.asked[0].headers["x-amz-sso_bearer_token"] == "ssotoken"


def test_container(server: RcloneS3, source: Path) -> None:
    keys = {
        "AccessKeyId": server.access_key,
        "SecretAccessKey": server.secret_key,
        "Token": "t",
        "Expiration": "2199-01-01T00:00:00Z",
    }
    with ScriptedServer(Reply(200, json.dumps(keys).encode())) as container:
        env = {
            "AWS_CONTAINER_CREDENTIALS_FULL_URI": f"{container.url}/keys",
            "AWS_CONTAINER_AUTHORIZATION_TOKEN": "containertoken",
            **NO_METADATA,
        }
        told = run_worker(upload(source, server.store("container")), env=env).terminal
    assert told["type"] == "FILE_UPLOADED"
    assert container.asked[0].headers["authorization"] == "containertoken"


def test_credential_process(server: RcloneS3, source: Path, home: Path) -> None:
    keys = {
        "Version": 1,
        "AccessKeyId": server.access_key,
        "SecretAccessKey": server.secret_key,
    }
    (home / "keys.json").write_text(json.dumps(keys))
    command = f"cat {home}/keys.json"
    (home / ".aws" / "config").write_text(f"[default]\ncredential_process = {command}\n")
    env = {"HOME": str(home), **NO_METADATA}
    told = run_worker(upload(source, server.store("process")), env=env).terminal
    assert told["type"] == "FILE_UPLOADED"


@pytest.mark.parametrize("metadata", ["off", "silent", "absent"])
def test_no_credentials_are_told_within_seconds(
    metadata: str, server: RcloneS3, source: Path
) -> None:
    message = upload(source, server.store("none"))
    if metadata == "silent":
        with deaf_port() as port:
            env = {"AWS_EC2_METADATA_SERVICE_ENDPOINT": f"http://127.0.0.1:{port}"}
            run = run_worker(message, env=env)
    else:
        off = {"AWS_EC2_METADATA_SERVICE_ENDPOINT": "http://127.0.0.1:1"}
        run = run_worker(message, env=NO_METADATA if metadata == "off" else off)
    assert run.terminal["code"] == "STORE_ACCESS_DENIED"
    for word in ("AWS_ACCESS_KEY_ID", "profile default", "SSO", "container", "metadata"):
        assert word in run.terminal["message"]
    assert run.duration < 8 + STALL


def test_silent_role_server_is_given_up(server: RcloneS3, source: Path, tmp_path: Path) -> None:
    (tmp_path / "token").write_text("webtoken")
    with deaf_port() as port:
        env = {
            **NO_METADATA,
            "AWS_ENDPOINT_URL_STS": f"http://127.0.0.1:{port}",
            "AWS_ROLE_ARN": "arn:aws:iam::123456789012:role/backup",
            "AWS_WEB_IDENTITY_TOKEN_FILE": str(tmp_path / "token"),
        }
        message = upload(source, server.store(), settings={"timeout_ms": 500, "max_attempts": 1})
        run = run_worker(message, env=env)
    assert run.terminal["code"] == "STORE_UNAVAILABLE"
    assert run.duration < 8 + STALL


@pytest.mark.parametrize(
    "store", ["s3://", "s3:///x", "s3://b", "s3://chunks/x?regoin=a", "s3://k:s@chunks/x"]
)
def test_bad_urls_touch_nothing(store: str, source: Path) -> None:
    run = run_worker(upload(source, store))
    assert (run.status, run.terminal["code"]) == (2, "BAD_MESSAGE")
    assert run.terminal["message"].startswith("store: ")


@pytest.mark.parametrize("auth", [{"bearer_token": "t"}, {"username": "u", "password": "p"}])
def test_secrets_of_another_kind_are_refused(auth: dict[str, str], source: Path) -> None:
    run = run_worker(upload(source, "s3://chunks/x", auth=auth))
    assert (run.status, run.terminal["code"]) == (2, "BAD_MESSAGE")
    assert run.terminal["message"].startswith("auth: ")


def imports(message: dict[str, object], env: dict[str, str]) -> set[str]:
    """Return the modules that a run imports."""
    done = subprocess.run(
        [bare_python(), "-X", "importtime", str(ARTIFACT)],
        input=json.dumps(message).encode(),
        env=clean_environ(env),
        capture_output=True,
        check=True,
        timeout=60,
    )
    lines = done.stderr.decode().splitlines()
    return {line.rpartition("|")[2].strip() for line in lines if line.startswith("import time:")}


def test_known_keys_need_no_botocore_and_no_trust_store(
    server: RcloneS3, source: Path, home: Path
) -> None:
    message = upload(source, server.store("lean"))
    lean = imports(message, server.environ)
    assert "store_workers.stores.s3.store" in lean
    assert not {name for name in lean if name.split(".")[0] in {"botocore", "truststore"}}
    (home / ".aws" / "credentials").write_text(
        f"[default]\naws_access_key_id = {server.access_key}\n"
        f"aws_secret_access_key = {server.secret_key}\n"
    )
    assert "botocore.credentials" in imports(message, {"HOME": str(home), **NO_METADATA})
