"""A server on loopback with prepared answers, in order, that records requests."""

from __future__ import annotations

import threading
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from typing_extensions import Self


@dataclass(frozen=True)
class Reply:
    """An answer; `length` is what Content-Length says where it is not the body's."""

    status: int
    body: bytes = b""
    headers: dict[str, str] = field(default_factory=dict)
    length: int | None = None


@dataclass(frozen=True)
class Asked:
    """A request."""

    method: str
    path: str
    headers: dict[str, str]
    body: bytes


class ScriptedServer:
    """Answers the first request with the first reply, and so on; it runs in a ``with`` block."""

    def __init__(self, *replies: Reply) -> None:
        self.asked: list[Asked] = []
        self._replies = list(replies)
        self._lock = threading.Lock()
        outer = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def answer(self) -> None:
                outer.answer(self)

            do_GET = do_PUT = do_HEAD = do_POST = answer  # noqa: N815 - its names

            def log_message(self, *_args: Any) -> None:
                """Stay silent."""

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = True
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.02,))
        self.port = int(self._server.server_address[1])

    @property
    def url(self) -> str:
        """Where it is."""
        return f"http://127.0.0.1:{self.port}"

    def methods(self) -> list[str]:
        """What was asked for, in order; a PUT with a condition ends in a star."""
        return [
            each.method + ("*" if each.headers.get("if-none-match") == "*" else "")
            for each in self.asked
        ]

    def answer(self, request: BaseHTTPRequestHandler) -> None:
        """Give the next reply."""
        headers = {name.lower(): value for name, value in request.headers.items()}
        body = request.rfile.read(int(headers.get("content-length", "0")))
        with self._lock:
            self.asked.append(Asked(request.command, request.path, headers, body))
            reply = self._replies.pop(0) if self._replies else Reply(418)
        request.send_response(reply.status)
        length = len(reply.body) if reply.length is None else reply.length
        request.send_header("Content-Length", str(length))
        for name, value in reply.headers.items():
            request.send_header(name, value)
        request.end_headers()
        if request.command != "HEAD":
            request.wfile.write(reply.body)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_error: object) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()
