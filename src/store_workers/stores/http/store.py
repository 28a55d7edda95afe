"""Chunks on a plain HTTP server: `<base>/<hash>`, by PUT, GET and HEAD."""

from __future__ import annotations

from store_workers.errors import ErrorCode, StoreFailure
from store_workers.stores.base import LONGEST_ANSWER, Properties
from store_workers.stores.http.transport import LONGEST_REFUSAL, refusal

TYPE_CHECKING = False
if TYPE_CHECKING:
    from store_workers.stores.base import Chunk
    from store_workers.stores.http.transport import Response, Transport

OK, CREATED, NO_CONTENT, PARTIAL = 200, 201, 204, 206
BEYOND_THE_END = 416
STORED = frozenset({OK, CREATED, NO_CONTENT})
"""The answers to a PUT that mean "it is stored"; 202, say, only promises it."""

ABSENT = frozenset({404, 410})
CANNOT_SAY = frozenset({405, 501})


class HttpStore:
    """A server that keeps what is PUT under a path.

    `base` is the path before the hash, without a slash at its end; `query` is appended to every
    request's path; `authorization` is the value of that header; `shown` names the server in
    messages, without secrets.
    """

    properties = Properties()

    def __init__(
        self, transport: Transport, base: str, query: str, authorization: str | None, shown: str
    ) -> None:
        self._transport = transport
        self._base = base
        self._query = f"?{query}" if query else ""
        self._headers = {"Authorization": authorization} if authorization else {}
        self._shown = shown

    def has(self, hash: str, size: int) -> bool:
        answer = self._transport.request("HEAD", self._path(hash), self._headers)
        if answer.status == OK:
            # A server that cut a chunk short has it under its name all the same.
            return answer.content_length() == size
        if answer.status in ABSENT or answer.status in CANNOT_SAY:
            return False
        raise refusal(answer, self._shown)

    def length(self, hash: str) -> int | None:
        answer = self._transport.request("HEAD", self._path(hash), self._headers)
        if answer.status == OK:
            return answer.content_length()
        if answer.status in CANNOT_SAY:
            return None
        raise self._no_chunk(answer)

    def put(self, chunk: Chunk, *, overwrite: bool = False) -> bool:
        headers = {
            **self._headers,
            "Content-Length": str(chunk.size),
            "Content-Type": "application/octet-stream",
        }
        answer = self._transport.request("PUT", self._path(chunk.hash), headers, body=chunk.pieces)
        if answer.status not in STORED:
            raise refusal(answer, self._shown)
        return True

    def get(self, hash: str) -> bytes:
        answer = self._get(hash, {})
        if answer.status == OK:
            return answer.body
        raise self._no_chunk(answer)

    def get_range(self, hash: str, offset: int, length: int) -> bytes:
        answer = self._get(hash, {"Range": f"bytes={offset}-{offset + length - 1}"})
        if answer.status == PARTIAL:
            return answer.body[:length]
        if answer.status == OK:  # a server that serves no ranges
            return answer.body[offset : offset + length]
        if answer.status == BEYOND_THE_END:
            return b""
        raise self._no_chunk(answer)

    def remove_stale_files(self) -> int:
        """What is under way at a server is the server's to remove."""
        return 0

    def close(self) -> None:
        self._transport.close()

    def _get(self, hash: str, headers: dict[str, str]) -> Response:
        return self._transport.request(
            "GET",
            self._path(hash),
            {**self._headers, **headers},
            longest=lambda status: LONGEST_ANSWER if status in (OK, PARTIAL) else LONGEST_REFUSAL,
        )

    def _no_chunk(self, answer: Response) -> StoreFailure:
        if answer.status not in ABSENT:
            return refusal(answer, self._shown)
        return StoreFailure(
            ErrorCode.CHUNK_NOT_FOUND,
            f"{self._shown} does not have this chunk",
            http_status=answer.status,
        )

    def _path(self, hash: str) -> str:
        return f"{self._base}/{hash}{self._query}"
