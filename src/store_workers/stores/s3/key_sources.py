"""Requests of botocore for keys, sent by the worker's own HTTP client.

So they use the worker's CAs, proxies and time limits. botocore supports this: the result of a
handler of its event `before-send` is used as the answer, and botocore itself sends nothing.
"""

from __future__ import annotations

import threading
from contextlib import contextmanager

from botocore.awsrequest import AWSResponse

from store_workers.stores.http.heads import Headers
from store_workers.stores.http.server import Server
from store_workers.stores.http.transport import open_transport
from store_workers.stores.redaction import Redactor

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from typing import Any

    from store_workers.stores.http.tls import TlsFiles
    from store_workers.stores.http.transport import Transport


class KeySources:
    """The servers that provide keys. Safe from many threads."""

    def __init__(self, trust: TlsFiles, environment: Mapping[str, str], timeout: float) -> None:
        self._trust = trust
        self._environment = environment
        self._timeout = timeout
        self._lock = threading.Lock()
        self._transports: set[Transport] = set()

    def answer(self, request: Any, **_event: object) -> AWSResponse:
        """Send a prepared request of botocore, as a handler of its event `before-send`.

        Raises `StoreFailure` without an answer.
        """
        return self.send(request)

    def send(self, request: Any) -> AWSResponse:
        """The same, with the interface of botocore's HTTP session."""
        from urllib.parse import urlsplit

        parts = urlsplit(request.url)
        server = Server(
            parts.scheme, parts.hostname or "", parts.port, self._trust, self._environment
        )
        target = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
        body = request.body or b""
        data = body.encode("utf-8") if isinstance(body, str) else bytes(body)
        headers = {_text(name): _text(value) for name, value in request.headers.items()}
        if data or request.method not in ("GET", "HEAD"):
            headers = {n: v for n, v in headers.items() if n.lower() != "content-length"}
            headers["Content-Length"] = str(len(data))
        with self._transport(server) as transport:
            response = transport.request(request.method, target, headers, body=[memoryview(data)])
        return AWSResponse(
            request.url, response.status, Headers(response.headers), _Raw(response.body)
        )

    def close(self) -> None:
        """End all running requests."""
        with self._lock:
            transports = list(self._transports)
        for transport in transports:
            transport.close()

    @contextmanager
    def _transport(self, server: Server) -> Iterator[Transport]:
        """Return a transport for one request: they are too rare to keep connections."""
        transport = open_transport(
            server,
            timeout=self._timeout,
            shown=f"no credentials: {server.origin}",
            redactor=Redactor(),
        )
        with self._lock:
            self._transports.add(transport)
        try:
            yield transport
        finally:
            with self._lock:
                self._transports.discard(transport)
            transport.close()


class _Raw:
    """An answer's body with the interface that botocore reads."""

    def __init__(self, body: bytes) -> None:
        self._body = body

    def stream(self, *_sizes: object, **_options: object) -> Iterator[bytes]:
        yield self._body


def _text(value: str | bytes) -> str:
    return value.decode("latin-1") if isinstance(value, bytes) else value
