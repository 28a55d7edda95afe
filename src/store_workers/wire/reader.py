"""Read the owner's messages: bytes from a descriptor to decoded JSON values."""

from __future__ import annotations

import os

from store_workers.errors import BadMessage
from store_workers.polling import wait_until_ready
from store_workers.wire.json_text import Decoder
from store_workers.wire.records import printable

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

LONGEST_MESSAGE = 256 * 1024 * 1024
"""In bytes. It suffices for the hashes of a stream of 2 TiB."""

_READ_SIZE = 1 << 20
_WHITE_SPACE = b" \t\r\n"


def _goes_on() -> None:
    """The default `check`: do nothing."""


class MessageReader:
    """Reads JSON objects from a descriptor, which may be non-blocking.

    `check` is called repeatedly while waiting; an exception from it ends the wait.
    """

    def __init__(self, descriptor: int, check: Callable[[], None] = _goes_on) -> None:
        self._descriptor = descriptor
        self._check = check
        self._buffer = bytearray()
        self._searched = 0  # leading bytes of the buffer that are known to contain no newline
        self._too_long = False  # the line being read was already refused
        self._ended = False

    def first(self) -> Any:
        """Read one JSON object, ended by its newline or by the end of the input.

        An object that spans several lines ends with the input. Text that cannot become an object
        is refused immediately, so that an owner that keeps the pipe open does not wait for
        nothing. Raises `BadMessage`.
        """
        while not self._skip_white_space() and self._read():
            pass
        if not self._buffer:
            raise BadMessage("", "expected one JSON object on standard input, got nothing")
        if not self._buffer.startswith(b"{"):
            # A list or a number is reported as what it is; anything else as the invalid JSON it is.
            return decode_json(_text(self._take(len(self._buffer)).partition(b"\n")[0]))
        line = self._line()
        try:
            return decode_json(_text(line))
        except _Unfinished:
            if self._ended:
                raise
        while self._read():
            pass
        return decode_json(_text(line + b"\n" + self._take(len(self._buffer))))

    def next_line(self) -> bytes | None:
        """Return the next line that is not blank, without its newline; None at the end of input.

        Raises `BadMessage` if it is too long; the next call continues after its newline.
        """
        while not self._ended or self._buffer:
            line = self._line().strip(_WHITE_SPACE)
            if line:
                return line
            self._too_long = False  # the refused line ends here
        return None

    def _skip_white_space(self) -> bool:
        """Skip blanks before a message. Return whether one has begun."""
        left = self._buffer.lstrip(_WHITE_SPACE)
        if len(left) < len(self._buffer):
            self._buffer[:] = left
        return bool(left)

    def _line(self) -> bytes:
        """Return the text up to the next newline or the end of the input."""
        while (end := self._buffer.find(b"\n", self._searched)) < 0:
            self._searched = len(self._buffer)
            if not self._read():
                return self._take(len(self._buffer))
        line = self._take(end)
        del self._buffer[:1]
        return line

    def _take(self, count: int) -> bytes:
        taken = bytes(self._buffer[:count])
        del self._buffer[:count]
        self._searched = 0
        return taken

    def _read(self) -> bool:
        """Read more into the buffer, waiting if necessary. Return false at the end of the input."""
        try:
            block = self._read_block()
        except OSError as error:
            self._ended = True
            raise BadMessage("", f"standard input cannot be read: {error.strerror}") from None
        self._ended = not block
        if self._too_long:
            end = block.find(b"\n")
            self._buffer += block[end:] if end >= 0 else b""
        else:
            self._buffer += block
        if len(self._buffer) > LONGEST_MESSAGE:
            self._too_long = True
            self._take(len(self._buffer))
            raise BadMessage("", f"the message is longer than {LONGEST_MESSAGE} bytes")
        return bool(block)

    def _read_block(self) -> bytes:
        while True:
            wait_until_ready(self._descriptor, self._check, readable=True)
            try:
                return os.read(self._descriptor, _READ_SIZE)
            except BlockingIOError:  # another reader of the same pipe was faster
                continue


class _Unfinished(BadMessage):
    """The text is the beginning of a JSON value, and more could complete it."""


def _text(data: bytes) -> str:
    try:
        return data.decode("utf-8")
    except UnicodeDecodeError as error:
        raise BadMessage("", f"invalid UTF-8 at byte {error.start}") from None


def decode_line(line: bytes) -> Any:
    """Decode one line. Raises `BadMessage`."""
    return decode_json(_text(line))


def decode_json(text: str) -> Any:
    """Decode strict JSON (RFC 8259): no NaN, no field twice. Raises `BadMessage`."""
    try:
        return _DECODER.decode(text)
    except RecursionError:
        raise BadMessage("", "invalid JSON: nested too deeply") from None
    except ValueError as error:
        raise _invalid(text, error) from None


def _invalid(text: str, error: ValueError) -> BadMessage:
    from json import JSONDecodeError

    if not isinstance(error, JSONDecodeError):
        return BadMessage("", "invalid JSON: a number has too many digits")
    if text.startswith("\ufeff"):
        return BadMessage("", "the line begins with a byte order mark: write UTF-8 without one")
    unfinished = error.pos >= len(text.rstrip())
    problem = f"invalid JSON: {error.msg} at character {error.pos}"
    return (_Unfinished if unfinished else BadMessage)("", problem)


def _no_constant(word: str) -> Any:
    raise BadMessage("", f"invalid JSON: {word} is not a JSON value")


def _once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) != len(pairs):
        seen: set[str] = set()
        for name, _ in pairs:
            if name in seen:
                raise BadMessage(printable(name), "is given twice")
            seen.add(name)
    return found


_DECODER = Decoder(_once, _no_constant)
