"""HTTP: the meaning of each answer, and bounded requests.

The servers are sockets on loopback that misbehave.
"""

from __future__ import annotations

import gc
import hashlib
import time
from email.utils import formatdate
from typing import TYPE_CHECKING

import pytest
from hypothesis import given
from hypothesis import strategies as st

from store_workers.errors import ErrorCode, StoreFailure
from store_workers.stores.base import LONGEST_ANSWER, Chunk
from store_workers.stores.http.connection import MinimumThroughput, Response
from store_workers.stores.http.refusals import refusal, retry_after
from store_workers.stores.http.route import LONGEST_REFUSAL
from store_workers.stores.http.streams import LEAST_RATE
from store_workers.stores.redaction import Redactor
from store_workers.stream.chunking import LARGEST_CHUNK
from tests.stores.kinds import open_store
from tests.support.faulty_server import (
    FIRST,
    FaultyServer,
    Rule,
    broken,
    claimed_length,
    endless,
    flipped,
    halved,
    honest_after,
    other_body,
    stalled,
    status,
    trickled,
)

if TYPE_CHECKING:
    from collections.abc import Callable

    from store_workers.stores.base import Store
    from tests.support.faulty_server import Exchange, Fault

DATA = bytes(range(256)) * 256
HASH = hashlib.sha256(DATA).hexdigest()
TIMEOUT_MS = 400
GENEROUS = 25.0  # seconds within which every bounded wait here has ended, on a busy machine too

UNAVAILABLE = ErrorCode.STORE_UNAVAILABLE
DENIED = ErrorCode.STORE_ACCESS_DENIED
REJECTED = ErrorCode.STORE_REJECTED


def chunk() -> Chunk:
    view = memoryview(DATA)
    return Chunk(HASH, [view[:1], view[1:30_000], view[30_000:]])


def opened(server: FaultyServer, timeout_ms: int = 20_000) -> Store:
    return open_store(server.url, settings={"timeout_ms": timeout_ms})


CALLS: dict[str, Callable[[Store], object]] = {
    "HEAD": lambda store: store.has(HASH, len(DATA)),
    "PUT": lambda store: store.put(chunk()),
    "GET": lambda store: store.get(HASH),
}


def failing(fault: Fault, method: str, timeout_ms: int = 20_000) -> StoreFailure:
    """Return the failure of a call to a server with a fault."""
    with FaultyServer(Rule(fault)) as server:
        server.chunks[HASH] = DATA
        store = opened(server, timeout_ms)
        started = time.monotonic()
        with pytest.raises(StoreFailure) as raised:
            CALLS[method](store)
        assert time.monotonic() - started < GENEROUS
        store.close()
    return raised.value


@pytest.mark.parametrize("number", [403, 405, 409, 412])
def test_what_cannot_be_overwritten_is_refused(number: int) -> None:
    """The existing object can be damaged: the right length is not sufficient."""
    with FaultyServer(Rule(status(number), "PUT")) as server:
        server.chunks[HASH] = bytes(len(DATA))
        store = opened(server)
        with pytest.raises(StoreFailure) as raised:
            store.put(chunk(), overwrite=True)
        assert f"already has {len(DATA)} bytes" in raised.value.message
        server.chunks[HASH] = b"damaged"
        with pytest.raises(StoreFailure, match="already has 7 bytes under this name: remove them"):
            store.put(chunk())
        assert not server.requests("MKCOL"), "no directory is missing"
        store.close()


STATUSES = [
    (300, REJECTED, False, False),
    (301, REJECTED, False, False),
    (302, REJECTED, False, False),
    (304, REJECTED, False, False),
    (307, REJECTED, False, False),
    (308, REJECTED, False, False),
    (400, REJECTED, False, False),
    (401, DENIED, False, False),
    (402, REJECTED, False, False),
    (403, DENIED, False, False),
    (406, REJECTED, False, False),
    (407, DENIED, False, False),
    (408, UNAVAILABLE, True, False),
    (409, REJECTED, False, False),
    (411, REJECTED, False, False),
    (413, REJECTED, False, False),
    (414, REJECTED, False, False),
    (418, REJECTED, False, False),
    (421, REJECTED, False, False),
    (423, UNAVAILABLE, True, False),
    (425, UNAVAILABLE, True, False),
    (429, UNAVAILABLE, True, True),
    (431, REJECTED, False, False),
    (451, REJECTED, False, False),
    (500, UNAVAILABLE, True, False),
    (501, REJECTED, False, False),
    (502, UNAVAILABLE, True, False),
    (503, UNAVAILABLE, True, True),
    (504, UNAVAILABLE, True, False),
    (505, REJECTED, False, False),
    (507, REJECTED, False, False),
    (599, UNAVAILABLE, True, False),
]


@pytest.mark.parametrize(("number", "code", "transient", "slow_down"), STATUSES)
def test_what_a_status_means(
    number: int, code: ErrorCode, transient: bool, slow_down: bool
) -> None:
    failure = refusal(Response(number, "Reason", {}, b""), "http://host", Redactor())
    assert (failure.code, failure.transient, failure.slow_down) == (code, transient, slow_down)
    assert failure.http_status == number
    assert failure.retry_after is None
    assert str(number) in failure.message
    assert failure.message.startswith("http://host ")


@pytest.mark.parametrize("method", ["HEAD", "PUT", "GET"])
@pytest.mark.parametrize("number", [400, 401, 403, 408, 413, 423, 429, 500, 503, 507])
def test_a_status_over_the_wire(method: str, number: int) -> None:
    if method == "HEAD" and number in {401, 403}:
        return  # it decides nothing there
    expected = next(row for row in STATUSES if row[0] == number)
    failure = failing(status(number, retry_after="7"), method)
    found = (failure.http_status, failure.code, failure.transient, failure.slow_down)
    assert found == expected
    assert failure.retry_after == (7.0 if failure.transient else None)


@pytest.mark.parametrize("number", [404, 410])
def test_what_is_absent(number: int) -> None:
    with FaultyServer(Rule(status(number))) as server:
        store = opened(server)
        assert store.has(HASH, len(DATA)) is False
        with pytest.raises(StoreFailure) as raised:
            store.get(HASH)
        assert raised.value.code is ErrorCode.CHUNK_NOT_FOUND
        assert raised.value.http_status == number
        with pytest.raises(StoreFailure) as raised:
            store.put(chunk())
        assert raised.value.code is REJECTED
        store.close()


@pytest.mark.parametrize("number", [204, 206, 301, 302, 303, 307, 308, 401, 403, 405, 501])
def test_a_question_without_an_answer_leaves_the_word_to_the_put(number: int) -> None:
    """With a write-only key, HEAD is refused and chunks are stored."""
    with FaultyServer(Rule(status(number), "HEAD")) as server:
        store = opened(server)
        assert store.has(HASH, len(DATA)) is False
        assert store.put(chunk()) is True
        store.close()


@pytest.mark.parametrize(("number", "stored"), [(200, True), (201, True), (204, True)])
def test_what_says_that_it_is_stored(number: int, stored: bool) -> None:
    with FaultyServer(Rule(status(number, body=b""), "PUT")) as server:
        store = opened(server)
        assert store.put(chunk()) is stored
        store.close()


@pytest.mark.parametrize("number", [202, 203, 205, 206, 207, 226, 299])
def test_what_only_promises_it(number: int) -> None:
    failure = failing(status(number, body=b""), "PUT")
    assert failure.code is REJECTED
    assert failure.http_status == number


@pytest.mark.parametrize("number", [201, 204, 206])
def test_another_success_is_not_the_chunk(number: int) -> None:
    assert failing(status(number, body=b""), "GET").code is REJECTED


# Retry-After.


def asked(value: str) -> float | None:
    return retry_after(Response(503, "", {"Retry-After": value}, b""))


@pytest.mark.parametrize(
    ("value", "seconds"),
    [
        ("0", 0.0),
        ("7", 7.0),
        (" 120 ", 120.0),
        ("99999999999999999999", 999_999_999.0),
        ("", None),
        ("soon", None),
        ("-1", None),
        ("1.5", None),
        ("+5", None),
        ("٣", None),
        ("7;", None),
        ("Wed, 21 Oct 2015 07:28:00 GMT", 0.0),
        ("Wed, 99 Oct 2015 07:28:00 GMT", None),
        ("Wed, 21 Oct 2015 07:28:00 +99999999999", None),
    ],
)
def test_what_a_store_asks_for(value: str, seconds: float | None) -> None:
    assert asked(value) == seconds


def test_a_date_in_the_future() -> None:
    seconds = asked(formatdate(time.time() + 100, usegmt=True))
    assert seconds is not None
    assert 90 < seconds <= 101


def test_no_wish() -> None:
    assert retry_after(Response(503, "", {}, b"")) is None


@given(st.text() | st.text(st.sampled_from("0123456789 :,+-GMTWedOct")))
def test_any_wish_is_a_number_or_none(value: str) -> None:
    seconds = asked(value)
    assert seconds is None or seconds >= 0


@pytest.mark.parametrize(
    ("value", "length"),
    [
        ("5", 5),
        ("0", 0),
        ("", None),
        ("-5", None),
        ("5, 5", 5),
        ("5, 6", None),
        ("5" * 5000, None),
        ("\t5 ", 5),
        ("٣", None),
    ],
)
def test_announced_lengths(value: str, length: int | None) -> None:
    assert Response(200, "", {"Content-Length": value}, b"").content_length() == length


# Connections.


def test_connections_are_kept() -> None:
    with FaultyServer() as server:
        store = opened(server)
        for _ in range(3):
            assert store.has(HASH, len(DATA)) is bool(server.chunks)
            store.put(chunk())
            assert store.has(HASH, len(DATA)) is True
            assert store.get(HASH) == DATA
            with pytest.raises(StoreFailure):
                store.get("0" * 64)
        store.close()
        assert {record.connection for record in server.records} == {1}
        assert all(record.headers["host"] for record in server.records)
        puts = server.requests("PUT")
        assert {record.length for record in puts} == {len(DATA)}
        assert not any("transfer-encoding" in record.headers for record in server.records)


def test_a_refusal_keeps_the_connection_too() -> None:
    with FaultyServer(Rule(status(503, body=b"busy" * 100), "PUT", tries={1, 2})) as server:
        store = opened(server)
        for _ in range(2):
            with pytest.raises(StoreFailure):
                store.put(chunk())
        assert store.put(chunk()) is True
        store.close()
        assert {record.connection for record in server.records} == {1}


def test_a_connection_that_was_dropped_in_between_is_made_anew() -> None:
    def then_closes(exchange: Exchange) -> None:
        exchange.receive()
        exchange.send(exchange.honest())
        exchange.connection.close()

    with FaultyServer(Rule(then_closes)) as server:
        store = opened(server)
        for _ in range(3):
            assert store.put(chunk()) is True
            time.sleep(0.05)
            assert store.has(HASH, len(DATA)) is True
            time.sleep(0.05)
        store.close()


@pytest.mark.parametrize(
    ("method", "where"),
    [
        ("HEAD", "head"),
        ("HEAD", "answer"),
        ("PUT", "head"),
        ("PUT", "body"),
        ("PUT", "answer"),
        ("GET", "head"),
        ("GET", "body"),
        ("GET", "answer"),
    ],
)
@pytest.mark.parametrize("reset", [True, False])
def test_a_connection_that_breaks(method: str, where: str, reset: bool) -> None:
    failure = failing(broken(where=where, reset=reset), method)
    assert failure.code is UNAVAILABLE
    assert failure.transient
    assert failure.http_status is None


@pytest.mark.parametrize("change", [-1, 1, 1000])
def test_another_length_than_announced(change: int) -> None:
    with FaultyServer(Rule(claimed_length(change), "GET")) as server:
        server.chunks[HASH] = DATA
        store = opened(server)
        if change < 0:
            assert store.get(HASH) == DATA[:change]
        else:
            with pytest.raises(StoreFailure) as raised:
                store.get(HASH)
            assert raised.value.transient
        store.close()


@pytest.mark.parametrize("change", [flipped, halved])
def test_what_is_in_a_chunk_is_not_the_stores_business(change: Callable[[bytes], bytes]) -> None:
    with FaultyServer(Rule(other_body(change), "GET")) as server:
        server.chunks[HASH] = DATA
        store = opened(server)
        assert store.get(HASH) == change(DATA)
        store.close()


def raw(answer: bytes) -> Fault:
    """Response with these bytes, and close."""

    def raw(exchange: Exchange) -> None:
        exchange.receive()
        exchange.connection.send(answer)
        exchange.connection.close()

    return raw


@pytest.mark.parametrize(
    "answer",
    [
        b"",
        b"\0",
        b"SSH-2.0-OpenSSH_9.2\r\n",
        b"<html>no</html>",
        b"HTTP/1.1\r\n\r\n",
        b"HTTP/1.1 abc OK\r\n\r\n",
        b"HTTP/1.1 99999 OK\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nabc",
        b"HTTP/1.1 200 OK\r\n" + b"X: y\r\n" * 500 + b"\r\n",
        b"HTTP/1.1 200 OK\r\nX: " + b"y" * 200_000 + b"\r\n\r\n",
    ],
    ids=range(12),
)
def test_answers_that_are_none(answer: bytes) -> None:
    failure = failing(raw(answer), "GET")
    assert failure.code is UNAVAILABLE
    assert failure.transient
    assert failure.message.isprintable()


def test_a_request_that_is_given_up_lets_its_socket_go(recwarn: pytest.WarningsRecorder) -> None:
    assert failing(stalled(where="head"), "PUT", TIMEOUT_MS).transient
    gc.collect()
    assert not [warning for warning in recwarn if warning.category is ResourceWarning]


@pytest.mark.parametrize(
    "answer",
    [
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nabcde\r\n0\r\n\r\n",
        b"HTTP/1.0 200 OK\r\n\r\nabcde",
        b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nabcde",
        b"HTTP/1.1 200\r\nContent-Length: 5\r\nContent-Encoding: gzip\r\n\r\nabcde",
    ],
    ids=range(4),
)
def test_unusual_answers_that_are_some(answer: bytes) -> None:
    with FaultyServer(Rule(raw(answer))) as server:
        store = opened(server)
        assert store.get(HASH) == b"abcde"
        store.close()


# Time and length.


@pytest.mark.parametrize("method", ["HEAD", "PUT", "GET"])
@pytest.mark.parametrize("where", ["head", "answer"])
def test_silence_ends(method: str, where: str) -> None:
    failure = failing(stalled(where=where), method, TIMEOUT_MS)
    assert (failure.code, failure.transient) == (UNAVAILABLE, True)
    assert "silent, or slower than 1 KiB/s" in failure.message


@pytest.mark.parametrize("where", ["head", "body"])
def test_a_trickling_answer_ends(where: str) -> None:
    failure = failing(trickled(where=where, pause=0.05), "GET", TIMEOUT_MS)
    assert (failure.code, failure.transient) == (UNAVAILABLE, True)


def test_a_trickling_head_of_a_put_ends() -> None:
    failure = failing(trickled(where="head", pause=0.05), "PUT", TIMEOUT_MS)
    assert (failure.code, failure.transient) == (UNAVAILABLE, True)


def test_a_server_that_takes_its_time_within_the_timeout_is_waited_for() -> None:
    with FaultyServer(Rule(honest_after(0.5))) as server:
        store = opened(server, 5000)
        assert store.put(chunk()) is True
        assert store.get(HASH) == DATA
        store.close()


@pytest.mark.parametrize("where", ["body", "head"])
def test_an_endless_answer_is_cut_off(where: str) -> None:
    with FaultyServer(Rule(endless(where=where))) as server:
        store = opened(server)
        started = time.monotonic()
        if where == "body":
            assert LARGEST_CHUNK < len(store.get(HASH)) <= LONGEST_ANSWER
        else:
            with pytest.raises(StoreFailure):
                store.get(HASH)
        assert time.monotonic() - started < GENEROUS
        store.close()


def test_an_endless_refusal_is_cut_off() -> None:
    def endless_refusal(exchange: Exchange) -> None:
        exchange.connection.send(b"HTTP/1.1 500 No\r\n\r\n")
        while not exchange.server.closing.is_set():
            exchange.connection.send(b"x" * LONGEST_REFUSAL)

    assert failing(endless_refusal, "GET").http_status == 500


def test_after_an_answer_that_was_cut_the_next_request_is_well() -> None:
    with FaultyServer(Rule(endless(), "GET", tries=FIRST)) as server:
        server.chunks[HASH] = DATA
        store = opened(server)
        assert len(store.get(HASH)) > LARGEST_CHUNK
        assert store.get(HASH) == DATA
        store.close()


# MinimumThroughput.


class Watch:
    """A headway of ten seconds with a clock that is moved by hand."""

    def __init__(self) -> None:
        self.now = 1000.0
        self.throughput = MinimumThroughput(10.0, clock=lambda: self.now)

    def moved(self, count: int, after: float) -> None:
        self.now += after
        self.throughput.moved(count)


def test_a_transfer_that_moves_enough_goes_on_for_ever() -> None:
    watch = Watch()
    for _ in range(1000):
        watch.moved(LEAST_RATE, 1.0)


def test_a_transfer_that_trickles_is_given_up_after_one_timeout() -> None:
    watch = Watch()
    watch.moved(1, 0.0)
    for _ in range(9):
        watch.moved(LEAST_RATE - 200, 1.0)
    with pytest.raises(TimeoutError):
        watch.moved(1, 1.0)


def test_each_timeout_is_looked_at_by_itself() -> None:
    watch = Watch()
    watch.moved(100 * LEAST_RATE, 0.0)
    watch.moved(1, 10.0)
    for _ in range(9):
        watch.moved(1, 1.0)
    with pytest.raises(TimeoutError):
        watch.moved(1, 1.0)


def test_the_wait_before_the_first_byte_does_not_count() -> None:
    watch = Watch()
    watch.moved(1, 500.0)
    watch.moved(1, 9.0)


@given(st.lists(st.tuples(st.integers(0, 3000), st.floats(0.01, 3)), min_size=30, max_size=80))
def test_no_transfer_below_the_rate_lasts_longer_than_two_timeouts(
    steps: list[tuple[int, float]],
) -> None:
    watch = Watch()
    watch.moved(0, 0.0)
    began = watch.now
    total = 0
    try:
        for count, after in steps:
            watch.moved(count, after)
            total += count
    except TimeoutError:
        return
    lasted = watch.now - began
    assert total >= LEAST_RATE * (lasted - 2 * (10 + 3))
