"""How the message comes in: lines, spread objects, refusals at once, and the limits."""

from __future__ import annotations

import json
import os
import threading
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from store_workers.errors import BadMessage
from store_workers.wire import reader
from store_workers.wire.reader import MessageReader, decode_line

if TYPE_CHECKING:
    from collections.abc import Iterator

TIMEOUT = 20


class Pipe:
    """Standard input as an owner holds it: what is written arrives, and it stays open."""

    def __init__(self) -> None:
        self.descriptor, self.end = os.pipe()
        self._open = True

    def write(self, data: bytes) -> None:
        view = memoryview(data)
        while view:
            view = view[os.write(self.end, view) :]

    def close(self) -> None:
        if self._open:
            os.close(self.end)
            self._open = False


@pytest.fixture
def pipe() -> Iterator[Pipe]:
    made = Pipe()
    yield made
    made.close()
    os.close(made.descriptor)


def reading(pipe: Pipe) -> tuple[threading.Thread, list[Any]]:
    """Read the message beside the test: the thread, and where its value or refusal appears."""
    found: list[Any] = []

    def read() -> None:
        try:
            found.append(MessageReader(pipe.descriptor).first())
        except BadMessage as refused:
            found.append(refused)

    thread = threading.Thread(target=read, daemon=True)
    thread.start()
    return thread, found


def while_open(pipe: Pipe, data: bytes) -> Any:
    """What comes of `data` while the pipe stays open."""
    thread, found = reading(pipe)
    pipe.write(data)
    thread.join(TIMEOUT)
    assert found, "it waits for more"
    return found[0]


@pytest.mark.parametrize(
    ("data", "value"),
    [
        (b"{}\n", {}),
        (b'{"a":1}\n', {"a": 1}),
        (b'{"a":1}\r\n', {"a": 1}),
        (b'\n \t\r\n{"a":1}\n', {"a": 1}),
        (b'  {"a":1}  \n', {"a": 1}),
        (b'{"a":1}\nwhatever follows is nobody\'s message\n', {"a": 1}),
        (b'{"a":1}\n{"a":2}\n', {"a": 1}),
        ('{"a":"ü日"}\n'.encode(), {"a": "ü日"}),
        (b'{"a":"\\ud800\\u0000"}\n', {"a": "\ud800\0"}),
        (b"[1]\n", [1]),
        (b"5\n", 5),
        (b"null\n", None),
    ],
)
def test_a_line_is_read_while_the_pipe_stays_open(pipe: Pipe, data: bytes, value: Any) -> None:
    assert while_open(pipe, data) == value


@pytest.mark.parametrize(
    "data",
    [
        b"hello\n",
        b"GET / HTTP/1.1\r\n",
        b"[1,\n",
        b'"text\n',
        b"}\n",
        b'{"a":1} x\n',
        b'{"a":1}{"b":1}\n',
        b'{"a":tru\n',
        b'{"a":"broken over\n',
        b"{a:1}\n",
        b'{"a":1,"a":2}\n',
        b'{"a":NaN}\n',
        b'{"a":"\xff"}\n',
        b'{"a":"\xed\xa0\x80"}\n',
        b"\xef\xbb\xbf{}\n",
        b"\xff\xfe{\0}\0\n",
        b"\0\n",
    ],
)
def test_what_cannot_become_an_object_is_refused_at_once(pipe: Pipe, data: bytes) -> None:
    refused = while_open(pipe, data)
    assert isinstance(refused, BadMessage)
    assert refused.message.isprintable()


def test_a_byte_order_mark_is_named() -> None:
    """PowerShell writes one by default."""
    with pytest.raises(BadMessage, match="byte order mark: write UTF-8 without one"):
        decode_line(b"\xef\xbb\xbf{}")


@pytest.mark.parametrize(
    "text",
    [
        json.dumps({"a": {"b": [1, "x"]}, "c": None}, indent=2),
        '{\n"a"\n:\n1\n}\n\n',
        '{"a":1,\n"b":2}',
        '{"a":[\n1\n]\n}',
        "\n\n{\n}",
    ],
)
def test_an_object_over_several_lines_ends_with_the_input(pipe: Pipe, text: str) -> None:
    thread, found = reading(pipe)
    pipe.write(text.encode())
    thread.join(0.05)
    assert not found, "it was taken before its end"
    pipe.close()
    thread.join(TIMEOUT)
    assert found == [json.loads(text)]


@pytest.mark.parametrize(
    "data",
    [b"", b"\n", b" \n\t\r\n", b"{", b'{"a":', b'{"a":1', b'{"a":1,\n', b'{"a":1}x', b"{\n{"],
)
def test_an_input_that_ends_without_an_object_is_refused(pipe: Pipe, data: bytes) -> None:
    pipe.write(data)
    pipe.close()
    with pytest.raises(BadMessage):
        MessageReader(pipe.descriptor).first()


def test_an_object_without_a_newline_ends_with_the_input(pipe: Pipe) -> None:
    pipe.write(b'{"a":1}')
    pipe.close()
    assert MessageReader(pipe.descriptor).first() == {"a": 1}


@given(st.data(), st.sampled_from(['{"a":"ü","b":[1,2]}\nrest', '\n\n{"a":1}\n', '{\n"a":\n[]}']))
def test_any_way_of_arriving_gives_the_same(data: st.DataObject, text: str) -> None:
    pipe = Pipe()
    thread, found = reading(pipe)
    left = text.encode()
    while left:
        count = data.draw(st.integers(1, len(left)))
        pipe.write(left[:count])
        left = left[count:]
    pipe.close()
    thread.join(TIMEOUT)
    os.close(pipe.descriptor)
    assert found == [json.loads(text.removesuffix("rest"))]


def test_a_long_message(pipe: Pipe) -> None:
    text = "x" * (20 * 1000 * 1000)
    value = while_open(pipe, b'{"id":"' + text.encode() + b'"}\n')
    assert value == {"id": text}


def test_a_message_that_is_too_long_is_refused_while_it_comes(
    pipe: Pipe, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(reader, "LONGEST_MESSAGE", 1 << 20)
    refused = while_open(pipe, b"{" + b" " * (1 << 20))
    assert isinstance(refused, BadMessage)
    assert "longer than" in refused.message


def test_the_limit_leaves_room_for_large_files() -> None:
    hashes = reader.LONGEST_MESSAGE // len('"' + "0" * 64 + '",')
    assert hashes * 512 * 1024 > 1 << 40


def test_an_input_that_cannot_be_read_is_refused() -> None:
    descriptor = os.open("/", os.O_RDONLY)
    try:
        with pytest.raises(BadMessage) as refused:
            MessageReader(descriptor).first()
    finally:
        os.close(descriptor)
    assert "standard input cannot be read" in refused.value.message
    with pytest.raises(BadMessage):
        MessageReader(descriptor).first()
