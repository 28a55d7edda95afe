"""Chunks in an object store that speaks S3: the key is `<prefix>/<hash>`.

A PUT is plain and signed, and what is signed as the body's digest is the chunk's hash: the store
verifies what it stores. Its body is never cut into signed pieces.
"""

from __future__ import annotations

from store_workers.errors import ErrorCode, StoreFailure
from store_workers.stores.base import LONGEST_ANSWER, Properties
from store_workers.stores.http.transport import LONGEST_REFUSAL, refusal
from store_workers.stores.s3.errors import EXPIRED, S3Error, read_error, s3_failure
from store_workers.stores.s3.listing import LONGEST_PAGE
from store_workers.stores.s3.signing import NO_BODY

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Protocol

    from store_workers.stores.base import Chunk
    from store_workers.stores.http.transport import Response, Transport
    from store_workers.stores.s3.signing import Keys, Signer

    class Keyring(Protocol):
        """Where the keys of a run come from. Safe from many threads."""

        def current(self) -> Keys:
            """The keys to sign a request with now. Raises `StoreFailure`."""

        def renew(self, used: Keys) -> bool:
            """Get other keys than those that expired; are there any? Raises `StoreFailure`."""


OK = 200
PARTIAL = 206
BEYOND_THE_END = 416
LONGEST_OBJECT = 5 << 30
"""Bytes that one PUT may carry."""

STORED = frozenset({200, 201, 204})
HEAD_CANNOT_SAY = frozenset({301, 307, 400, 401, 403, 405, 501})
"""Answers to HEAD, which has no body to explain them, that leave the word to the PUT.

S3 answers 403 for what is not there to those who may not list, and 400 for expired keys.
"""
PRECONDITION_FAILED = 412
_UNKNOWN_CONDITION = frozenset({"NotImplemented", "InvalidArgument", "UnsupportedHeader"})


class FixedKeys:
    """Keys that were given, and stay as they are."""

    def __init__(self, keys: Keys) -> None:
        self._keys = keys

    def current(self) -> Keys:
        return self._keys

    def renew(self, used: Keys) -> bool:
        return False


class S3Store:
    """A bucket, below a prefix.

    `base` is the encoded path before the hash, without a slash at its end; `shown` names the
    store in messages.
    """

    properties = Properties(
        verifies_content=True,
        conditional_put=True,
        serves_ranges=True,
        longest_object=LONGEST_OBJECT,
    )

    def __init__(
        self,
        transport: Transport,
        base: str,
        signer: Signer,
        keyring: Keyring,
        bucket: str,
        shown: str,
    ) -> None:
        self._transport = transport
        self._base = base
        self._signer = signer
        self._keyring = keyring
        self._bucket = bucket
        self._shown = shown
        self._conditions_work = True
        self._damaged: set[str] = set()
        """The hashes under which something of another length lies."""

    def has(self, hash: str, size: int) -> bool:
        answer, _ = self._request("HEAD", hash)
        if answer.status == OK:
            if answer.content_length() == size:
                return True
            self._damaged.add(hash)
            return False
        if answer.status == 404 or answer.status in HEAD_CANNOT_SAY:
            return False
        raise refusal(answer, self._shown)

    def length(self, hash: str) -> int | None:
        answer, error = self._request("HEAD", hash)
        if answer.status == OK:
            return answer.content_length()
        if answer.status in HEAD_CANNOT_SAY:
            return None
        raise self._no_chunk(answer, error)

    def put(self, chunk: Chunk, *, overwrite: bool = False) -> bool:
        if self._conditions_work and not overwrite and chunk.hash not in self._damaged:
            answer, error = self._request("PUT", chunk.hash, chunk, condition="*")
            if answer.status in STORED:
                return True
            if answer.status == PRECONDITION_FAILED:
                if self.has(chunk.hash, chunk.size):
                    return False
                # What lies there is no whole chunk, or nobody can say: it is replaced.
            elif _is_unknown_condition(answer, error):
                self._conditions_work = False
            else:
                raise self._failure(answer, error)
        answer, error = self._request("PUT", chunk.hash, chunk)
        if answer.status not in STORED:
            raise self._failure(answer, error)
        self._damaged.discard(chunk.hash)
        return True

    def get(self, hash: str) -> bytes:
        answer, error = self._request("GET", hash)
        if answer.status == OK:
            return answer.body
        raise self._no_chunk(answer, error)

    def get_range(self, hash: str, offset: int, length: int) -> bytes:
        asked = f"bytes={offset}-{offset + length - 1}"
        answer, error = self._request("GET", hash, byte_range=asked)
        if answer.status == PARTIAL:
            return answer.body[:length]
        if answer.status == OK:  # a server that serves no ranges
            return answer.body[offset : offset + length]
        if answer.status == BEYOND_THE_END:
            return b""
        raise self._no_chunk(answer, error)

    def remove_stale_files(self) -> int:
        """An object is there or not: nothing is left of what was cut off."""
        return 0

    def fetch_list(self, path: str) -> bytes:
        """A part of the bucket's list: the document at `path`, an encoded path with its query.

        Raises `StoreFailure`.
        """
        headers = self._signer.headers("GET", path, NO_BODY, self._keyring.current())
        answer = self._transport.request("GET", path, headers, longest=lambda _: LONGEST_PAGE)
        if answer.status != OK:
            raise self._failure(answer, read_error(answer.body))
        return answer.body

    def close(self) -> None:
        self._transport.close()

    def _request(
        self,
        method: str,
        hash: str,
        chunk: Chunk | None = None,
        condition: str | None = None,
        byte_range: str | None = None,
    ) -> tuple[Response, S3Error]:
        """Make a signed request, with renewed keys a second time if they were found expired."""
        keys = self._keyring.current()
        answer = self._send(method, hash, keys, chunk, condition, byte_range)
        if answer.status < 300:
            return answer, _NO_ERROR
        error = read_error(answer.body)
        if error.code in EXPIRED and self._keyring.renew(keys):
            keys = self._keyring.current()
            answer = self._send(method, hash, keys, chunk, condition, byte_range)
            error = read_error(answer.body) if answer.status >= 300 else _NO_ERROR
        return answer, error

    def _send(
        self,
        method: str,
        hash: str,
        keys: Keys,
        chunk: Chunk | None,
        condition: str | None,
        byte_range: str | None,
    ) -> Response:
        path = f"{self._base}/{hash}"
        digest = NO_BODY if chunk is None else chunk.hash
        headers = self._signer.headers(method, path, digest, keys, condition)
        if byte_range is not None:
            headers["range"] = byte_range
        if chunk is None:
            return self._transport.request(method, path, headers, longest=_longest)
        headers["content-length"] = str(chunk.size)
        return self._transport.request(method, path, headers, body=chunk.pieces)

    def _no_chunk(self, answer: Response, error: S3Error) -> StoreFailure:
        if answer.status != 404 or error.code not in ("NoSuchKey", ""):
            return self._failure(answer, error)
        return StoreFailure(
            ErrorCode.CHUNK_NOT_FOUND,
            f"{self._shown} does not have this chunk",
            http_status=answer.status,
        )

    def _failure(self, answer: Response, error: S3Error) -> StoreFailure:
        keys = self._keyring.current()
        secrets = (keys.access_key_id, keys.secret_access_key, keys.session_token or "")
        return s3_failure(answer, error, self._shown, self._bucket, secrets)


_NO_ERROR = S3Error({})


def _longest(status: int) -> int:
    return LONGEST_ANSWER if status in (OK, PARTIAL) else LONGEST_REFUSAL


def _is_unknown_condition(answer: Response, error: S3Error) -> bool:
    """Does the store say that it does not know `If-None-Match`?"""
    return answer.status == 501 or (answer.status == 400 and error.code in _UNKNOWN_CONDITION)
