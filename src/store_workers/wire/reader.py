"""The owner's message as it comes in: bytes from a descriptor to one decoded JSON value."""

from __future__ import annotations

import json
import os

from store_workers.errors import BadMessage
from store_workers.wire.records import printable

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

LONGEST_MESSAGE = 256 * 1024 * 1024
"""Bytes: enough for the hashes of a stream of 2 TiB."""

_READ_SIZE = 1 << 20
_WHITE_SPACE = b" \t\r\n"


def read_message(descriptor: int) -> Any:
    """Read one JSON object, ended by its newline or by the end of the input.

    An object that is spread over several lines ends with the input. What cannot become an object
    is refused as soon as that is known, so that an owner that keeps the pipe open is not left
    waiting. Raises `BadMessage`.
    """
    lines = _Lines(descriptor)
    first = lines.first()
    start = first.lstrip(_WHITE_SPACE)
    if not start:
        raise BadMessage("", "expected one JSON object on standard input, got nothing")
    if not start.startswith(b"{"):
        # A list or a number is told as what it is; anything else as the invalid JSON that it is.
        return decode_json(_text(start))
    try:
        return decode_json(_text(first))
    except _Unfinished:
        if lines.ended:
            raise
    return decode_json(_text(lines.rest()))


class _Unfinished(BadMessage):
    """The text is the beginning of a JSON value, and more could complete it."""


class _Lines:
    """Reads the first line that is not blank, and the rest only when it is asked for."""

    def __init__(self, descriptor: int) -> None:
        self._descriptor = descriptor
        self._blocks: list[bytes] = []
        self._length = 0
        self.ended = False

    def first(self) -> bytes:
        blank = True
        while not self.ended:
            block = self._read()
            newline = block.find(b"\n") if not blank else self._end_of_first(block)
            blank = blank and not block.strip(_WHITE_SPACE)
            if newline >= 0:
                # What follows the object's newline is nobody's message.
                return b"".join(self._blocks[:-1]) + block[:newline]
        return b"".join(self._blocks)

    def rest(self) -> bytes:
        while not self.ended:
            self._read()
        return b"".join(self._blocks)

    @staticmethod
    def _end_of_first(block: bytes) -> int:
        start = len(block) - len(block.lstrip(_WHITE_SPACE))
        return block.find(b"\n", start)

    def _read(self) -> bytes:
        try:
            block = os.read(self._descriptor, _READ_SIZE)
        except OSError as error:
            raise BadMessage("", f"standard input cannot be read: {error.strerror}") from None
        self.ended = not block
        self._blocks.append(block)
        self._length += len(block)
        if self._length > LONGEST_MESSAGE:
            raise BadMessage("", f"the message is longer than {LONGEST_MESSAGE} bytes")
        return block


def _text(data: bytes) -> str:
    try:
        return data.decode("utf-8")
    except UnicodeDecodeError as error:
        raise BadMessage("", f"invalid UTF-8 at byte {error.start}") from None


def decode_json(text: str) -> Any:
    """Decode strict JSON (RFC 8259): no NaN, no field twice. Raises `BadMessage`."""
    try:
        return json.loads(text, parse_constant=_no_constant, object_pairs_hook=_once)
    except json.JSONDecodeError as error:
        unfinished = error.pos >= len(text.rstrip())
        problem = f"invalid JSON: {error.msg} at character {error.pos}"
        raise (_Unfinished if unfinished else BadMessage)("", problem) from None
    except RecursionError:
        raise BadMessage("", "invalid JSON: nested too deep") from None
    except ValueError:
        raise BadMessage("", "invalid JSON: a number has too many digits") from None


def _no_constant(word: str) -> Any:
    raise BadMessage("", f"invalid JSON: {word} is no JSON value")


def _once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) != len(pairs):
        seen: set[str] = set()
        for name, _ in pairs:
            if name in seen:
                raise BadMessage(printable(name), "is given twice")
            seen.add(name)
    return found
