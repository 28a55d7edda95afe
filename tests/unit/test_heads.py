"""The heads of HTTP answers: which are valid, and the length of the body."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from store_workers.stores.http.heads import (
    CHUNKED,
    MOST_HEADERS,
    TO_THE_END,
    Head,
    NotHttp,
    take_head,
)


def head_of(*lines: str, first: str = "HTTP/1.1 200 OK") -> Head:
    head = take_head(bytearray("\r\n".join([first, *lines, "", ""]).encode("latin-1")))
    assert head is not None
    return head


@pytest.mark.parametrize(
    ("first", "status", "reason"),
    [
        ("HTTP/1.1 200 OK", 200, "OK"),
        ("HTTP/1.0 404 Not Found", 404, "Not Found"),
        ("HTTP/1.1 200", 200, ""),
        ("HTTP/1.1 200 ", 200, ""),
        ("HTTP/1.1 599 Löcher", 599, "L\ufffdcher"),
    ],
)
def test_status_lines(first: str, status: int, reason: str) -> None:
    head = head_of(first=first)
    assert (head.status, head.reason) == (status, reason)


@pytest.mark.parametrize(
    "data",
    [
        b"SSH-2.0-OpenSSH_9.2\r\n",
        b"<html>",
        b"\0",
        b"HTTP/2 200 OK\r\n\r\n",
        b"HTTP/1.1\r\n\r\n",
        b"HTTP/1.1 abc OK\r\n\r\n",
        b"HTTP/1.1 99999 OK\r\n\r\n",
        b"HTTP/1.1 20 OK\r\n\r\n",
        b"HTTP/1.1 099 OK\r\n\r\n",
        b"HTTP/1.x 200 OK\r\n\r\n",
        b"HTTP/1.1 200 OK\r\n" + b"X: y\r\n" * (MOST_HEADERS + 1) + b"\r\n",
        b"HTTP/1.1 200 OK\r\nX: " + b"y" * 200_000,
        b"HTTP/1.1 200 OK\r\nX: " + b"y" * 200_000 + b"\r\n\r\n",
    ],
)
def test_what_is_no_http(data: bytes) -> None:
    with pytest.raises(NotHttp):
        take_head(bytearray(data))


@pytest.mark.parametrize("data", [b"", b"\r\n", b"H", b"HTTP/1.", b"HTTP/1.1 200 OK\r\nX: y\r\n"])
def test_what_may_become_one(data: bytes) -> None:
    assert take_head(bytearray(data)) is None


def test_what_follows_a_head_stays() -> None:
    buffer = bytearray(b"\r\nHTTP/1.1 200 OK\nA: b\n\nbody\n\n")
    head = take_head(buffer)
    assert head is not None
    assert head.headers == {"a": "b"}
    assert buffer == b"body\n\n"


@pytest.mark.parametrize(
    ("lines", "length"),
    [
        (["Content-Length: 5"], 5),
        (["Content-Length:5"], 5),
        (["Content-Length:  5 \t"], 5),
        (["content-length: 005"], 5),
        (["Content-Length: 5", "Content-Length: 5"], 5),
        (["Content-Length: 5, 5"], 5),
        (["no header at all", "Content-Length: 5"], 5),
        ([": nothing", "Content-Length : 5"], 5),
        (["X: a", " folded", "Content-Length: 5"], 5),
        (["Transfer-Encoding: chunked", "Content-Length: 5"], CHUNKED),
        (["Transfer-Encoding: gzip, Chunked"], CHUNKED),
        (["Transfer-Encoding: gzip"], TO_THE_END),
        ([], TO_THE_END),
    ],
)
def test_how_long_a_body_is(lines: list[str], length: int) -> None:
    assert head_of(*lines).body_length("GET") == length
    assert head_of(*lines).body_length("HEAD") == 0


@pytest.mark.parametrize("value", ["5, 6", "-5", "+5", "", "x", "5" * 5000, "5.0", "\u00b2"])
def test_lengths_that_are_none(value: str) -> None:
    head = head_of(f"Content-Length: {value}")
    assert head.body_length("HEAD") == 0
    with pytest.raises(NotHttp):
        head.body_length("GET")


@pytest.mark.parametrize(
    ("first", "lines", "kept"),
    [
        ("HTTP/1.1 200 OK", [], True),
        ("HTTP/1.1 200 OK", ["Connection: Close"], False),
        ("HTTP/1.1 200 OK", ["Connection: x, close"], False),
        ("HTTP/1.0 200 OK", [], False),
        ("HTTP/1.0 200 OK", ["Connection: Keep-Alive"], True),
    ],
)
def test_which_connections_are_kept(first: str, lines: list[str], kept: bool) -> None:
    assert head_of(*lines, first=first).keeps_connection() is kept


@given(st.binary(max_size=300), st.lists(st.integers(1, 40), max_size=40))
def test_any_bytes_in_any_pieces_give_a_head_or_no_http(data: bytes, cuts: list[int]) -> None:
    def outcome(steps: list[int]) -> object:
        buffer, rest = bytearray(), b"HTTP/1.1 200 OK\r\n" + data
        try:
            for step in [*steps, len(rest)]:
                buffer += rest[:step]
                rest = rest[step:]
                head = take_head(buffer)
                if head is not None:
                    return head.status, head.headers, bytes(buffer) + rest
        except NotHttp:
            return NotHttp
        return None

    assert outcome([]) == outcome(cuts)
