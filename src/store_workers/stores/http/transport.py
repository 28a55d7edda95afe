"""HTTP requests as the stores need them: one pool, keep-alive, bounded in time and in length.

urllib3's retries and redirects are off: `transfer/retry.py` is the only retry layer, and a
redirect could carry credentials to another host. No error of urllib3 gets past this module.
"""

from __future__ import annotations

import io
import sys
import time
from http.client import HTTPException, HTTPResponse

from urllib3.connection import HTTPConnection, HTTPSConnection
from urllib3.connectionpool import HTTPConnectionPool, HTTPSConnectionPool
from urllib3.exceptions import (
    ConnectTimeoutError,
    HTTPError,
    NameResolutionError,
    ProxyError,
    ReadTimeoutError,
    SSLError,
)
from urllib3.util.timeout import Timeout
from urllib3.util.wait import wait_for_read

from store_workers import __version__
from store_workers.errors import ErrorCode, StoreFailure, reason
from store_workers.stores.base import LONGEST_ANSWER

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from typing import Any

    from store_workers.stores.http.proxies import Proxy
    from store_workers.stores.http.server import Server

LEAST_RATE = 1024
"""Bytes per second that a transfer has to move, over the time of one timeout."""

LONGEST_REFUSAL = 64 * 1024
"""Bytes that are read of an answer that carries no chunk."""

LONGEST_ON_WIRE = 2 * LONGEST_ANSWER
"""Bytes of one answer with its head, its trailer and all that announces it.

http.client bounds each line and the number of headers, but neither the interim answers before the
real one nor the trailer behind it.
"""

_DISAGREEMENTS = (
    *("CERTIFICATE", "UNKNOWN_CA", "ACCESS_DENIED", "UNRECOGNIZED_NAME", "KEY_TOO_SMALL"),
    *("PROTOCOL", "VERSION", "HANDSHAKE_FAILURE", "CIPHER", "SECURITY", "HTTP_REQUEST"),
)
"""Words of OpenSSL's reasons why two sides will never come together; the others are accidents."""

_READ_BUFFER = 8 * 1024
_COMMON_HEADERS = {
    "User-Agent": f"store-workers/{__version__}",
    "Accept-Encoding": "identity",
}


class Response:
    """What a server said: `headers` is case-insensitive, `body` is cut at what was asked for."""

    __slots__ = ("body", "headers", "reason", "status")

    def __init__(self, status: int, reason: str, headers: Mapping[str, str], body: bytes) -> None:
        self.status = status
        self.reason = reason
        self.headers = headers
        self.body = body

    def content_length(self) -> int | None:
        """The announced length in bytes, None where there is none."""
        value = self.headers.get("Content-Length", "")
        return int(value) if value.isascii() and value.isdigit() else None


class MinimumThroughput:
    """Sees to it that a transfer moves at least `LEAST_RATE` over every `timeout` seconds.

    A socket's own timeout bounds silence only: a byte every now and then would pass it for ever.
    """

    __slots__ = ("_clock", "_moved", "_since", "_timeout")

    def __init__(self, timeout: float, clock: Callable[[], float] = time.monotonic) -> None:
        self._timeout = timeout
        self._clock = clock
        self._since = 0.0
        self._moved = 0

    def moved(self, count: int) -> None:
        """Note that `count` bytes went through; raise `TimeoutError` where it is too slow."""
        now = self._clock()
        if not self._since:
            self._since = now
        self._moved += count
        if now - self._since >= self._timeout:
            if self._moved < LEAST_RATE * self._timeout:
                raise TimeoutError(f"moved {self._moved} bytes in {self._timeout:g} s")
            self._since = now
            self._moved = 0


class _WatchedStream(io.RawIOBase):
    """One answer's bytes from a socket: they have to make throughput, and to come to an end."""

    def __init__(self, raw: io.RawIOBase, throughput: MinimumThroughput) -> None:
        self._raw = raw
        self._throughput = throughput
        self._left = LONGEST_ON_WIRE

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int | None:
        count = self._raw.readinto(buffer)
        if count:
            self._throughput.moved(count)
            self._left -= count
            if self._left < 0:
                raise HTTPException("an answer without an end")
        return count

    def close(self) -> None:
        self._raw.close()
        super().close()


class _WatchedResponse(HTTPResponse):
    """An answer whose status line, headers and body all have to make throughput."""

    def __init__(
        self, sock: Any, debuglevel: int = 0, method: str | None = None, url: str | None = None
    ) -> None:
        super().__init__(sock, debuglevel, method, url)
        timeout = sock.gettimeout()
        if timeout:
            if method == "PUT":
                try:
                    _await_delivery(sock, timeout)
                except TimeoutError:
                    self.close()  # or the socket stays open until somebody collects garbage
                    raise
            watched = _WatchedStream(self.fp.detach(), MinimumThroughput(timeout))
            self.fp = io.BufferedReader(watched, _READ_BUFFER)


def _await_delivery(sock: Any, timeout: float) -> None:
    """Wait while the system delivers, with throughput, what it took of a request.

    It takes far more than a slow line carries in one timeout. A store that is still receiving is
    not silent, though it cannot answer yet. Raises `TimeoutError`.
    """
    left = _undelivered(sock)
    while left and not wait_for_read(sock, timeout):
        before, left = left, _undelivered(sock)
        if left and before - left < LEAST_RATE * timeout:
            raise TimeoutError(f"delivered {before - left} bytes in {timeout:g} s")


def _undelivered(sock: Any) -> int:
    """The bytes sent on a socket that the other end has not received; 0 where nobody can say."""
    try:
        from fcntl import ioctl
        from termios import TIOCOUTQ

        return int.from_bytes(ioctl(sock.fileno(), TIOCOUTQ, bytes(4)), sys.byteorder)
    except (ImportError, OSError):
        return 0


class _Watched:
    """What makes a connection one whose transfers have to make throughput, in both directions."""

    sock: Any
    connect: Callable[[], None]
    _throughput: MinimumThroughput | None = None

    def putrequest(self, *args: Any, **kwargs: Any) -> None:
        """Begin a request: its throughput is that of all its pieces together."""
        self._throughput = None
        super().putrequest(*args, **kwargs)  # type: ignore[misc]  # the connection's own

    def send(self, data: Any) -> None:
        """Send all of `data`; the timeout bounds each silence, not the whole."""
        if self.sock is None:
            self.connect()
        timeout = self.sock.gettimeout()
        if not timeout:
            self.sock.sendall(data)
            return
        if self._throughput is None:
            self._throughput = MinimumThroughput(timeout)
        with memoryview(data) as whole, whole.cast("B") as view:
            sent = 0
            while sent < len(view):
                with view[sent:] as rest:
                    count = self.sock.send(rest)
                self._throughput.moved(count)
                sent += count


class WatchedConnection(_Watched, HTTPConnection):
    """A plain connection whose transfers have to make throughput."""

    response_class = _WatchedResponse


class WatchedTlsConnection(_Watched, HTTPSConnection):
    """A secure connection whose transfers have to make throughput."""

    response_class = _WatchedResponse


class Transport:
    """Requests to one server. Safe from many threads.

    `origin` stands before every path where a proxy is asked to forward the request.
    """

    def __init__(self, pool: HTTPConnectionPool, shown: str, origin: str = "") -> None:
        self._pool = pool
        self._shown = shown
        self._origin = origin

    def request(
        self,
        method: str,
        path: str,
        headers: Mapping[str, str],
        *,
        body: list[memoryview] | None = None,
        longest: Callable[[int], int] = lambda _status: LONGEST_REFUSAL,
    ) -> Response:
        """Make one request and read its answer, cut at `longest(status)` bytes.

        Raises `StoreFailure` where there is no whole answer.
        """
        try:
            return self._request(method, path, {**_COMMON_HEADERS, **headers}, body, longest)
        except (HTTPError, OSError, ValueError) as error:
            raise self._failure(error) from None

    def _request(
        self,
        method: str,
        path: str,
        headers: Mapping[str, str],
        body: list[memoryview] | None,
        longest: Callable[[int], int],
    ) -> Response:
        response = self._pool.urlopen(
            method,
            self._origin + path,
            body=body,  # type: ignore[arg-type]  # any buffer serves
            headers=headers,
            retries=False,
            redirect=False,
            assert_same_host=False,
            preload_content=False,
            decode_content=False,
        )
        # An answer that is longer than what is looked at leaves the connection in no state to be
        # used again; so does one that broke.
        content = b""
        whole = False
        try:
            if method != "HEAD":
                most = longest(response.status)
                announced = response.length_remaining
                # Without a limit the library copies less; an announced length is one.
                content = response.read(None if announced and announced < most else most)
                if len(content) < most and response.length_remaining:
                    raise HTTPError("the connection ended in the middle of the answer")
                whole = len(content) < most
            else:
                whole = True
        finally:
            if whole:
                response.release_conn()
            else:
                response.close()
        return Response(response.status, response.reason or "", response.headers, content)

    def close(self) -> None:
        """Close the connections that are idle."""
        self._pool.close()

    def _failure(self, error: Exception) -> StoreFailure:
        if isinstance(error, SSLError) and not _is_broken_off(error):
            return StoreFailure(
                ErrorCode.STORE_REJECTED,
                f"{self._shown}: no secure connection: {_ssl_reason(error)}",
            )
        if isinstance(error, ProxyError):
            return _proxy_failure(error, self._shown)
        return StoreFailure(
            ErrorCode.STORE_UNAVAILABLE, f"{self._shown}: {_trouble(error)}", transient=True
        )


def open_transport(server: Server, *, timeout: float, concurrency: int, shown: str) -> Transport:
    """A transport to a server, with as many connections as chunks can be in flight.

    `timeout`, in seconds, bounds connecting, each silence, and each stretch without throughput.
    `shown` names the store in messages: it holds no secret. Raises `WorkerError` for one of the
    files for TLS that cannot be used.
    """
    options: dict[str, Any] = {
        "timeout": Timeout(connect=timeout, read=timeout),
        "maxsize": concurrency,
        "block": False,
    }
    secure = server.scheme == "https"
    if secure:
        from store_workers.stores.http.tls import client_context

        options["ssl_context"] = client_context(server.tls)
    pool_of = HTTPSConnectionPool if secure else HTTPConnectionPool
    if server.proxy is None:
        pool = pool_of(server.host, server.port, **options)
    else:
        pool = _pool_behind(server.proxy, server, options)
    encrypted = isinstance(pool, HTTPSConnectionPool)
    pool.ConnectionCls = WatchedTlsConnection if encrypted else WatchedConnection
    forwarded = server.proxy is not None and not secure
    return Transport(pool, shown, server.origin if forwarded else "")


def _pool_behind(proxy: Proxy, server: Server, options: dict[str, Any]) -> HTTPConnectionPool:
    """A pool that reaches the server by way of a proxy: a tunnel for https, forwarding for http."""
    from urllib3.poolmanager import ProxyManager

    context = None
    if proxy.scheme == "https":
        from store_workers.stores.http.tls import client_context

        context = client_context(server.tls.without_certificate())
    headers = {"Proxy-Authorization": proxy.authorization} if proxy.authorization else None
    manager = ProxyManager(proxy.url, proxy_headers=headers, proxy_ssl_context=context, **options)
    return manager.connection_from_host(server.host, server.port, server.scheme)


def retry_after(answer: Response) -> float | None:
    """The seconds a server asks to wait (RFC 9110, 10.2.3), in either form; None for no wish."""
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


def refusal(answer: Response, shown: str, detail: str = "") -> StoreFailure:
    """The failure that a status stands for, where a store knows nothing better."""
    status = answer.status
    said = f"{shown} answered {status}"
    if detail or answer.reason:
        said = f"{said} {detail or answer.reason}"
    if status in (408, 429) or status >= 500:
        return StoreFailure(
            ErrorCode.STORE_UNAVAILABLE,
            said,
            transient=True,
            retry_after=retry_after(answer),
            slow_down=status in (429, 503),
            http_status=status,
        )
    if status in (401, 403, 407):
        return StoreFailure(ErrorCode.STORE_ACCESS_DENIED, said, http_status=status)
    if 300 <= status < 400:
        said += ": redirects are not followed"
    return StoreFailure(ErrorCode.STORE_REJECTED, said, http_status=status)


def _trouble(error: Exception) -> str:
    """What went wrong on the way, in words that hold no address but the server's."""
    if isinstance(error, NameResolutionError):
        return "the host's name cannot be resolved"
    cause = _os_error(error)
    # To the library a refused connection is one that timed out, too.
    if isinstance(error, ConnectTimeoutError) and (
        cause is None or isinstance(cause, TimeoutError)
    ):
        return "no connection within the timeout"
    if isinstance(error, ReadTimeoutError) or isinstance(cause, TimeoutError):
        return "silent or too slow for the whole timeout"
    if cause is not None:
        return f"the connection failed: {reason(cause)}"
    return "the connection broke, or the answer was no HTTP"


def _proxy_failure(error: ProxyError, shown: str) -> StoreFailure:
    """What it means that a proxy did not lead to the server."""
    cause = error.original_error
    status = _tunnel_status(cause)
    if status is not None:
        return refusal(Response(status, "", {}, b""), f"{shown}: the proxy")
    if isinstance(cause, SSLError) and not _is_broken_off(cause):
        return StoreFailure(
            ErrorCode.STORE_REJECTED, f"{shown}: no secure proxy: {_ssl_reason(cause)}"
        )
    system = _os_error(cause)
    return StoreFailure(
        ErrorCode.STORE_UNAVAILABLE,
        f"{shown}: the proxy cannot be reached" + (f": {reason(system)}" if system else ""),
        transient=True,
    )


def _tunnel_status(error: Exception) -> int | None:
    """What a proxy answered to CONNECT.

    `http.client` has it in the text of its error alone: "Tunnel connection failed: 407 …".
    """
    words = str(error).split()
    if words[:3] != ["Tunnel", "connection", "failed:"] or len(words) < 4:
        return None
    return int(words[3]) if words[3].isascii() and words[3].isdigit() else None


def _os_error(error: BaseException | None) -> OSError | None:
    """The error of the operating system behind an error of the library."""
    seen: list[BaseException] = []
    while error is not None and error not in seen:
        seen.append(error)
        if isinstance(error, OSError) and not isinstance(error, HTTPError):
            return error
        inner = next((arg for arg in error.args if isinstance(arg, BaseException)), None)
        error = inner or error.__cause__ or error.__context__
    return None


def _is_broken_off(error: SSLError) -> bool:
    """Did the connection end or get garbled in the middle of TLS, so that another try may do?"""
    import ssl

    cause = error.args[0] if error.args else None
    if not isinstance(cause, ssl.SSLError) or isinstance(cause, ssl.SSLCertVerificationError):
        return False
    if isinstance(cause, (ssl.SSLEOFError, ssl.SSLZeroReturnError, ssl.SSLSyscallError)):
        return True
    reason = cause.reason or ""
    return not any(word in reason for word in _DISAGREEMENTS)


def _ssl_reason(error: SSLError) -> str:
    cause = error.args[0] if error.args else error
    return str(getattr(cause, "verify_message", "") or getattr(cause, "reason", "") or cause)
