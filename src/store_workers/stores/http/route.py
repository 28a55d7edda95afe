"""Opens connections to a server: directly or through a proxy, with or without TLS."""

from __future__ import annotations

import time

from store_workers.stores.http.connection import Connection, Response, wait
from store_workers.stores.http.dialing import Resolver, connect
from store_workers.stores.http.streams import SecureStream

TYPE_CHECKING = False
if TYPE_CHECKING:
    import ssl
    from collections.abc import Mapping

    from store_workers.stores.http.proxies import Proxy
    from store_workers.stores.http.server import Server
    from store_workers.stores.http.streams import OpenStreams, Stream

LONGEST_REFUSAL = 64 * 1024
"""Maximum bytes that are read of an answer without a chunk."""


class TunnelRefused(Exception):
    """A proxy refused CONNECT: its answer is not 2xx."""

    def __init__(self, response: Response) -> None:
        super().__init__(response.status)
        self.response = response


class ProxyUnreachable(Exception):
    """The proxy itself cannot be reached; `cause` is the reason."""

    def __init__(self, cause: Exception) -> None:
        super().__init__(str(cause))
        self.cause = cause


def request_head(method: str, target: str, headers: Mapping[str, str]) -> bytes:
    """Return a request's head as bytes. Raises `ValueError` if a header contains a line break."""
    lines = [f"{method} {target} HTTP/1.1", *(f"{n}: {v}" for n, v in headers.items()), "", ""]
    data = "\r\n".join(lines).encode("latin-1")
    if data.count(b"\n") != len(lines) - 1 or data.count(b"\r") != len(lines) - 1:
        raise ValueError("a line break in a header")
    return data


class Route:
    """The route to a server; `timeout`, in seconds, bounds each step.

    `context` secures the connection to a server at https, `proxy_context` that to a proxy at
    https.
    """

    def __init__(
        self,
        server: Server,
        timeout: float,
        context: ssl.SSLContext | None,
        proxy_context: ssl.SSLContext | None,
    ) -> None:
        self._server = server
        self._proxy = server.proxy
        self._timeout = timeout
        self._context = context
        self._proxy_context = proxy_context
        place = (server.host, server.number)
        if self._proxy is not None:
            place = (self._proxy.host, self._proxy.port)
        self._resolver = Resolver(*place)

    @property
    def is_forwarded(self) -> bool:
        """Return whether requests are sent to a proxy that reads them."""
        return self._proxy is not None and self._context is None

    def headers(self) -> dict[str, str]:
        """Return the headers for a proxy that reads the requests."""
        return _proxy_headers(self._proxy) if self.is_forwarded else {}

    def open(self, streams: OpenStreams) -> Connection:
        """Return a new connection to the server; its socket is registered with `streams`.

        Raises `OSError`, `ProxyUnreachable` or `TunnelRefused`.
        """
        if self._proxy is None:
            stream: Stream = self._dial(streams)
            make = self._secured
        else:
            try:
                stream = self._dial(streams)
            except OSError as error:
                raise ProxyUnreachable(error) from None
            make = self._through
        try:
            return make(stream)
        except BaseException:
            stream.close()
            raise

    def _dial(self, streams: OpenStreams) -> Stream:
        deadline = time.monotonic() + self._timeout
        addresses = self._resolver.addresses(self._timeout)
        left = max(0.001, deadline - time.monotonic())
        return streams.add(connect(addresses, left, streams.check))

    def _secured(self, stream: Stream) -> Connection:
        if self._context is not None:
            stream = _shaken(stream, self._context, self._server.host, self._timeout)
        return Connection(stream, self._timeout)

    def _through(self, stream: Stream) -> Connection:
        proxy = self._proxy
        assert proxy is not None  # noqa: S101 - or nobody goes this way
        if self._proxy_context is not None:
            try:
                stream = _shaken(stream, self._proxy_context, proxy.host, self._timeout)
            except OSError as error:
                raise ProxyUnreachable(error) from None
        connection = Connection(stream, self._timeout)
        if self._context is None:
            return connection
        place = self._server.place
        head = request_head("CONNECT", place, {"Host": place, **_proxy_headers(proxy)})
        answer = connection.ask_tunnel(head, LONGEST_REFUSAL)
        if answer.status >= 300:
            raise TunnelRefused(answer)
        return self._secured(stream)


def _proxy_headers(proxy: Proxy | None) -> dict[str, str]:
    if proxy is None or not proxy.authorization:
        return {}
    return {"Proxy-Authorization": proxy.authorization}


def _shaken(stream: Stream, context: ssl.SSLContext, host: str, timeout: float) -> Stream:
    """Return the stream with TLS. Raises `TimeoutError`, `ssl.SSLError` or another `OSError`."""
    secure = SecureStream(stream, context, host)
    deadline = time.monotonic() + timeout
    while True:
        try:
            secure.shake_hands()
        except BlockingIOError:
            left = deadline - time.monotonic()
            if left <= 0 or not wait(secure.fileno(), left, reading=True):
                raise TimeoutError("the handshake") from None
        else:
            return secure
