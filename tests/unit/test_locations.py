"""Locations of stores: which are accepted, and the field that each refusal names."""

from __future__ import annotations

import base64
import os
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from store_workers.errors import BadMessage
from store_workers.files.paths import system_path
from store_workers.stores.directory.location import DirectoryLocation, default_directory
from store_workers.stores.http.location import HttpLocation
from store_workers.stores.http.template import Template
from store_workers.stores.location import locate
from store_workers.stores.redaction import HIDDEN
from store_workers.wire.messages import Settings, decode_message

if TYPE_CHECKING:
    from pathlib import Path

    from store_workers.stores.base import Location

HASH = "abc" + 61 * "0"
KEYS = {"access_key_id": "a", "secret_access_key": "s"}


def place(store: str | None, environment: dict[str, str] | None = None, **more: Any) -> Location:
    """Locate the store of a message."""
    fields = {"type": "UPLOAD_START", "path": "file", **more}
    if store is not None:
        fields["store"] = store
    return locate(decode_message(fields), environment or {})


@pytest.mark.parametrize(
    ("store", "root"),
    [
        ("/srv/chunks", "/srv/chunks"),
        ("chunks", "chunks"),
        ("new\nline\x7f", "new\nline\x7f"),
        ("./a://b", "./a://b"),
        ("./s3:/bucket", "./s3:/bucket"),
        ("C:\\chunks", "C:\\chunks"),
        ("c:/chunks", "c:/chunks"),
        ("C:chunks", "C:chunks"),
        ("12:30", "12:30"),
        ("a b:c", "a b:c"),
        (":x", ":x"),
        ("/a/b://c", "/a/b://c"),
        ("file:///srv/chunks", "/srv/chunks"),
        ("FILE:///srv/chunks", "/srv/chunks"),
        ("file://localhost/srv", "/srv"),
        ("file:///with%20space/%C3%BC", "/with space/ü"),
        ("file:///ü/日本", "/ü/日本"),
        ("file:///raw%FFbyte", "/raw\udcffbyte"),
        ("/raw\udcffbyte", "/raw\udcffbyte"),
    ],
)
def test_directories(store: str, root: str) -> None:
    location = place(store)
    assert isinstance(location, DirectoryLocation)
    assert location.root == root


@pytest.mark.parametrize("name", ["ü", "日本", "a b", "raw\udcff"])
def test_a_file_url_and_a_path_mean_the_same_directory(tmp_path: Path, name: str) -> None:
    wanted = os.fsencode(tmp_path) + b"/" + name.encode("utf-8", "surrogateescape")
    for store in (f"{tmp_path}/{name}", f"file://{tmp_path}/{name}"):
        location = place(store)
        assert isinstance(location, DirectoryLocation)
        assert os.fsencode(system_path(location.root)) == wanted


@pytest.mark.parametrize(
    "store",
    [
        "ftp://host/x",
        "s3:/bucket/prefix",
        "s3:bucket",
        "S3:/bucket",
        "http:/host/x",
        "https:host",
        "file:/srv/chunks",
        "file:srv",
        " s3://bucket",
        "localhost:8080",
        "gs://bucket",
        "svn+ssh:host",
        "x://h",
        "://x",
        "s4://bucket",
        "file://host/x",
        "file://",
        "file:///a?b",
        "file:///a#b",
        "file:///a%00b",
        "http://",
        "http:///path",
        "http://a b/",
        "http://[",
        "http://host:99999/",
        "http://host:port/",
        "http://host/#fragment",
        "http://host/{hash:2}",
        "http://host/{hash:0}/{hash}",
        "http://host/{hash:64}/{hash}",
        "http://host/{hash:02}/{hash}",
        "http://host/{hash2}/{hash}",
        "http://host/{hash",
        "http://host/?a={hash:2}",
        "http://a%zz/",
        "http://%41/",
        "http://ü..x/",
        "http://" + "ü" * 70 + "/",
        "http://host\n/",
        "dir\0",
        "file:///dir\x7f",
        "\ud800",
        "dir/\udfff",
        "file:///\ud800",
        "http://host/\ud800",
        "http://user:\ud800@host/",
        "http://host/?q=\ud800",
    ],
)
def test_refusals_name_the_field(store: str) -> None:
    with pytest.raises(BadMessage) as refused:
        place(store)
    assert refused.value.field == "store"
    with pytest.raises(BadMessage) as from_environment:
        place(None, {"STORE_WORKERS_STORE": store})
    assert from_environment.value.field == "STORE_WORKERS_STORE"


@given(
    st.text(max_size=30),
    st.sampled_from(
        ["", "file://", "file:///", "http://", "https://h/", "s3://", "s3://b/", "x://"]
    ),
)
def test_any_text_is_a_place_or_a_refusal(text: str, scheme: str) -> None:
    try:
        location = place(scheme + text or "x")
    except BadMessage as refused:
        assert refused.field == "store"  # noqa: PT017 - either outcome is right
    else:
        assert location.shown.isprintable() or isinstance(location, DirectoryLocation)


@pytest.mark.parametrize(
    ("store", "shown"),
    [
        ("http://host", "http://host"),
        ("HTTP://Host:81/a/", "http://host:81/a"),
        ("http://bücher.example/ü b", "http://xn--bcher-kva.example/%C3%BC%20b"),
        ("http://[::1]:8080/", "http://[::1]:8080"),
        ("http://127.0.0.1/raw\udcff", "http://127.0.0.1/raw%FF"),
        ("http://host/ü/{hash:2}/{hash}", "http://host/%C3%BC/{hash:2}/{hash}"),
        ("http://host/{other}/x", "http://host/%7Bother%7D/x"),
        ("http://host/%C3%BC%2f/x", "http://host/%C3%BC%2f/x"),
        ("http://my_host-1.local./x", "http://my_host-1.local./x"),
    ],
)
def test_urls(store: str, shown: str) -> None:
    location = place(store)
    assert isinstance(location, HttpLocation)
    assert location.shown == shown
    location.open(Settings()).close()


@pytest.mark.parametrize("store", ["s3:/b/p", "http:host"])
def test_a_url_with_a_slash_too_few_says_how_it_is_written(store: str) -> None:
    with pytest.raises(BadMessage, match=f"{store.partition(':')[0]}:// with two slashes"):
        place(store)


@pytest.mark.parametrize(
    ("url", "path"),
    [
        ("http://h", f"/{HASH}"),
        ("http://h/a/", f"/a/{HASH}"),
        ("http://h/a?q=1", f"/a/{HASH}?q=1"),
        ("http://h/a/?q", f"/a/{HASH}?q"),
        ("http://h/a/{hash:2}/{hash}", f"/a/ab/{HASH}"),
        ("http://h/v2/name/blobs/sha256:{hash}", f"/v2/name/blobs/sha256:{HASH}"),
        ("http://h/get/?name={hash}&k=ü", f"/get/?name={HASH}&k=%C3%BC"),
        ("http://h/{hash:1}/{hash:10}/{hash}.chunk/", f"/a/{HASH[:10]}/{HASH}.chunk/"),
        ("http://h/{hash}/{x}", f"/{HASH}/%7Bx%7D"),
    ],
)
def test_where_a_chunk_lies_on_a_server(url: str, path: str) -> None:
    location = place(url)
    assert isinstance(location, HttpLocation)
    assert Template(location.path, location.query).path_of(HASH) == path


def test_no_refusal_shows_a_secret_of_the_url() -> None:
    for store in (
        "http://user:hunter2@host:bad/",
        "http://user:hunter2@ho st/",
        "ftp://u:hunter2@h",
    ):
        with pytest.raises(BadMessage) as refused:
            place(store)
        assert "hunter2" not in refused.value.message


def test_what_is_shown_of_a_url_is_no_secret() -> None:
    location = place("https://user:hunter2@host:8443/base/?token=hunter2")
    assert isinstance(location, HttpLocation)
    assert location.shown == "https://host:8443/base"


@pytest.mark.parametrize(
    ("store", "auth", "environment", "expected"),
    [
        ("http://h/", None, {}, None),
        ("http://h/", {"bearer_token": "t"}, {}, "Bearer t"),
        ("http://h/", {"username": "u", "password": "p:q"}, {}, "u:p:q"),
        ("http://h/", {"username": "ü", "password": ""}, {}, "ü:"),
        ("http://a:b@h/", None, {}, "a:b"),
        ("http://a%40c:b%2F@h/", None, {}, "a@c:b/"),
        ("http://a@h/", None, {}, "a:"),
        ("http://a:b@h/", {"bearer_token": "t"}, {}, "Bearer t"),
        ("http://h/", None, {"STORE_WORKERS_TOKEN": "e"}, "Bearer e"),
        ("http://a:b@h/", None, {"STORE_WORKERS_TOKEN": "e"}, "a:b"),
        ("http://h/", {"bearer_token": "t"}, {"STORE_WORKERS_TOKEN": "e"}, "Bearer t"),
    ],
)
def test_the_message_wins_over_the_url_and_that_over_the_environment(
    store: str,
    auth: dict[str, str] | None,
    environment: dict[str, str],
    expected: str | None,
) -> None:
    location = place(store, environment, **({"auth": auth} if auth else {}))
    assert isinstance(location, HttpLocation)
    if expected is not None and not expected.startswith("Bearer "):
        expected = "Basic " + base64.b64encode(expected.encode()).decode()
    assert location.authorization == expected


def test_a_token_of_the_environment_is_checked_and_not_shown() -> None:
    with pytest.raises(BadMessage) as refused:
        place("http://h/", {"STORE_WORKERS_TOKEN": "hunter2\n"})
    assert refused.value.field == "STORE_WORKERS_TOKEN"
    assert "hunter2" not in refused.value.message


def test_keys_of_s3_are_refused_elsewhere() -> None:
    with pytest.raises(BadMessage) as refused:
        place("http://h/", auth=KEYS)
    assert refused.value.field == "auth"


def test_reading_a_location_touches_nothing(tmp_path: Path) -> None:
    location = place(str(tmp_path / "a" / "b"))
    location.open(Settings()).close()
    assert list(tmp_path.iterdir()) == []


def test_the_store_of_the_message_wins_over_the_environment() -> None:
    location = place("mine", {"STORE_WORKERS_STORE": "other"})
    assert isinstance(location, DirectoryLocation)
    assert location.root == "mine"


@pytest.mark.parametrize(
    ("environment", "expected"),
    [
        ({"XDG_DATA_HOME": "/data"}, "/data/store-workers/chunks"),
        ({"XDG_DATA_HOME": "relative"}, "/home/x/.local/share/store-workers/chunks"),
        ({}, "/home/x/.local/share/store-workers/chunks"),
    ],
)
def test_the_default_directory(
    environment: dict[str, str], expected: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HOME", "/home/x")
    assert default_directory(environment) == expected
    location = place(None, environment)
    assert isinstance(location, DirectoryLocation)
    assert location.root == expected


def headers_of(url: str, **fields: Any) -> dict[str, str]:
    """The headers of a store's requests."""
    store: Any = place(url, {"STORE_WORKERS_TOKEN": "t"}, **fields).open(Settings())
    store.close()
    return dict(store._headers)


def test_headers_of_the_message() -> None:
    azure = "https://account.blob.core.windows.net/box"
    assert headers_of("http://h/x") == {"Authorization": "Bearer t"}
    assert headers_of("http://h/x", headers={"authorization": "Key k"}) == {
        "authorization": "Key k"
    }
    blob = {"x-ms-blob-type": "BlockBlob", "Authorization": "Bearer t"}
    assert headers_of(azure) == blob
    assert headers_of(azure, headers={"X-MS-Blob-Type": "PageBlob"})["X-MS-Blob-Type"] == "PageBlob"
    assert "x-ms-blob-type" not in headers_of("https://blob.core.windows.net.example.org/box")


@pytest.mark.parametrize(
    ("field", "fields"),
    [
        ("headers", {"store": "/dir", "headers": {"X-Key": "k"}}),
        ("headers", {"store": "s3://bucket", "headers": {"X-Key": "k"}}),
        (
            "auth",
            {
                "store": "http://h",
                "headers": {"Authorization": "x"},
                "auth": {"bearer_token": "t"},
            },
        ),
    ],
)
def test_headers_that_fit_no_store(field: str, fields: dict[str, Any]) -> None:
    with pytest.raises(BadMessage, match=f"^{field}: "):
        place(**fields)


@pytest.mark.parametrize(
    "value",
    [
        "session=hunter2-long; path=/",
        "Token token=hunter2-long",
        'OAuth realm="x", oauth_token="hunter2-long"',
        "Basic " + base64.b64encode(b"user:hunter2-long").decode(),
        "hunter2-long",
    ],
)
def test_a_part_of_a_header_is_a_secret_too(value: str) -> None:
    """A server can repeat only the token of a cookie or a parameter."""
    store: Any = place("http://h", headers={"X-Key": value, "X-Mode": "a b"}).open(Settings())
    store.close()
    clean = store._transport.redactor.clean
    assert clean("a token: hunter2-long") == f"a token: {HIDDEN}"


def test_a_query_without_names_is_a_secret() -> None:
    store: Any = place("http://h/box?hunter2-long&x=").open(Settings())
    store.close()
    assert store._transport.redactor.clean("/box?hunter2-long&x=") == f"/box?{HIDDEN}&x="
