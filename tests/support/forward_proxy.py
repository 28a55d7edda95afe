"""A forward proxy on loopback: http is forwarded, https is tunnelled.

It notes what it was asked for and every byte that it could read on the way.
"""

from __future__ import annotations

import base64
import contextlib
import socket
import socketserver
import ssl
import threading
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from tests.support.processes import HOST

if TYPE_CHECKING:
    from typing_extensions import Self

    from tests.support.nginx import Tls

BLOCK = 65536


class ForwardProxy:
    """The proxy; it runs while its ``with`` block lasts.

    Args:
        user: who may use it, as "name:password"; None for everybody.
        tls: be a proxy at https.
        refusal: the status that everybody gets instead of a connection.
    """

    def __init__(
        self, user: str | None = None, tls: Tls | None = None, refusal: int | None = None
    ) -> None:
        self.requests: list[str] = []
        self.seen = bytearray()
        self.refusal = refusal
        self.wanted = base64.b64encode(user.encode()).decode() if user else None
        self.context: ssl.SSLContext | None = None
        if tls:
            self.context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
            self.context.load_cert_chain(tls.certificate, tls.key)
        outer = self

        class Handler(socketserver.BaseRequestHandler):
            def handle(self) -> None:
                with contextlib.suppress(OSError):
                    outer.serve(self.request)

        self._server = socketserver.ThreadingTCPServer((HOST, 0), Handler)
        self._server.daemon_threads = True
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.02,))
        self.port = int(self._server.server_address[1])

    def url(self, user: str | None = None) -> str:
        """Return the variable's value, with user and password if they are given."""
        scheme = "https" if self.context else "http"
        return f"{scheme}://{user + '@' if user else ''}{HOST}:{self.port}"

    def serve(self, client: socket.socket) -> None:
        """Serve one connection."""
        if not self.context:
            self._serve(client)
            return
        with self.context.wrap_socket(client, server_side=True) as secured:
            self._serve(secured)

    def _serve(self, client: socket.socket) -> None:
        head = b""
        while b"\r\n\r\n" not in head:
            block = client.recv(BLOCK)
            if not block:
                return
            head += block
        lines, _, rest = head.partition(b"\r\n\r\n")
        first, *headers = lines.decode("latin-1").split("\r\n")
        self.requests.append(first)
        self.seen += head
        given = [line.partition(": ")[2] for line in headers if line.lower().startswith("proxy-au")]
        if self.refusal or (self.wanted and given != [f"Basic {self.wanted}"]):
            status = self.refusal or 407
            client.sendall(
                b"HTTP/1.1 %d No\r\nContent-Length: 0\r\nConnection: close\r\n\r\n" % status
            )
            return
        method, target, version = first.split(" ")
        if method == "CONNECT":
            host, _, port = target.rpartition(":")
            with socket.create_connection((host, int(port))) as server:
                client.sendall(b"HTTP/1.1 200 Connected\r\n\r\n")
                self._pass_on(client, server, rest)
            return
        url = urlsplit(target)
        kept = [line for line in headers if not line.lower().startswith(("proxy-", "connection"))]
        path = f"{url.path or '/'}{'?' + url.query if url.query else ''}"
        text = "\r\n".join([f"{method} {path} {version}", *kept, "Connection: close"])
        with socket.create_connection((url.hostname or "", url.port or 80)) as server:
            self._pass_on(client, server, text.encode("latin-1") + b"\r\n\r\n" + rest)

    def _pass_on(self, client: socket.socket, server: socket.socket, first: bytes) -> None:
        server.sendall(first)
        back = threading.Thread(target=self._copy, args=(server, client), daemon=True)
        back.start()
        self._copy(client, server)
        back.join()

    def _copy(self, source: socket.socket, target: socket.socket) -> None:
        with contextlib.suppress(OSError):
            while block := source.recv(BLOCK):
                self.seen += block
                target.sendall(block)
        for end in (source, target):
            with contextlib.suppress(OSError):
                end.shutdown(socket.SHUT_RDWR)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_error: object) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()
