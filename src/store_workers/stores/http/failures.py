"""Converts errors of a request without an answer to failures of the store."""

from __future__ import annotations

from store_workers.errors import ErrorCode, StoreFailure, reason
from store_workers.stores.http.connection import NotSent
from store_workers.stores.http.dialing import UnknownHost
from store_workers.stores.http.heads import NotHttp
from store_workers.stores.http.refusals import refusal
from store_workers.stores.http.route import ProxyUnreachable, TunnelRefused

TYPE_CHECKING = False
if TYPE_CHECKING:
    from store_workers.stores.redaction import Redactor

_DISAGREEMENTS = (
    *("CERTIFICATE", "UNKNOWN_CA", "ACCESS_DENIED", "UNRECOGNIZED_NAME", "TOO_SMALL", "TOO_WEAK"),
    *("PROTOCOL", "VERSION", "HANDSHAKE_FAILURE", "CIPHER", "SECURITY", "HTTP_REQUEST"),
    *("UNSAFE_LEGACY_RENEGOTIATION", "NO_SHARED", "NO_SUITABLE", "WRONG_SIGNATURE_TYPE"),
)
"""Parts of OpenSSL's error names that are permanent; all others are transient."""

_MENDS_TRUST = "if it is the right server, name its CA in tls.ca_file (or SSL_CERT_FILE)"


def failure_of(
    error: Exception, shown: str, redactor: Redactor, *, connected: bool, answered: bool
) -> StoreFailure:
    """Return the failure for an error.

    `connected`: there was a connection. `answered`: a byte of an answer arrived. A server that does
    not answer may get too many requests at once, so their number is reduced.
    """
    if isinstance(error, TunnelRefused):
        return refusal(error.response, f"{shown}: the proxy", redactor)
    if isinstance(error, ProxyUnreachable):
        return _proxy_failure(error.cause, shown)
    if is_tls_error(error) and not _is_broken_off(error):
        return _no_trust(error, f"{shown}: no secure connection")
    return StoreFailure(
        ErrorCode.STORE_UNAVAILABLE,
        f"{shown}: {_trouble(error, connected)}",
        transient=True,
        slow_down=not answered and not isinstance(error, (UnknownHost, NotHttp, NotSent)),
        unanswered=not answered,
    )


def is_tls_error(error: Exception) -> bool:
    """Return whether it is an error of the TLS library, without importing that."""
    import sys

    ssl = sys.modules.get("ssl")
    return ssl is not None and isinstance(error, ssl.SSLError)


def _trouble(error: Exception, connected: bool) -> str:
    """Return a description of the error without addresses other than the server's."""
    if isinstance(error, TimeoutError):
        silent = "silent, or slower than 1 KiB/s, for longer than the timeout"
        return silent if connected else "no connection within the timeout"
    if is_tls_error(error):
        return "the TLS connection was closed"
    for kind, words in (
        (UnknownHost, "the host's name cannot be resolved"),
        (NotSent, f"the server {error}: it did not receive all of it"),
        (NotHttp, f"the answer is not valid HTTP ({error})"),
    ):
        if isinstance(error, kind):
            return words
    words = _words(error) if isinstance(error, OSError) else type(error).__name__
    return f"the connection failed: {words}"


def _words(error: OSError) -> str:
    if error.errno:
        return reason(error)
    return str(error) or type(error).__name__


def _proxy_failure(cause: Exception, shown: str) -> StoreFailure:
    """Return the failure for a proxy that cannot be reached."""
    if is_tls_error(cause) and not _is_broken_off(cause):
        return _no_trust(cause, f"{shown}: no secure proxy")
    detail = ""
    if isinstance(cause, TimeoutError):
        detail = ": no connection within the timeout"
    elif isinstance(cause, OSError) and not is_tls_error(cause):
        detail = f": {_trouble(cause, connected=False)}"
    return StoreFailure(
        ErrorCode.STORE_UNAVAILABLE,
        f"{shown}: the proxy cannot be reached{detail}",
        transient=True,
        slow_down=not isinstance(cause, UnknownHost),
        unanswered=True,
    )


def _no_trust(error: Exception, beginning: str) -> StoreFailure:
    import ssl

    found = str(getattr(error, "verify_message", "") or getattr(error, "reason", "") or "")
    message = f"{beginning}: {found or 'TLS failed'}"
    if isinstance(error, ssl.SSLCertVerificationError):
        message = f"{message}; {_MENDS_TRUST}"
    elif "HTTP_REQUEST" in found or "WRONG_VERSION" in found:
        message = f"{message}; the server may use plain http on this port"
    elif "ALERT" in found and "CERTIFICATE" in found:
        message = f"{message}; the server requires another client certificate (tls.cert_file)"
    return StoreFailure(ErrorCode.STORE_REJECTED, message)


def _is_broken_off(error: Exception) -> bool:
    """Return whether TLS ended or was damaged in transit, so that another try can succeed."""
    import ssl

    if not isinstance(error, ssl.SSLError) or isinstance(error, ssl.SSLCertVerificationError):
        return False
    if isinstance(error, (ssl.SSLEOFError, ssl.SSLZeroReturnError, ssl.SSLSyscallError)):
        return True
    reason = error.reason or ""
    return not any(word in reason for word in _DISAGREEMENTS)
