"""Chooses the store for a message's `store`: the table of kinds.

Parsing a location accesses nothing; only `open` does.
"""

from __future__ import annotations

from store_workers.errors import BadMessage
from store_workers.stores.directory.location import (
    DirectoryLocation,
    default_directory,
    read_file_url,
    read_path,
)
from store_workers.wire.records import is_encodable

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from typing import TypeAlias

    from store_workers.stores.base import Location
    from store_workers.wire.messages import Common

    LocationReader: TypeAlias = Callable[[str, str, Common, Mapping[str, str]], Location]

STORE_VARIABLE = "STORE_WORKERS_STORE"


def _read_file_url(
    url: str, field: str, _message: Common, _environment: Mapping[str, str]
) -> Location:
    return read_file_url(url, field)


def _read_http_url(
    url: str, field: str, message: Common, environment: Mapping[str, str]
) -> Location:
    from store_workers.stores.http.location import read_http_url

    return read_http_url(url, field, message, environment)


def _read_s3_url(url: str, field: str, message: Common, environment: Mapping[str, str]) -> Location:
    from store_workers.stores.s3.location import read_s3_url

    return read_s3_url(url, field, message, environment)


KINDS: dict[str, LocationReader] = {
    "file": _read_file_url,
    "http": _read_http_url,
    "https": _read_http_url,
    "s3": _read_s3_url,
}
"""The kinds of stores by the schemes of their URLs.

A parser gets the URL, the name of its field, the message and the environment. It raises
`BadMessage` naming the field, without the URL's secrets. A kind is imported when it is used.
"""


def locate(message: Common, environment: Mapping[str, str]) -> Location:
    """Return the location of a message's store. Raises `BadMessage` naming the wrong field."""
    if message.store is not None:
        return _locate(message.store, "store", message, environment)
    configured = environment.get(STORE_VARIABLE)
    if configured:
        return _locate(configured, STORE_VARIABLE, message, environment)
    directory = default_directory(environment)
    if directory is None:
        raise BadMessage(
            "store", f"required: {STORE_VARIABLE} is not set, and there is no home directory"
        )
    return DirectoryLocation(directory)


def _locate(text: str, field: str, message: Common, environment: Mapping[str, str]) -> Location:
    if not is_encodable(text):
        raise BadMessage(field, "contains a lone surrogate that does not stand for a byte")
    scheme = scheme_of(text)
    if message.headers and scheme not in ("http", "https"):
        raise BadMessage("headers", "only for http:// and https:// stores")
    if scheme is None:
        return read_path(text, field)
    if any(character < " " or character == "\x7f" for character in text):
        raise BadMessage(field, "contains a control character")
    reader = KINDS.get(scheme)
    if reader is None:
        raise BadMessage(
            field,
            f"unknown scheme: expected {', '.join(f'{kind}://' for kind in KINDS)};"
            " write ./ before the name of a directory",
        )
    if not text[len(scheme) :].startswith("://"):
        raise BadMessage(
            field,
            f"expected {scheme}:// with two slashes; write ./ before the name of a directory",
        )
    return reader(text, field, message, environment)


def scheme_of(text: str) -> str | None:
    """Return the scheme, in lower case, of a text that begins like a URL; None for a path.

    A URL with a slash too few is not a directory name: the chunks would be stored in an unexpected
    place. A letter and a colon are a Windows drive, unless two slashes follow.
    """
    start = text.lstrip()
    before, colon, after = start.partition(":")
    if not colon or "/" in before or "\\" in before:
        return None
    if after.startswith("//"):
        return text[: text.index(":")].lower()
    looks_like_one = before[:1].isalpha() and before.isascii() and len(before) > 1
    if looks_like_one and set(before[1:]) <= _SCHEME:
        return text[: text.index(":")].lower()
    return None


_SCHEME = frozenset("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789+-.")
"""The characters of a scheme after its first letter (RFC 3986, 3.1)."""
