"""Chunks on a plain HTTP server: `<base>/<hash>`, by PUT, GET and HEAD."""

from __future__ import annotations

from store_workers.errors import ErrorCode, StoreFailure
from store_workers.stores.base import LONGEST_ANSWER, Properties
from store_workers.stores.http.folders import Folders
from store_workers.stores.http.refusals import REDIRECTS, is_passing, refusal
from store_workers.stores.http.route import LONGEST_REFUSAL
from store_workers.stores.http.template import Template
from store_workers.stores.length_check import LengthCheck

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

    from store_workers.stores.base import Chunk
    from store_workers.stores.http.connection import Response
    from store_workers.stores.http.redirects import Redirects
    from store_workers.stores.http.transport import Transport

OK, CREATED, NO_CONTENT, PARTIAL = 200, 201, 204, 206
BEYOND_THE_END = 416
STORED = frozenset({OK, CREATED, NO_CONTENT})
"""The answers to a PUT that mean "stored"; 202, for example, only promises it."""

ABSENT = frozenset({404, 410})
CANNOT_SAY = frozenset({401, 403, 405, 501}) | REDIRECTS
"""Refusals of HEAD that decide nothing, for example for a write-only key: the PUT decides."""

MAY_BE_THERE = frozenset({403, 405, 409, 412})
"""Refusals of a PUT by stores that never overwrite."""

_NOT_REPLACED = (
    "it already has {} bytes under this name: remove them, or permit that they are replaced"
)

UNCACHED = {"Cache-Control": "no-cache, no-transform"}
"""Makes caches pass the request on (RFC 9111, 5.2.1)."""


class HttpStore:
    """A server that keeps what is PUT under a path.

    `base` is the path before the hash, without a slash at its end, and `query` is appended to every
    request's path, unless they contain placeholders (`template.py`). `headers` are sent with every
    request, and contain the credentials. `shown` is the server's name without secrets.
    """

    properties = Properties()

    def __init__(
        self,
        transport: Transport,
        redirects: Redirects,
        base: str,
        query: str,
        headers: dict[str, str],
        shown: str,
    ) -> None:
        self._transport = transport
        self._redirects = redirects
        self._template = Template(base, query)
        self._query = f"?{query}" if query else ""
        self._headers = headers
        self._shown = shown
        self._folders = Folders(self._mkcol)
        self._ranges_tell = True
        self._length_check = LengthCheck(
            lambda hash: self._length(hash, thorough=True),
            shown,
            "is the URL that of a login page, or does the server rename existing files?",
        )

    def has(self, hash: str, size: int) -> bool:
        return self._length_check.is_right(hash, size, self._length(hash))

    def length(self, hash: str) -> int | None:
        answer = self._head(hash)
        if answer.status in ABSENT:
            raise self._no_chunk(answer)
        return self._length_in(answer, hash)

    def put(self, chunk: Chunk, *, overwrite: bool = False) -> bool:
        answer = self._put(chunk)
        advice = ""
        if answer.status in MAY_BE_THERE and (found := self._length(chunk.hash)) is not None:
            # A chunk that could not be overwritten may be damaged: its presence is not sufficient.
            if found == chunk.size and not overwrite:
                return False
            advice = _NOT_REPLACED.format(found)
        elif answer.status in (404, 409):  # WebDAV's answers if a directory is missing
            folder = self._path(chunk.hash).partition("?")[0].rpartition("/")[0]
            advice = self._folders.make(folder)
            if not advice:
                answer = self._put(chunk)
        if answer.status not in STORED:
            raise self._refusal(answer, advice)
        self._length_check.after_put(chunk)
        return True

    def get(self, hash: str) -> bytes:
        answer = self._get(hash, {}, _longest)
        if answer.status == OK:
            return answer.body
        raise self._no_chunk(answer)

    def remove_stale_files(self) -> int:
        """Return 0: the server removes its own temporary files."""
        return 0

    def close(self) -> None:
        self._redirects.close()
        self._transport.close()

    def _length(self, hash: str, *, thorough: bool = False) -> int | None:
        """Return the length of the object of a hash; None if it is missing or not reported.

        `thorough`: use all ways to find it out.
        """
        answer = self._head(hash)
        return None if answer.status in ABSENT else self._length_in(answer, hash, thorough=thorough)

    def _length_in(self, head: Response, hash: str, *, thorough: bool = False) -> int | None:
        """Return the length in an answer to HEAD; None if that does not report it."""
        if head.status == OK:
            length = head.content_length()
            return self._length_by_range(hash, thorough=thorough) if length is None else length
        if head.status < 300 or head.status in CANNOT_SAY:
            return None
        raise self._refusal(head)

    def _length_by_range(self, hash: str, *, thorough: bool) -> int | None:
        """Return the length from a GET of one byte, if HEAD does not report it.

        A server that does not report it is asked only once, except if `thorough`.
        """
        if not self._ranges_tell and not thorough:
            return None
        most = LONGEST_ANSWER if thorough else LONGEST_REFUSAL
        try:
            answer = self._get(hash, {"Range": "bytes=0-0"}, lambda _status: most)
        except StoreFailure:
            self._ranges_tell = False
            return None
        if answer.status in (PARTIAL, BEYOND_THE_END):
            total = answer.headers.get("Content-Range", "").rpartition("/")[2].strip()
            if total.isascii() and total.isdigit() and len(total) < 19:
                return int(total)
        self._ranges_tell = False
        if answer.status != OK:
            return None
        length = answer.content_length()
        return len(answer.body) if length is None and not answer.cut else length

    def _head(self, hash: str) -> Response:
        return self._transport.request("HEAD", self._path(hash), {**self._headers, **UNCACHED})

    def _put(self, chunk: Chunk) -> Response:
        headers = {
            **self._headers,
            "Content-Length": str(chunk.size),
            "Content-Type": "application/octet-stream",
        }
        return self._transport.request("PUT", self._path(chunk.hash), headers, body=chunk.pieces)

    def _get(self, hash: str, more: dict[str, str], longest: Callable[[int], int]) -> Response:
        return self._redirects.get(self._path(hash), self._headers, {**UNCACHED, **more}, longest)

    def _mkcol(self, path: str) -> int:
        """Create one directory (RFC 4918, 9.3). Return the answer's status.

        Raises `StoreFailure` if that can change.
        """
        headers = {**self._headers, "Content-Length": "0"}
        answer = self._transport.request("MKCOL", f"{path}/{self._query}", headers)
        if is_passing(answer.status):
            raise self._refusal(answer)
        return answer.status

    def _no_chunk(self, answer: Response) -> StoreFailure:
        if answer.status not in ABSENT:
            return self._refusal(answer)
        return StoreFailure(
            ErrorCode.CHUNK_NOT_FOUND,
            f"{self._shown} does not have this chunk",
            http_status=answer.status,
        )

    def _refusal(self, answer: Response, advice: str = "") -> StoreFailure:
        return refusal(answer, self._shown, self._transport.redactor, advice=advice or None)

    def _path(self, hash: str) -> str:
        return self._template.path_of(hash)


def _longest(status: int) -> int:
    return LONGEST_ANSWER if status == OK else LONGEST_REFUSAL
