"""Parses S3's error documents safely, and maps their codes."""

from __future__ import annotations

from store_workers.errors import ErrorCode, StoreFailure
from store_workers.stores.http.refusals import SLOW_DOWN, is_passing, refusal, retry_after

TYPE_CHECKING = False
if TYPE_CHECKING:
    from store_workers.stores.http.connection import Response
    from store_workers.stores.redaction import Redactor

EXPIRED = frozenset({"ExpiredToken", "ExpiredTokenException", "TokenRefreshRequired"})
"""The keys have expired: new ones may be available."""

SKEWED = "RequestTimeTooSkewed"

_SLOW_DOWN = frozenset(
    {"SlowDown", "ServiceUnavailable", "Throttling", "ThrottlingException", "RequestLimitExceeded"}
    | {"TooManyRequests", "TooManyRequestsException", "BandwidthLimitExceeded"}
)
_PASSING = _SLOW_DOWN | {
    "InternalError",
    "RequestTimeout",
    "IncompleteBody",
    "OperationAborted",
    "ConditionalRequestConflict",
}
_DAMAGED = frozenset({"XAmzContentSHA256Mismatch", "XAmzContentChecksumMismatch", "BadDigest"})
_REJECTED = frozenset(
    {"NoSuchBucket", "QuotaExceeded", "InvalidObjectState", "EntityTooLarge", "StorageFull"}
)
_DENIED = EXPIRED | {
    SKEWED,
    "AccessDenied",
    "AccountProblem",
    "InvalidAccessKeyId",
    "InvalidToken",
    "SignatureDoesNotMatch",
    "UserSuspended",
}
_DECISIVE = (_PASSING | _DAMAGED | _REJECTED | _DENIED) - {"AccessDenied"} | {
    "AuthorizationHeaderMalformed",
    "InvalidBucketName",
    "PermanentRedirect",
    "TemporaryRedirect",
}
_WORDS = {
    "AccessDenied": "the credentials do not permit this",
    "EntityTooLarge": "the store does not accept objects as large as this chunk",
    "ExpiredToken": "the session token has expired, and no new one is available",
    "InvalidAccessKeyId": "the store does not know this access key",
    "InvalidObjectState": "the object is archived: restore it first",
    "InvalidToken": "the session token is not valid for this store",
    "QuotaExceeded": "the quota is used up",
    "SignatureDoesNotMatch": "the secret access key is wrong",
    "UserSuspended": "the user is suspended",
    "XAmzContentSHA256Mismatch": "the chunk was damaged in transit",
}
_ADVICE = {
    "AccessDenied": "allow s3:PutObject and s3:GetObject below the prefix, or use other keys",
    "InvalidAccessKeyId": "correct auth, AWS_ACCESS_KEY_ID or the profile",
    "NoSuchBucket": "create it, or correct the store's URL",
    "QuotaExceeded": "raise the quota, or free space",
    "SignatureDoesNotMatch": "correct the secret key, the region and the endpoint",
    "StorageFull": "free space in the store",
}
"""The remedies, if the texts above do not contain them."""

_LONGEST_CODE = 64
_LONGEST_TEXT = 200
_LONGEST_KEPT = 4000
"""Characters of a text before its secrets are removed: more than the longest session token has."""

_DEEPEST = 8


class S3Error:
    """An error document; a missing field is "". `text_is_cut`: the text was longer."""

    __slots__ = ("code", "is_one", "region", "text", "text_is_cut")

    def __init__(self, fields: dict[str, str]) -> None:
        code = fields.get("Code", "")
        plain = code.isascii() and code.replace(".", "").isalnum() and len(code) <= _LONGEST_CODE
        self.code = code if plain else ""
        self.text = fields.get("Message", "")
        self.text_is_cut = len(self.text) >= _LONGEST_KEPT
        self.is_one = bool(fields)
        self.region = fields.get("Region", "")

    @property
    def explains(self) -> bool:
        """Return whether the code is sufficient, so that no further request is needed."""
        return self.code in _DECISIVE


def read_error(body: bytes) -> S3Error:
    """Parse an error document; anything else gives an empty one.

    A document type is refused, and so are entities, which could expand or access files.
    """
    if not body.lstrip().startswith(b"<"):
        return S3Error({})
    from xml.parsers.expat import ExpatError

    reader = _Reader()
    try:
        reader.read(body)
    except (ExpatError, ValueError):
        return S3Error({})
    return S3Error(reader.fields)


class _Reader:
    """Collects the texts directly below the root element."""

    def __init__(self) -> None:
        self.fields: dict[str, str] = {}
        self._path: list[str] = []

    def read(self, body: bytes) -> None:
        from xml.parsers.expat import ParserCreate

        parser = ParserCreate()
        parser.StartDoctypeDeclHandler = self._refuse
        parser.StartElementHandler = self._start
        parser.EndElementHandler = self._end
        parser.CharacterDataHandler = self._text
        parser.Parse(body, True)

    def _refuse(self, *_args: object) -> None:
        raise ValueError("a document type")

    def _start(self, name: str, _attributes: object) -> None:
        self._path.append(name)
        if len(self._path) > _DEEPEST:
            raise ValueError("too deep")

    def _end(self, _name: str) -> None:
        self._path.pop()

    def _text(self, data: str) -> None:
        if len(self._path) == 2 and self._path[0] == "Error":
            name = self._path[1]
            self.fields[name] = (self.fields.get(name, "") + data)[:_LONGEST_KEPT]


def s3_failure(
    answer: Response, error: S3Error, shown: str, bucket: str, redactor: Redactor
) -> StoreFailure:
    """Return the failure for an answer, by its code, otherwise by its status."""
    code = error.code
    detail = _detail(answer, error, bucket, redactor)
    advice = _ADVICE.get(code, "")
    if answer.status == 403 and not advice and code not in _WORDS and code != SKEWED:
        advice = _ADVICE["AccessDenied"]
    if code not in _PASSING and _known(code) is None and answer.status >= 300:
        return refusal(answer, shown, redactor, detail, advice)
    passing = code in _PASSING or is_passing(answer.status)
    known = _known(code) or (ErrorCode.STORE_UNAVAILABLE if passing else ErrorCode.STORE_REJECTED)
    damaged = known is ErrorCode.CHUNK_CORRUPT
    message = f"{shown} answered {answer.status} {detail}"
    return StoreFailure(
        known,
        f"{message}; {advice}" if advice else message,
        transient=damaged or known is ErrorCode.STORE_UNAVAILABLE,
        retry_after=retry_after(answer),
        slow_down=code in _SLOW_DOWN or (passing and answer.status in SLOW_DOWN),
        http_status=answer.status,
    )


def _known(code: str) -> ErrorCode | None:
    if code in _PASSING:
        return ErrorCode.STORE_UNAVAILABLE
    if code in _DENIED:
        return ErrorCode.STORE_ACCESS_DENIED
    if code in _REJECTED:
        return ErrorCode.STORE_REJECTED
    return ErrorCode.CHUNK_CORRUPT if code in _DAMAGED else None


def _detail(answer: Response, error: S3Error, bucket: str, redactor: Redactor) -> str:
    """Return the code and its meaning; "" if not known."""
    region = answer.headers.get("x-amz-bucket-region", "") or error.region
    if error.code == "NoSuchBucket":
        return f"NoSuchBucket: there is no bucket {bucket}"
    if error.code == SKEWED:
        return f"{SKEWED}: {_skew(answer)}"
    if answer.status in (301, 307, 400) and region.replace("-", "").isalnum() and region.isascii():
        region = region[:_LONGEST_CODE]
        return (
            f"{error.code or 'Redirect'}: the bucket is in the region {region}: append"
            f" ?region={region} to the store's URL"
        )
    words = _WORDS.get(error.code) or redactor.clean(
        error.text, _LONGEST_TEXT, cut=error.text_is_cut
    )
    return f"{error.code}: {words}" if error.code and words else error.code or words


def _skew(answer: Response) -> str:
    """Return the difference between this host's clock and the store's."""
    import time
    from email.utils import parsedate_to_datetime

    try:
        theirs = parsedate_to_datetime(answer.headers.get("Date", "")).timestamp()
    except (ValueError, OverflowError, TypeError):
        return "this host's clock and the store's are too far apart"
    seconds = round(time.time() - theirs)
    side = "ahead of" if seconds > 0 else "behind"
    return f"this host's clock is {abs(seconds)} s {side} the store's: correct it"
