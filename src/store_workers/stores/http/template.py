"""The path of a chunk on an HTTP server: below the base, or by placeholders in the URL.

`{hash}` stands for the chunk's hash, `{hash:N}` for its first N digits: so
`https://host/chunks/{hash:2}/{hash}` reads what a directory store wrote.
"""

from __future__ import annotations

import re

from store_workers.errors import BadMessage

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

_DIGITS = 64
_PLACEHOLDER = re.compile(r"\{hash(?::([1-9]|[1-5][0-9]|6[0-3]))?\}")
_START = "{hash"


class Template:
    """A path and a query with placeholders, encoded for a request line; `query` may be empty.

    Without a placeholder, the hash is the last part of the path.
    """

    def __init__(self, path: str, query: str) -> None:
        if not has_placeholder(path + query):
            path += "/{hash}"
        self._text = f"{path}?{query}" if query else path

    def path_of(self, hash: str) -> str:
        """Return the path and query of a chunk's request."""
        return _PLACEHOLDER.sub(lambda found: hash[: int(found[1] or _DIGITS)], self._text)


def has_placeholder(text: str) -> bool:
    """Return whether a text has a placeholder."""
    return _PLACEHOLDER.search(text) is not None


def check_placeholders(text: str, field: str) -> None:
    """Refuse invalid placeholders, and templates that give several chunks the same URL."""
    if text.count(_START) != len(_PLACEHOLDER.findall(text)):
        raise BadMessage(field, "expected {hash} or {hash:N}, N from 1 to 63")
    if has_placeholder(text) and "{hash}" not in text:
        raise BadMessage(
            field, "must contain {hash}: otherwise several chunks would have the same URL"
        )


def encode_around(text: str, encode: Callable[[str], str]) -> str:
    """Encode a text except its placeholders."""
    pieces, start = [], 0
    for found in _PLACEHOLDER.finditer(text):
        pieces += [encode(text[start : found.start()]), found[0]]
        start = found.end()
    return "".join([*pieces, encode(text[start:])])
