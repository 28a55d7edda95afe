"""Requests to one server, over kept connections.

There is no retry here but one: a kept connection that the server closed before a byte of its
answer came is not a failed try (RFC 9112, 9.3.1), and the request is made again at once, once, on a
fresh one. All else is `transfer/retry.py`'s business. No other module's error gets past this one.
"""

from __future__ import annotations

import threading

from store_workers import __version__
from store_workers.stores.http.connection import NotSent
from store_workers.stores.http.failures import failure_of
from store_workers.stores.http.heads import NotHttp
from store_workers.stores.http.route import (
    LONGEST_REFUSAL,
    ProxyUnreachable,
    Route,
    TunnelRefused,
    request_head,
)
from store_workers.stores.http.streams import OpenStreams

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from store_workers.errors import StoreFailure
    from store_workers.stores.http.connection import Connection, Response
    from store_workers.stores.http.server import Server
    from store_workers.stores.redaction import Redactor
    from store_workers.transfer.rate_limit import RateLimit

_COMMON_HEADERS = {
    "User-Agent": f"store-workers/{__version__}",
    "Accept": "*/*",
    "Accept-Encoding": "identity",
}
_NO_ANSWER = (OSError, NotHttp, NotSent, TunnelRefused, ProxyUnreachable)


class Transport:
    """Requests to one server. Safe from many threads.

    As many connections are kept as were needed at once. `shown` is the store's name in messages,
    without secrets; `redactor` redacts the server's text.
    """

    def __init__(
        self,
        server: Server,
        route: Route,
        shown: str,
        redactor: Redactor,
        streams: OpenStreams | None = None,
    ) -> None:
        self._route = route
        self._host = server.authority
        self._origin = server.origin if route.is_forwarded else ""
        self._shown = shown
        self.redactor = redactor
        self._lock = threading.Lock()
        self._idle: list[Connection] = []
        self._streams = streams or OpenStreams()

    def request(
        self,
        method: str,
        path: str,
        headers: Mapping[str, str],
        *,
        body: list[memoryview] | None = None,
        longest: Callable[[int], int] = lambda _status: LONGEST_REFUSAL,
    ) -> Response:
        """Send one request and read its answer, cut at `longest(status)` bytes.

        Raises `StoreFailure` without a complete answer.
        """
        head = request_head(method, self._origin + path, self._with_common(headers))

        def exchange(connection: Connection) -> Response:
            try:
                response = connection.exchange(method, head, body or [], longest)
            except BaseException:
                connection.close()
                raise
            self._put_back(connection)
            return response

        kept = self._kept()
        if kept is not None:
            try:
                return exchange(kept)
            except _NO_ANSWER as error:
                if not _was_stale(kept, error):
                    raise self._failure(error, kept) from None
        connection = None
        try:
            connection = self._route.open(self._streams)
            return exchange(connection)
        except _NO_ANSWER as error:
            raise self._failure(error, connection) from None

    def close(self) -> None:
        """End all connections, also those that other threads wait for."""
        self._streams.end_all()
        while (connection := self._pop()) is not None:
            connection.close()

    def _with_common(self, headers: Mapping[str, str]) -> dict[str, str]:
        """Merge the headers of a request with the common ones, each only once."""
        given = {name.lower() for name in headers}
        common = {"Host": self._host, **_COMMON_HEADERS, **self._route.headers()}
        missing = {name: value for name, value in common.items() if name.lower() not in given}
        return {**missing, **headers}

    def _put_back(self, connection: Connection) -> None:
        if not connection.reusable or self._streams.is_closed:
            connection.close()
            return
        with self._lock:
            self._idle.append(connection)

    def _kept(self) -> Connection | None:
        """Return a kept connection that is still usable, the last used first."""
        while (connection := self._pop()) is not None:
            if connection.is_idle():
                return connection
            connection.close()
        return None

    def _pop(self) -> Connection | None:
        with self._lock:
            return self._idle.pop() if self._idle else None

    def _failure(self, error: Exception, connection: Connection | None) -> StoreFailure:
        return failure_of(
            error,
            self._shown,
            self.redactor,
            connected=connection is not None,
            answered=connection is not None and connection.answered,
        )


def _was_stale(kept: Connection, error: Exception) -> bool:
    """Return whether the server had closed the connection before the request arrived."""
    return isinstance(error, OSError) and not isinstance(error, TimeoutError) and not kept.answered


def open_transport(
    server: Server,
    *,
    timeout: float,
    shown: str,
    redactor: Redactor,
    rate_limit: RateLimit | None = None,
) -> Transport:
    """Return a transport to a server; `rate_limit` applies to both directions.

    `timeout`, in seconds, bounds connecting, each silence, and each period with too little
    throughput. Raises `WorkerError` for a TLS file that cannot be used.
    """
    context = proxy_context = None
    if server.scheme == "https":
        from store_workers.stores.http.tls import client_context

        context = client_context(server.tls)
    if server.proxy is not None:
        redactor.learn(server.proxy.authorization, *server.proxy.secrets)
        if server.proxy.scheme == "https":
            from store_workers.stores.http.tls import client_context

            proxy_context = client_context(server.tls.without_certificate())
    route = Route(server, timeout, context, proxy_context)
    return Transport(server, route, shown, redactor, OpenStreams(rate_limit))
