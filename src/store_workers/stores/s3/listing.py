"""Lists a bucket, page by page (S3's ListObjectsV2)."""

from __future__ import annotations

from store_workers.errors import ErrorCode, StoreFailure
from store_workers.transfer.listing import Page

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

LONGEST_PAGE = 4 << 20
"""Maximum bytes of a page that are read: a thousand keys of any length."""

_HEX = frozenset("0123456789abcdef")
_HASH_LENGTH = 64


class BucketList:
    """Lists the chunks directly below a prefix.

    `bucket` is the bucket's encoded path; `prefix` the start of every key, with its slash; `fetch`
    sends a signed GET of a path with a query, and returns the answer's body.
    """

    def __init__(self, bucket: str, prefix: str, fetch: Callable[[str], bytes]) -> None:
        self._bucket = bucket
        self._prefix = prefix
        self._fetch = fetch

    def page(self, after: str) -> Page:
        """Return the page after a name. Raises `StoreFailure`, also if it is not a list."""
        from urllib.parse import quote

        prefix = quote(self._prefix.encode("utf-8", "surrogateescape"), safe="-_.~")
        start = quote((self._prefix + after).encode("utf-8", "surrogateescape"), safe="-_.~")
        query = f"delimiter=%2F&list-type=2&prefix={prefix}"
        if after:
            query += f"&start-after={start}"
        return read_page(self._fetch(f"{self._bucket}?{query}"), self._prefix, after)


def read_page(body: bytes, prefix: str, after: str) -> Page:
    """Parse a list. Raises `StoreFailure` if it is not one, or not sorted."""
    from xml.parsers.expat import ExpatError

    reader = _Reader()
    try:
        reader.read(body)
        names = [(_name(key, prefix), int(size)) for key, size in reader.objects]
    except (ExpatError, ValueError):
        raise _no_list("is none") from None
    if reader.truncated not in ("true", "false"):
        raise _no_list("does not say whether there is more")
    last = after
    for name, _ in names:
        if name <= last:
            raise _no_list("is not sorted by key")
        last = name
    chunks = [(name, size) for name, size in names if _is_hash(name)]
    return Page(after, chunks, last, more=reader.truncated == "true")


class _Reader:
    """Collects key and size of each object, and whether the list continues."""

    def __init__(self) -> None:
        self.objects: list[tuple[str, str]] = []
        self.truncated = ""
        self._path: list[str] = []
        self._texts: dict[str, str] = {}

    def read(self, body: bytes) -> None:
        from xml.parsers.expat import ParserCreate

        parser = ParserCreate()
        parser.buffer_text = True
        parser.StartDoctypeDeclHandler = self._refuse
        parser.StartElementHandler = self._start
        parser.EndElementHandler = self._end
        parser.CharacterDataHandler = self._text
        parser.Parse(body, True)

    def _refuse(self, *_args: object) -> None:
        raise ValueError("a document type")

    def _start(self, name: str, _attributes: object) -> None:
        self._path.append(name)
        if len(self._path) == 1 and name != "ListBucketResult":
            raise ValueError("another document")
        if self._path[1:] == ["Contents"]:
            self._texts = {}

    def _end(self, _name: str) -> None:
        if self._path[1:] == ["Contents"]:
            self.objects.append((self._texts.get("Key", ""), self._texts.get("Size", "")))
        self._path.pop()

    def _text(self, data: str) -> None:
        if self._path[1:] == ["IsTruncated"]:
            self.truncated += data.strip()
        elif len(self._path) == 3 and self._path[1] == "Contents":
            self._texts[self._path[2]] = self._texts.get(self._path[2], "") + data


def _name(key: str, prefix: str) -> str:
    if not key.startswith(prefix):
        raise ValueError("a key of another prefix")
    return key[len(prefix) :]


def _is_hash(name: str) -> bool:
    return len(name) == _HASH_LENGTH and _HEX.issuperset(name)


def _no_list(problem: str) -> StoreFailure:
    return StoreFailure(ErrorCode.STORE_REJECTED, f"the store's list of objects {problem}")
