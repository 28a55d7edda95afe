"""The meaning, text and remedy of a server's refusal."""

from __future__ import annotations

import time

from store_workers.errors import ErrorCode, StoreFailure

TYPE_CHECKING = False
if TYPE_CHECKING:
    from store_workers.stores.http.connection import Response
    from store_workers.stores.redaction import Redactor

PASSING = frozenset({408, 423, 425, 429})
"""Transient refusals below 500: timeout, locked, too early, too many requests."""

LASTING = frozenset({501, 505, 507})
"""Permanent errors from 500 on: not implemented, HTTP version, no space."""

SLOW_DOWN = frozenset({429, 503})
DENIED = frozenset({401, 403, 407})
AZURE_CODE = "x-ms-error-code"
"""Azure's error code, also in answers without a body."""

REDIRECTS = frozenset({301, 302, 303, 307, 308})


def is_passing(status: int) -> bool:
    """Return whether the same request can succeed later."""
    return status in PASSING or (status >= 500 and status not in LASTING)


def refusal(
    answer: Response, shown: str, redactor: Redactor, detail: str = "", advice: str | None = None
) -> StoreFailure:
    """Return the failure for a status, if the store does not know a better one.

    `detail` replaces the text of the answer, `advice` the remedy for the status.
    """
    status = answer.status
    said = f"{shown} answered {status}"
    words = detail or what_it_says(answer, redactor)
    if words:
        said = f"{said} {words}"
    mend = _advice(answer, redactor) if advice is None else advice
    if mend:
        said = f"{said}; {mend}"
    if is_passing(status):
        return StoreFailure(
            ErrorCode.STORE_UNAVAILABLE,
            said,
            transient=True,
            retry_after=retry_after(answer),
            slow_down=status in SLOW_DOWN,
            http_status=status,
        )
    code = ErrorCode.STORE_ACCESS_DENIED if status in DENIED else ErrorCode.STORE_REJECTED
    return StoreFailure(code, said, http_status=status)


def retry_after(answer: Response) -> float | None:
    """Return the seconds of `Retry-After` (RFC 9110, 10.2.3), in either form, or None."""
    value = answer.headers.get("Retry-After", "").strip()
    if not value:
        return None
    if value.isascii() and value.isdigit():
        return float(value[:9])
    from email.utils import parsedate_to_datetime

    try:
        moment = parsedate_to_datetime(value).timestamp()
    except (ValueError, OverflowError):
        return None
    return max(0.0, moment - time.time())


def what_it_says(answer: Response, redactor: Redactor) -> str:
    """Return the reason phrase and the beginning of the body, redacted; "" if there are none."""
    phrase = redactor.clean(f"{answer.reason} {answer.headers.get(AZURE_CODE, '')}")
    text = redactor.clean(_text_of(answer), cut=answer.cut).removeprefix(f"{answer.status} ")
    if phrase and text.lower().startswith(phrase.lower()):  # pages repeat it as their headline
        text = text[len(phrase) :].lstrip(" :-")
    return f"{phrase}: {text}" if phrase and text else phrase or text


def _text_of(answer: Response) -> str:
    """Return the body of a refusal if it is text, JSON, XML or HTML, without tags."""
    kind = answer.headers.get("Content-Type", "").partition(";")[0].strip().lower()
    readable = not kind or kind.startswith("text/") or kind.endswith(("json", "xml"))
    if not readable or b"\0" in answer.body:
        return ""
    text = answer.body.decode("utf-8", "replace")
    if not text.lstrip("\ufeff \t\r\n").startswith("<"):
        return text
    import re
    from html import unescape

    # The head of a page is not for people.
    text = re.sub(r"(?is)<(head|script|style)\b.*?(</\1\s*>|\Z)|<!--.*?(-->|\Z)", " ", text)
    return unescape(re.sub(r"<[^>]*(>|\Z)", " ", text))


def _advice(answer: Response, redactor: Redactor) -> str:
    status = answer.status
    if status == 401:
        return _advice_on_credentials(answer)
    if status in REDIRECTS:
        place = redactor.clean(answer.headers.get("Location", "").partition("?")[0])
        return f"it is redirected to {place}: use that server as the store" if place else ""
    return _ADVICE.get(status, "")


def _advice_on_credentials(answer: Response) -> str:
    offered = answer.headers.get("WWW-Authenticate", "").lower()
    scheme = offered.partition(" ")[0]
    if scheme and "basic" not in offered and "bearer" not in offered:
        name = {"digest": "Digest", "negotiate": "Negotiate", "ntlm": "NTLM"}.get(scheme, "another")
        return (
            f"the server requires {name} authentication, which is not supported: configure Basic"
            " over https, or a token"
        )
    return "give credentials in auth, or correct them"


_ADVICE = {
    400: "the server may require a header: give it in headers",
    403: "the credentials, if any, do not permit this: give others in auth, or grant access",
    404: "the store's URL does not exist: correct it, or create the directory or container",
    405: "the server does not allow this request here: allow PUT, GET and HEAD, or correct the URL",
    407: "the proxy requires credentials: put user and password into the proxy variable",
    409: "create the directory that the store's URL names",
    411: "the server, or a proxy in front of it, requires another form of Content-Length",
    413: "the server's limit for a request body is smaller than a chunk: raise it",
    423: "another writer has locked it",
    501: "the server does not implement this request: PUT, GET and HEAD are required",
    505: "the server does not support HTTP/1.1",
    507: "the disk or the quota of the store is full: free space",
}
