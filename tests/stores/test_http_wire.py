"""Behaviour of servers on the wire, over HTTP, TLS and S3.

Each of these faults occurs with real servers, proxies or gateways.
"""

from __future__ import annotations

import hashlib
import socket
import ssl
import threading
import time
from typing import TYPE_CHECKING, Any

import pytest

from store_workers.errors import ErrorCode, StoreFailure
from store_workers.stores.base import Chunk
from store_workers.stores.http.dialing import Resolver, UnknownHost, alternating, connect
from store_workers.stores.http.folders import Folders
from tests.stores.kinds import open_store
from tests.support.certificates import Authority
from tests.support.faulty_server import (
    Answer,
    FaultyServer,
    Rule,
    deaf_port,
    status,
)
from tests.support.processes import HOST

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from store_workers.stores.base import Store
    from tests.support.faulty_server import Exchange, Fault

DATA = bytes(range(256)) * 2048  # 512 KiB
HASH = hashlib.sha256(DATA).hexdigest()
SMALL = b"small"
GENEROUS = 25.0
UNAVAILABLE, REJECTED = ErrorCode.STORE_UNAVAILABLE, ErrorCode.STORE_REJECTED
DENIED = ErrorCode.STORE_ACCESS_DENIED
KEYS = {"access_key_id": "KEYID", "secret_access_key": "SECRETKEY"}


def chunk(data: bytes = DATA) -> Chunk:
    return Chunk(hashlib.sha256(data).hexdigest(), [memoryview(data)])


class Opener:
    """Opens stores on a `FaultyServer`, and closes them at the end."""

    def __init__(self, kind: str, folder: Path) -> None:
        self.kind = kind
        self.context: ssl.SSLContext | None = None
        self._fields: dict[str, Any] = {}
        self._stores: list[Store] = []
        if kind == "https":
            authority = Authority(folder / "ca")
            pair = authority.server()
            self.context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
            self.context.load_cert_chain(pair.certificate, pair.key)
            self._fields = {"tls": {"ca_file": str(authority.file)}}

    def __call__(self, server: FaultyServer, timeout_ms: int = 20_000, **fields: Any) -> Store:
        url, more = server.url, {**self._fields, **fields}
        if self.kind == "s3":
            url = f"s3://bucket/prefix?endpoint={url}&region=r-1"
            more = {"auth": KEYS, **more}
        store = open_store(url, settings={"timeout_ms": timeout_ms}, **more)
        self._stores.append(store)
        return store

    def close(self) -> None:
        for store in self._stores:
            store.close()


@pytest.fixture(params=["http", "https", "s3"])
def opener(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Opener]:
    made = Opener(request.param, tmp_path)
    yield made
    made.close()


@pytest.fixture
def plain(tmp_path: Path) -> Iterator[Opener]:
    made = Opener("http", tmp_path)
    yield made
    made.close()


def put_fails(
    opener: Opener, *rules: Rule, data: bytes = DATA, timeout_ms: int = 20_000
) -> StoreFailure:
    with FaultyServer(*rules, tls=opener.context) as server:
        with pytest.raises(StoreFailure) as raised:
            opener(server, timeout_ms).put(chunk(data))
        opener.close()
    return raised.value


def raw(answer: bytes, *, close: bool = True, read: bool = True) -> Fault:
    """Answer with these bytes; without `read` before the body is read."""

    def raw(exchange: Exchange) -> None:
        if read:
            exchange.receive()
        exchange.connection.send(answer)
        if close:
            exchange.connection.close()
        elif not read:
            exchange.wait()

    return raw


CREATED = b"HTTP/1.1 201 Created\r\nContent-Length: 0\r\n\r\n"

# A success that is none.


@pytest.mark.parametrize("close", [True, False])
def test_a_success_before_the_body_was_sent_is_not_believed(opener: Opener, close: bool) -> None:
    failure = put_fails(opener, Rule(raw(CREATED, close=close, read=False), "PUT"))
    assert (failure.code, failure.transient) == (UNAVAILABLE, True)
    assert "did not receive all of it" in failure.message or "connection" in failure.message


def test_a_small_body_that_nobody_read_is_told_by_the_reset(plain: Opener) -> None:
    """It is in the server's buffers and counts as delivered; the connection's end shows it."""

    def closes_unread(exchange: Exchange) -> None:
        answer = CREATED.replace(b"\r\n\r\n", b"\r\nConnection: close\r\n\r\n")
        while not exchange.connection.sock.recv(1, socket.MSG_PEEK):
            pass
        exchange.connection.send(answer)
        exchange.connection.sock.close()

    failure = put_fails(plain, Rule(closes_unread, "PUT"), data=SMALL * 9000)
    assert (failure.code, failure.transient) == (UNAVAILABLE, True)


LOGIN = b"<html>Please log in</html>"


@pytest.mark.parametrize("length", [True, False])
@pytest.mark.parametrize("asks", [True, False])
def test_a_login_page_is_no_store(plain: Opener, length: bool, asks: bool) -> None:
    head = b"HTTP/1.1 200 OK\r\nContent-Type: text/html\r\nConnection: close\r\n"
    head += b"Content-Length: %d\r\n\r\n" % len(LOGIN) if length else b"\r\n"

    def login(exchange: Exchange) -> None:
        exchange.receive()
        body = b"" if exchange.record.method == "HEAD" else LOGIN
        exchange.connection.send(head + body)
        exchange.connection.close()

    with FaultyServer(Rule(login)) as server:
        store = plain(server)
        if asks:
            assert not store.has(HASH, len(DATA))
        with pytest.raises(StoreFailure, match="does not store") as raised:
            store.put(chunk())
    assert (raised.value.code, raised.value.transient) == (REJECTED, False)


def test_a_server_that_renames_what_is_there_is_no_store(opener: Opener) -> None:
    def renames(exchange: Exchange) -> None:
        exchange.receive()
        exchange.send(Answer(201, length=0))

    with FaultyServer(Rule(renames, "PUT", key=HASH), tls=opener.context) as server:
        store = opener(server)
        assert store.put(chunk(b"the first one is well"))
        server.chunks[HASH] = DATA[:-1]
        assert not store.has(HASH, len(DATA))
        with pytest.raises(StoreFailure, match="does not store") as raised:
            store.put(chunk())
        assert raised.value.code is REJECTED


def test_only_the_first_chunk_is_asked_for_again(opener: Opener) -> None:
    with FaultyServer(tls=opener.context) as server:
        store = opener(server)
        for data in (b"1", b"2", b"3"):
            assert store.put(chunk(data))
        assert [record.method for record in server.records] == ["PUT", "HEAD", "PUT", "PUT"]


# Secrets and hostile answers.


def test_a_reason_phrase_is_shown_without_secrets_and_controls(plain: Opener) -> None:
    answer = b"HTTP/1.1 403 bad Bearer TOPSECRET \x1b[2J now\r\nContent-Length: 0\r\n\r\n"
    with FaultyServer(Rule(raw(answer))) as server:
        store = plain(server, auth={"bearer_token": "TOPSECRET"})
        with pytest.raises(StoreFailure) as raised:
            store.put(chunk())
    assert "TOPSECRET" not in raised.value.message
    assert "bad Bearer [hidden] ?[2J now" in raised.value.message
    assert raised.value.message.isprintable()


@pytest.mark.parametrize(
    ("kind", "body", "shown"),
    [
        ("text/plain", b"deadline\nexceeded", "deadline exceeded"),
        ("application/json", b'{"error": "bad sig=QUERYSECRET"}', '{"error": "bad sig=[hidden]"}'),
        ("application/xml", b"<Error><Code>No</Code><X>PASSWORD</X></Error>", "No [hidden]"),
        ("text/html", b"<style>x{}</style><p>no &lt;parent&gt;</p>", "no <parent>"),
        (
            "text/html",
            b"<head><title>No</title></head><h1>400 Bad Request</h1><p>a header</p>",
            "a header",
        ),
        ("", b"bWU6UEFTU1dPUkQ=", "[hidden]"),
        ("application/octet-stream", b"bytes", ""),
        ("text/plain", b"\x00\x01", ""),
    ],
)
def test_what_a_server_says_of_a_refusal_is_shown(
    plain: Opener, kind: str, body: bytes, shown: str
) -> None:
    def says(exchange: Exchange) -> None:
        exchange.receive()
        exchange.send(Answer(400, body, {"Content-Type": kind}, len(body)))

    with FaultyServer(Rule(says)) as server:
        url = f"{server.url}?sig=QUERYSECRET"
        store = open_store(url, auth={"username": "me", "password": "PASSWORD"})
        with pytest.raises(StoreFailure) as raised:
            store.put(chunk())
        store.close()
    expected = "answered 400 Bad Request" + (f": {shown}" if shown else "")
    assert f"{expected};" in raised.value.message


LENGTHS = [
    b"Content-Length: 524288\r\nContent-Length: 524288\r\n",
    b"Content-Length: 524288, 524288\r\n",
    b"Content-Length:   524288  \r\n",
    b"Content-Length : 524288\r\n",
    b"what is this\r\nContent-Length: 524288\r\n",
]


@pytest.mark.parametrize("lines", LENGTHS)
def test_unusual_lengths_are_understood(plain: Opener, lines: bytes) -> None:
    def answers(exchange: Exchange) -> None:
        body = DATA if exchange.record.method == "GET" else b""
        exchange.connection.send(b"HTTP/1.1 200 OK\r\n" + lines + b"\r\n" + body)

    with FaultyServer(Rule(answers, "HEAD GET")) as server:
        store = plain(server)
        assert store.has(HASH, len(DATA))
        assert store.get(HASH) == DATA
        assert {record.connection for record in server.records} == {1}


def test_an_absurd_length_is_no_bug_of_ours(opener: Opener) -> None:
    absurd = b"HTTP/1.1 200 OK\r\nContent-Length: " + b"7" * 5000 + b"\r\n\r\n"
    with FaultyServer(Rule(raw(absurd), "HEAD GET"), tls=opener.context) as server:
        store = opener(server)
        assert not store.has(HASH, len(DATA))
        with pytest.raises(StoreFailure) as raised:
            store.get(HASH)
        assert raised.value.code is UNAVAILABLE


# Connections.


def test_a_kept_connection_that_is_closed_unannounced_is_no_failed_try(opener: Opener) -> None:
    seen: set[int] = set()

    def serves_once(exchange: Exchange) -> None:
        if exchange.connection.number in seen:
            exchange.connection.close()
            return
        seen.add(exchange.connection.number)
        exchange.receive()
        exchange.send(exchange.honest())

    with FaultyServer(Rule(serves_once), tls=opener.context) as server:
        store = opener(server)
        for number in range(5):
            data = bytes([number]) * 1000
            assert store.put(chunk(data))
            assert store.get(chunk(data).hash) == data
        assert len(server.chunks) == 5


def test_a_fresh_connection_that_is_closed_is_a_failed_try(opener: Opener) -> None:
    def closes(exchange: Exchange) -> None:
        exchange.connection.close()

    failure = put_fails(opener, Rule(closes))
    assert (failure.code, failure.transient) == (UNAVAILABLE, True)
    assert (failure.slow_down, failure.unanswered) == (True, True)


def test_closing_ends_what_other_threads_wait_for(opener: Opener) -> None:
    arrived = threading.Event()

    def stalls(exchange: Exchange) -> None:
        arrived.set()
        exchange.wait()

    failures: list[StoreFailure] = []
    with FaultyServer(Rule(stalls), tls=opener.context) as server:
        store = opener(server, 60_000)

        def get() -> None:
            with pytest.raises(StoreFailure) as raised:
                store.get(HASH)
            failures.append(raised.value)

        thread = threading.Thread(target=get, daemon=True)
        thread.start()
        assert arrived.wait(GENEROUS)
        store.close()
        thread.join(GENEROUS)
        assert not thread.is_alive()
        assert failures
        with pytest.raises(StoreFailure):
            store.get(HASH)


@pytest.mark.parametrize(
    "before", [b"HTTP/1.1 %d Interim\r\nX: y\r\n\r\n" % n for n in range(100, 105) if n != 101]
)
def test_interim_answers_are_passed_over(opener: Opener, before: bytes) -> None:
    def answers(exchange: Exchange) -> None:
        exchange.connection.send(before)
        exchange.receive()
        exchange.connection.send(before)
        exchange.send(exchange.honest())

    with FaultyServer(Rule(answers), tls=opener.context) as server:
        store = opener(server)
        assert store.put(chunk())
        assert store.has(HASH, len(DATA))
        assert store.get(HASH) == DATA
        assert {record.connection for record in server.records} == {1}


@pytest.mark.parametrize(("number", "code"), [(413, REJECTED), (401, DENIED), (503, UNAVAILABLE)])
@pytest.mark.parametrize("close", [True, False])
def test_an_early_refusal_is_heard_while_the_body_is_sent(
    opener: Opener, number: int, code: ErrorCode, close: bool
) -> None:
    answer = b"HTTP/1.1 %d Too Much\r\nContent-Length: 7\r\n\r\nlimit 9" % number
    fault = raw(answer, close=close, read=False)
    started = time.monotonic()
    failure = put_fails(opener, Rule(fault, "PUT"))
    assert (failure.code, failure.http_status) == (code, number)
    assert "limit 9" in failure.message
    assert time.monotonic() - started < GENEROUS


# Answers to be understood.


@pytest.mark.parametrize("number", [403, 405, 409, 412])
def test_a_store_that_never_overwrites(opener: Opener, number: int) -> None:
    def write_once(exchange: Exchange) -> None:
        exchange.receive()
        known = exchange.record.key in exchange.server.chunks
        exchange.send(Answer(number, length=0) if known else exchange.honest())

    with FaultyServer(Rule(write_once, "PUT"), tls=opener.context) as server:
        store = opener(server)
        assert store.put(chunk()) is True
        assert store.put(chunk()) is False
        with pytest.raises(StoreFailure):
            store.put(chunk(), overwrite=True)
        server.chunks[HASH] = DATA[1:]
        with pytest.raises(StoreFailure) as raised:
            store.put(chunk())
        assert raised.value.http_status == number


def lengthless(*, ranges: bool) -> list[Rule]:
    """HEAD without a length, and a GET with or without ranges."""

    def head(exchange: Exchange) -> None:
        known = exchange.record.key in exchange.server.chunks
        exchange.send(Answer(200 if known else 404, headers={"Transfer-Encoding": "chunked"}))

    def get(exchange: Exchange) -> None:
        data = exchange.server.chunks[exchange.record.key]
        if not ranges or "range" not in exchange.record.headers:
            block = b"%x\r\n%b\r\n0\r\n\r\n" % (len(data), data)
            exchange.connection.send(
                b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n" + block
            )
            return
        content = {"Content-Range": f"bytes 0-0/{len(data)}"}
        exchange.send(Answer(206, data[:1], content, 1))

    return [Rule(head, "HEAD"), Rule(get, "GET")]


def test_a_length_that_only_a_range_tells(plain: Opener) -> None:
    with FaultyServer(*lengthless(ranges=True)) as server:
        store = plain(server)
        assert not store.has(HASH, len(DATA))
        assert store.put(chunk())
        assert store.has(HASH, len(DATA))
        assert not store.has(HASH, len(DATA) - 1)
        assert store.get(HASH) == DATA


def test_a_length_that_nothing_tells_is_asked_for_once(plain: Opener) -> None:
    with FaultyServer(*lengthless(ranges=False)) as server:
        store = plain(server)
        assert store.put(chunk())
        before = len(server.requests("GET"))
        for _ in range(3):
            assert not store.has(HASH, len(DATA))
            assert store.put(chunk())
        assert len(server.requests("GET")) == before


def test_caches_are_asked_to_stand_aside(opener: Opener) -> None:
    with FaultyServer(tls=opener.context) as server:
        store = opener(server)
        store.put(chunk())
        store.has(HASH, len(DATA))
        store.get(HASH)
        for record in server.records:
            wanted = "no-cache, no-transform" if record.method != "PUT" else None
            assert record.headers.get("cache-control") == wanted


# WebDAV.


def test_missing_folders_are_made_once(plain: Opener) -> None:
    made: list[str] = []

    def mkcol(exchange: Exchange) -> None:
        parent = exchange.target.rstrip("/").rpartition("/")[0]
        if parent and parent not in made:
            exchange.send(Answer(409, length=0))
            return
        made.append(exchange.target.rstrip("/"))
        exchange.send(Answer(201, length=0))

    def put(exchange: Exchange) -> None:
        exchange.receive()
        there = exchange.target.rpartition("/")[0] in made
        exchange.send(exchange.honest() if there else Answer(409, length=0))

    with FaultyServer(Rule(put, "PUT"), Rule(mkcol, "MKCOL")) as server:
        store = open_store(f"{server.url}/deep/er")
        for data in (b"1", b"2"):
            assert store.put(chunk(data))
        store.close()
        assert made == ["/chunks", "/chunks/deep", "/chunks/deep/er"]
        assert len(server.requests("PUT")) == 3


def test_a_folder_that_cannot_be_made_is_named(plain: Opener) -> None:
    with FaultyServer(Rule(status(409, body=b"no parent"), "PUT MKCOL")) as server:
        with pytest.raises(StoreFailure) as raised:
            plain(server).put(chunk())
        assert raised.value.code is REJECTED
        assert "create the directory /chunks on the server" in raised.value.message
        assert "no parent" in raised.value.message


@pytest.mark.parametrize("number", [423, 429, 503])
def test_a_folder_that_cannot_be_made_just_now(plain: Opener, number: int) -> None:
    refused = Rule(status(409, body=b"no parent"), "PUT", nth=range(1, 3))
    busy = Rule(status(number, retry_after="7"), "MKCOL", nth=[1])
    with FaultyServer(refused, busy, Rule(status(201, body=b""), "MKCOL")) as server:
        store = plain(server)
        with pytest.raises(StoreFailure) as raised:
            store.put(chunk())
        assert (raised.value.http_status, raised.value.transient) == (number, True)
        assert raised.value.retry_after == 7
        assert store.put(chunk())


def test_threads_that_waited_for_a_silent_server_do_not_ask_it_again() -> None:
    times = iter([0.0, 30.0, 1.0, 31.0])  # the second thread began while the first one asked
    silent = StoreFailure(ErrorCode.STORE_UNAVAILABLE, "silent", transient=True)
    asked: list[str] = []

    def mkcol(path: str) -> int:
        asked.append(path)
        if len(asked) == 1:
            raise silent
        return 201

    folders = Folders(mkcol, lambda: next(times))
    for _ in range(2):
        with pytest.raises(StoreFailure, match="silent"):
            folders.make("/box")
    assert asked == ["/box"]
    assert folders.make("/box") == ""
    assert asked == ["/box", "/box"]


# Headers of the message, and redirects.


def test_headers_go_with_every_request_and_are_hidden(plain: Opener) -> None:
    def echoes(exchange: Exchange) -> None:
        exchange.receive()
        sent = exchange.record.headers["x-auth-token"].encode()
        exchange.send(Answer(400, b"no " + sent, length=3 + len(sent)))

    with FaultyServer(Rule(echoes, "PUT", nth={2})) as server:
        store = plain(server, headers={"X-Auth-Token": "TOKEN-OF-MINE", "x-other": "Key 12345"})
        store.put(chunk())
        store.has(HASH, len(DATA))
        store.get(HASH)
        with pytest.raises(StoreFailure) as raised:
            store.put(chunk())
        assert "no [hidden]" in raised.value.message
        for record in server.records:
            assert record.headers["x-auth-token"] == "TOKEN-OF-MINE"
            assert record.headers["x-other"] == "Key 12345"


def elsewhere(url: str) -> Rule:
    return Rule(status(302, location=url), "GET")


def test_a_get_is_followed_without_secrets(plain: Opener) -> None:
    with FaultyServer() as other, FaultyServer() as server:
        other.chunks[HASH] = DATA
        server.rules.append(elsewhere(f"{other.url}/{HASH}?signature=abc"))
        store = plain(server, auth={"bearer_token": "TOKEN"}, headers={"X-Key": "12345"})
        assert store.get(HASH) == DATA
        assert store.get(HASH) == DATA
        [record, _] = other.records
        assert not {"authorization", "x-key"} & set(record.headers)
        assert record.headers["cache-control"] == "no-cache, no-transform"
        assert record.target.endswith("?signature=abc")
        assert {record.headers["authorization"] for record in server.records} == {"Bearer TOKEN"}
        assert {record.connection for record in other.records} == {1}


def test_a_get_is_followed_on_the_same_server_with_all_headers(plain: Opener) -> None:
    with FaultyServer() as server:
        server.chunks["moved"] = DATA
        server.rules.append(Rule(status(308, location="../deeper/moved?x=1"), "GET", key=HASH))
        assert plain(server, headers={"X-Key": "12345"}).get(HASH) == DATA
        assert [record.target for record in server.records] == [
            f"/chunks/{HASH}",
            "/deeper/moved?x=1",
        ]
        assert server.records[-1].headers["x-key"] == "12345"


@pytest.mark.parametrize(
    ("location", "word"),
    [
        ("/chunks/around", "more than 5 redirects"),
        ("ftp://host/x", "not an http"),
        ("http://[", "not a URL"),
        ("http://a b/", "not an http"),
    ],
)
def test_redirects_that_are_not_followed(plain: Opener, location: str, word: str) -> None:
    with FaultyServer(elsewhere(location)) as server:
        with pytest.raises(StoreFailure, match=word) as raised:
            plain(server).get(HASH)
        assert raised.value.code is REJECTED
        assert len(server.records) <= 6


def test_no_redirect_leads_from_https_to_http(tmp_path: Path) -> None:
    opener = Opener("https", tmp_path)
    with FaultyServer() as other:
        with FaultyServer(elsewhere(f"{other.url}/{HASH}"), tls=opener.context) as server:
            with pytest.raises(StoreFailure, match="from https to http"):
                opener(server).get(HASH)
            opener.close()
        assert not other.records


# Names and addresses.


def test_dead_addresses_share_one_budget() -> None:
    with deaf_port() as deaf, FaultyServer() as server:
        ports = [deaf] * 6 + [server.port]
        addresses: list[Any] = [
            (socket.AF_INET, socket.SOCK_STREAM, 0, "", (HOST, port)) for port in ports
        ]
        started = time.monotonic()
        connect(addresses, 10.0).close()
        assert time.monotonic() - started < GENEROUS
        started = time.monotonic()
        with pytest.raises(TimeoutError):
            connect(addresses[:-1], 0.5)
        assert time.monotonic() - started < GENEROUS


def test_families_take_turns() -> None:
    four: Any = [(socket.AF_INET, 1, 0, "", n) for n in range(3)]
    six: Any = [(socket.AF_INET6, 1, 0, "", n) for n in range(2)]
    assert alternating([*six, *four]) == [six[0], four[0], six[1], four[1], four[2]]


def test_a_name_server_that_falls_silent_costs_one_timeout(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    silent = threading.Event()
    asked: list[object] = []

    def look_up(*arguments: Any) -> list[Any]:
        asked.append(arguments)
        silent.wait(GENEROUS)
        return []

    monkeypatch.setattr(socket, "getaddrinfo", _numeric_fails(look_up))
    resolver = Resolver("store.example.org", 80)
    with pytest.raises(TimeoutError):
        resolver.addresses(0.05)
    silent.set()
    assert len(asked) == 1


def test_a_look_up_without_a_thread(monkeypatch: pytest.MonkeyPatch) -> None:
    """A host that refuses another thread: the calling one looks the name up, each time."""
    found = [(socket.AF_INET, socket.SOCK_STREAM, 6, "", ("192.0.2.1", 80))]

    def refuse(_thread: threading.Thread) -> None:
        raise RuntimeError("can't start new thread")

    monkeypatch.setattr(socket, "getaddrinfo", _numeric_fails(lambda *_arguments: found))
    monkeypatch.setattr(threading.Thread, "start", refuse)
    resolver = Resolver("store.example.org", 80, lambda: next(clock))
    clock = iter(range(0, 9000, 1000))
    assert resolver.addresses(0.01) == found
    assert resolver.addresses(0.01) == found


def test_threads_share_a_look_up(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[object] = []
    go_on = threading.Event()

    def look_up(*arguments: Any) -> list[Any]:
        asked.append(arguments)
        go_on.wait(GENEROUS)
        return ["address"]

    monkeypatch.setattr(socket, "getaddrinfo", _numeric_fails(look_up))
    resolver = Resolver("store.example.org", 80)
    found: list[Any] = []
    threads = [
        threading.Thread(target=lambda: found.append(resolver.addresses(GENEROUS)))
        for _ in range(8)
    ]
    for thread in threads:
        thread.start()
    go_on.set()
    for thread in threads:
        thread.join()
    assert found == [["address"]] * 8
    assert len(asked) == 1


def test_a_name_that_is_not_known(monkeypatch: pytest.MonkeyPatch) -> None:
    def look_up(*_arguments: Any) -> list[Any]:
        raise socket.gaierror(-2, "Name or service not known")

    monkeypatch.setattr(socket, "getaddrinfo", look_up)
    with pytest.raises(UnknownHost):
        Resolver("store.example.org", 80).addresses(GENEROUS)


def _numeric_fails(look_up: Callable[..., list[Any]]) -> Callable[..., list[Any]]:
    """A lookup of names; addresses need none."""

    def getaddrinfo(*arguments: Any) -> list[Any]:
        if arguments[-1] == socket.AI_NUMERICHOST:
            raise socket.gaierror(-2, "no address")
        return look_up(*arguments)

    return getaddrinfo
