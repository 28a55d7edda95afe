"""Chunks in an S3 object store: the key is `<prefix>/<hash>`.

A PUT is signed with the chunk's hash as the digest of the body, so the store verifies what it
stores. The body is never sent in signed pieces.
"""

from __future__ import annotations

from binascii import b2a_base64

from store_workers.errors import ErrorCode, StoreFailure
from store_workers.stores.base import LONGEST_ANSWER, Properties
from store_workers.stores.http.refusals import REDIRECTS
from store_workers.stores.http.route import LONGEST_REFUSAL
from store_workers.stores.length_check import LengthCheck
from store_workers.stores.s3.errors import EXPIRED, S3Error, read_error, s3_failure
from store_workers.stores.s3.listing import LONGEST_PAGE
from store_workers.stores.s3.signing import NO_BODY

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Protocol

    from store_workers.stores.base import Chunk
    from store_workers.stores.http.connection import Response
    from store_workers.stores.http.transport import Transport
    from store_workers.stores.s3.signing import Keys, Signer

    class Keyring(Protocol):
        """The source of the keys of a run. Safe from many threads."""

        def current(self) -> Keys:
            """Return the current keys. Raises `StoreFailure`."""

        def renew(self, used: Keys) -> bool:
            """Renew expired keys. Return whether there are new ones. Raises `StoreFailure`."""

        def close(self) -> None:
            """End running requests for keys."""


OK = 200
STORED = frozenset({200, 201, 204})
HEAD_CANNOT_SAY = frozenset({400, 401, 403, 405, 501}) | REDIRECTS
"""Answers to HEAD, which has no body to explain them, that decide nothing: the PUT decides.

S3 answers 403 for a missing object without permission to list, and 400 for expired keys.
"""
ABSENT = frozenset({404, 410})
PRECONDITION_FAILED = 412
MAY_BE_THERE = frozenset({403, 405, 409, PRECONDITION_FAILED})
"""Refusals of a PUT by a store that never overwrites: the chunk may be present."""

UNCACHED = {"cache-control": "no-cache, no-transform"}
"""Makes caches pass the request on (RFC 9111, 5.2.1)."""

MAY_BE_UNKNOWN = frozenset({400, 403, 501})
"""Refusals of a PUT that an unsupported header can cause."""


class FixedKeys:
    """Fixed keys."""

    def __init__(self, keys: Keys) -> None:
        self._keys = keys

    def current(self) -> Keys:
        return self._keys

    def renew(self, used: Keys) -> bool:
        return False

    def close(self) -> None:
        """Do nothing: there are no requests for keys."""


class S3Store:
    """A bucket, below a prefix.

    `base` is the encoded path before the hash, without a slash at its end; `shown` is the store's
    name in messages.
    """

    properties = Properties()

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
        self._checksums_work = True
        self._length_check = LengthCheck(self._length, shown, "is the endpoint an S3 service?")

    def has(self, hash: str, size: int) -> bool:
        return self._length_check.is_right(hash, size, self._length(hash))

    def length(self, hash: str) -> int | None:
        answer, error = self._request("HEAD", hash)
        if answer.status in ABSENT:
            raise self._no_chunk(answer, error)
        return self._length_in(answer)

    def put(self, chunk: Chunk, *, overwrite: bool = False) -> bool:
        known_wrong = self._length_check.doubts(chunk.hash)
        conditional = self._conditions_work and not overwrite and not known_wrong
        checksum = self._checksums_work
        answer, error = self._put(chunk, conditional, checksum)
        if _is_stored(answer, error):
            self._length_check.after_put(chunk)
            return True
        if error.explains:
            raise self._failure(answer, error)
        # A chunk that could not be overwritten may be damaged: its presence is not sufficient.
        may_be_there = not overwrite and answer.status in MAY_BE_THERE
        if may_be_there and self._length(chunk.hash) == chunk.size:
            return False
        if answer.status == PRECONDITION_FAILED and conditional:
            # The object is not a complete chunk, or this is not known: it is replaced.
            answer, error = self._put(chunk, False, checksum)
        elif answer.status in MAY_BE_UNKNOWN:
            answer, error = self._put_with_less(chunk, conditional, checksum, (answer, error))
        if not _is_stored(answer, error):
            raise self._failure(answer, error)
        self._length_check.after_put(chunk)
        return True

    def _put_with_less(
        self,
        chunk: Chunk,
        conditional: bool,
        checksum: bool,
        refused: tuple[Response, S3Error],
    ) -> tuple[Response, S3Error]:
        """PUT without the headers that older servers and some policies refuse.

        `conditional` and `checksum`: which of them the refused request had; meanwhile other threads
        may have found out. The result applies to the rest of the run. Return the answer that
        counts.
        """
        if conditional:
            answer, error = self._put(chunk, False, checksum)
            if _is_stored(answer, error):
                self._conditions_work = False
                return answer, error
        if checksum and refused[0].status != 403:
            answer, error = self._put(chunk, False, False)
            if _is_stored(answer, error):
                # With the condition, the PUT was refused because of this header or both.
                self._checksums_work = False
                return answer, error
        return refused

    def _put(self, chunk: Chunk, conditional: bool, checksum: bool) -> tuple[Response, S3Error]:
        condition = "*" if conditional else None
        return self._request("PUT", chunk.hash, chunk, condition, checksum=checksum)

    def _length(self, hash: str) -> int | None:
        """Return the length of the object of a hash; None if it is missing or not reported."""
        answer, _ = self._request("HEAD", hash)
        return None if answer.status in ABSENT else self._length_in(answer)

    def _length_in(self, head: Response) -> int | None:
        """Return the length in an answer to HEAD; None if that does not report it."""
        if head.status == OK:
            return head.content_length()
        if head.status < 300 or head.status in HEAD_CANNOT_SAY:
            return None
        raise self._failure(head, _NO_ERROR)

    def get(self, hash: str) -> bytes:
        answer, error = self._request("GET", hash)
        if answer.status == OK:
            return answer.body
        raise self._no_chunk(answer, error)

    def remove_stale_files(self) -> int:
        """Return 0: objects are never partial."""
        return 0

    def fetch_list(self, path: str) -> bytes:
        """Return a page of the bucket's list: the document at `path`, encoded, with its query.

        Raises `StoreFailure`.
        """
        headers = self._signer.headers("GET", path, NO_BODY, self._keyring.current())
        answer = self._transport.request("GET", path, headers, longest=lambda _: LONGEST_PAGE)
        if answer.status != OK:
            raise self._failure(answer, read_error(answer.body))
        return answer.body

    def close(self) -> None:
        self._keyring.close()
        self._transport.close()

    def _request(
        self,
        method: str,
        hash: str,
        chunk: Chunk | None = None,
        condition: str | None = None,
        *,
        checksum: bool = False,
    ) -> tuple[Response, S3Error]:
        """Send a signed request; if the keys have expired, once more with renewed keys."""
        keys = self._keyring.current()
        answer = self._send(method, hash, keys, chunk, condition, checksum)
        error = _error_in(method, answer)
        if error.code in EXPIRED and self._keyring.renew(keys):
            keys = self._keyring.current()
            answer = self._send(method, hash, keys, chunk, condition, checksum)
            error = _error_in(method, answer)
        return answer, error

    def _send(
        self,
        method: str,
        hash: str,
        keys: Keys,
        chunk: Chunk | None,
        condition: str | None,
        checksum: bool,
    ) -> Response:
        path = f"{self._base}/{hash}"
        if chunk is None:
            headers = self._signer.headers(method, path, NO_BODY, keys) | UNCACHED
            return self._transport.request(method, path, headers, longest=_longest)
        digest = b2a_base64(bytes.fromhex(hash), newline=False).decode("ascii")
        headers = self._signer.headers(
            method, path, hash, keys, condition, digest if checksum else None
        )
        headers["content-length"] = str(chunk.size)
        return self._transport.request(method, path, headers, body=chunk.pieces)

    def _no_chunk(self, answer: Response, error: S3Error) -> StoreFailure:
        if answer.status not in ABSENT or error.code not in ("NoSuchKey", ""):
            return self._failure(answer, error)
        return StoreFailure(
            ErrorCode.CHUNK_NOT_FOUND,
            f"{self._shown} does not have this chunk",
            http_status=answer.status,
        )

    def _failure(self, answer: Response, error: S3Error) -> StoreFailure:
        keys = self._keyring.current()
        redactor = self._transport.redactor
        redactor.learn(keys.access_key_id, keys.secret_access_key, keys.session_token)
        return s3_failure(answer, error, self._shown, self._bucket, redactor)


_NO_ERROR = S3Error({})


def _longest(status: int) -> int:
    return LONGEST_ANSWER if status == OK else LONGEST_REFUSAL


def _error_in(method: str, answer: Response) -> S3Error:
    """Return the error in an answer; S3 can report a failed PUT after a status of 200."""
    if answer.status < 300 and method != "PUT":
        return _NO_ERROR
    return read_error(answer.body)


def _is_stored(answer: Response, error: S3Error) -> bool:
    return answer.status in STORED and not error.is_one
