"""Parses the heads of HTTP/1.1 answers, without I/O (RFC 9112).

It is strict where a mistake could mix up two answers, and lenient where real servers are not exact:
invalid header lines and empty lines before an answer are ignored.
"""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping

LONGEST_HEAD = 64 * 1024
"""Maximum bytes of one head."""

MOST_HEADERS = 256

CHUNKED = -1
TO_THE_END = -2
"""Lengths of a body without a number: chunked, or up to the end of the connection."""

_LONGEST_NUMBER = 18
"""Maximum number of digits of a length."""

_TOKEN = frozenset(b"!#$%&'*+-.^_`|~0123456789abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ")


class NotHttp(Exception):
    """The received bytes are not valid HTTP."""


class Headers(dict[str, str]):
    """Headers by their names in lower case; repeated ones are joined by commas."""

    def get(self, name: str, default: str = "") -> str:  # type: ignore[override]
        """Return a header's value; the case of the name does not matter."""
        return super().get(name.lower(), default)


class Head:
    """The status line and headers of an answer."""

    __slots__ = ("headers", "reason", "status", "version")

    def __init__(self, version: str, status: int, reason: str, headers: Headers) -> None:
        self.version = version
        self.status = status
        self.reason = reason
        self.headers = headers

    @property
    def is_interim(self) -> bool:
        """Return whether it is an interim answer (RFC 9110, 15.2)."""
        return 100 <= self.status < 200

    def keeps_connection(self) -> bool:
        """Return whether another request may follow on the connection (RFC 9112, 9.3)."""
        options = {word.strip() for word in self.headers.get("connection").lower().split(",")}
        if self.version == "HTTP/1.0":
            return "keep-alive" in options
        return "close" not in options

    def body_length(self, method: str) -> int:
        """Return the bytes of the body, `CHUNKED` or `TO_THE_END` (RFC 9112, 6.3).

        Raises `NotHttp` if the given lengths are contradictory or invalid.
        """
        if method == "HEAD" or self.is_interim or self.status in (204, 304):
            return 0
        coding = self.headers.get("transfer-encoding").lower()
        if coding:
            return CHUNKED if coding.rpartition(",")[2].strip() == "chunked" else TO_THE_END
        if "content-length" not in self.headers:
            return TO_THE_END
        length = content_length(self.headers)
        if length is None:
            raise NotHttp("an invalid length")
        return length


def content_length(headers: Mapping[str, str]) -> int | None:
    """Return the announced length in bytes; None if there is none, or an invalid one.

    A repeated equal number is accepted (RFC 9110, 8.6).
    """
    values = {value.strip(" \t") for value in headers.get("Content-Length", "").split(",")}
    if len(values) != 1:
        return None
    value = values.pop()
    if not (value.isascii() and value.isdigit()):
        return None
    digits = value.lstrip("0") or "0"
    return int(digits) if len(digits) <= _LONGEST_NUMBER else None


def take_head(buffer: bytearray) -> Head | None:
    """Remove a complete head from the start of the buffer; None if it is not complete yet.

    Raises `NotHttp` as early as possible.
    """
    while buffer[:1] == b"\r" or buffer[:1] == b"\n":
        del buffer[:1]
    if not b"HTTP/1.".startswith(buffer[:7]):
        raise NotHttp("no status line")
    end = _end_of_head(buffer)
    if end is None:
        if len(buffer) > LONGEST_HEAD:
            raise NotHttp("a head without an end")
        return None
    data = bytes(buffer[:end])
    del buffer[:end]
    return _read_head(data)


def _end_of_head(buffer: bytearray) -> int | None:
    """Return the end of the first empty line; lines may end in LF only (RFC 9112, 2.2)."""
    usual = buffer.find(b"\n\r\n")
    bare = buffer.find(b"\n\n", 0, usual + 1 if usual >= 0 else len(buffer))
    if bare >= 0:
        return bare + 2
    return usual + 3 if usual >= 0 else None


def _read_head(data: bytes) -> Head:
    if len(data) > LONGEST_HEAD:
        raise NotHttp("a head without an end")
    first, *lines = data.split(b"\n")
    version, _, rest = first.rstrip(b"\r").partition(b" ")
    code, space, reason = rest.lstrip(b" ").partition(b" ")
    if len(version) != 8 or not version[-1:].isdigit() or len(code) != 3 or not code.isdigit():
        raise NotHttp("no status line")
    status = int(code)
    if status < 100:
        raise NotHttp("no status")
    if len(lines) > MOST_HEADERS:
        raise NotHttp("too many headers")
    text = reason.decode("utf-8", "replace") if space else ""
    return Head(version.decode("ascii"), status, text.strip(), _read_headers(lines))


def _read_headers(lines: list[bytes]) -> Headers:
    headers = Headers()
    last = ""
    for line in lines:
        if line[:1] in (b" ", b"\t"):  # obsolete continuation of the previous line
            if last:
                headers[last] = f"{headers[last]} {_text(line)}".strip()
            continue
        name, colon, value = line.partition(b":")
        last = ""
        if not colon or not name.rstrip(b" \t") or not _TOKEN.issuperset(name.rstrip(b" \t")):
            continue
        last = name.rstrip(b" \t").decode("ascii").lower()
        text = _text(value)
        headers[last] = f"{headers[last]}, {text}" if last in headers else text
    return headers


def _text(value: bytes) -> str:
    return value.strip(b" \t\r").decode("latin-1")
