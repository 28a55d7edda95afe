"""AWS Signature Version 4 for requests with a known SHA-256 of the body.

The rules are in the API reference of S3, "Authenticating Requests: Using the Authorization
Header". Only the parts that a chunk store needs are implemented, without streaming. A signer for
every service takes ten times as long, and signing happens for every chunk.
"""

from __future__ import annotations

import hmac
import time
from hashlib import sha256

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

NO_BODY = sha256(b"").hexdigest()
"""The digest that is signed for an empty body."""

_ALGORITHM = "AWS4-HMAC-SHA256"
_SERVICE = "s3"


class Keys:
    """The keys that sign a request; immutable, so that a request uses one consistent set."""

    __slots__ = ("access_key_id", "secret_access_key", "session_token")

    def __init__(
        self, access_key_id: str, secret_access_key: str, session_token: str | None = None
    ) -> None:
        self.access_key_id = access_key_id
        self.secret_access_key = secret_access_key
        self.session_token = session_token


class Signer:
    """Signs requests to one host in one region. Safe from many threads.

    `host` is the value of the header `Host`, as sent.
    """

    def __init__(self, host: str, region: str, clock: Callable[[], float] = time.time) -> None:
        self._host = host
        self._region = region
        self._clock = clock
        # Derived once a day, and again for other keys: (its source, the key).
        self._derived: tuple[tuple[str, str], bytes] = (("", ""), b"")

    def headers(
        self,
        method: str,
        path: str,
        body_digest: str,
        keys: Keys,
        condition: str | None = None,
        checksum: str | None = None,
    ) -> dict[str, str]:
        """Return the headers that sign a request, with `Host`.

        `path` is the encoded path as sent, with its query, whose parts are sorted; `body_digest`
        the hex SHA-256 of the body; `condition` the value of `If-None-Match`; `checksum` the body's
        SHA-256 in base64, which buckets with Object Lock require in a header of its own.
        """
        moment = time.strftime("%Y%m%dT%H%M%SZ", time.gmtime(self._clock()))
        headers = {"host": self._host}
        if condition is not None:
            headers["if-none-match"] = condition
        if checksum is not None:
            headers["x-amz-checksum-sha256"] = checksum
        headers["x-amz-content-sha256"] = body_digest
        headers["x-amz-date"] = moment
        if keys.session_token:
            headers["x-amz-security-token"] = keys.session_token
        names = ";".join(headers)  # they were added in alphabetical order
        lines = "".join([f"{name}:{value}\n" for name, value in headers.items()])
        place, _, query = path.partition("?")
        request = f"{method}\n{place}\n{query}\n{lines}\n{names}\n{body_digest}"
        scope = f"{moment[:8]}/{self._region}/{_SERVICE}/aws4_request"
        digest = sha256(request.encode("ascii")).hexdigest()
        signature = hmac.digest(
            self._key(keys, moment[:8]),
            f"{_ALGORITHM}\n{moment}\n{scope}\n{digest}".encode("ascii"),
            "sha256",
        )
        headers["authorization"] = (
            f"{_ALGORITHM} Credential={keys.access_key_id}/{scope},"
            f"SignedHeaders={names},Signature={signature.hex()}"
        )
        return headers

    def _key(self, keys: Keys, day: str) -> bytes:
        """Return the key of a day, derived from the secret key."""
        source = (keys.secret_access_key, day)
        derived = self._derived
        if derived[0] == source:
            return derived[1]
        key = b"AWS4" + keys.secret_access_key.encode("utf-8")
        for part in (day, self._region, _SERVICE, "aws4_request"):
            key = hmac.digest(key, part.encode("ascii"), "sha256")
        self._derived = (source, key)
        return key
