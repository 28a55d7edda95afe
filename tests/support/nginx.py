"""A real nginx as an HTTP store: plain, with TLS, with credentials, with injected errors.

Everything it writes stays in one folder, and it needs no root. Its access log is the witness of
what a worker really asked for. A request's body is first written to ``body`` (nginx's
``client_body_temp_path``) and then renamed, so an interrupted PUT is never visible.
"""

from __future__ import annotations

import base64
import json
import os
import shutil
import signal
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING

import pytest

from tests.support.processes import HOST, Server, Started, serving, start

if TYPE_CHECKING:
    import contextlib
    from collections.abc import Sequence
    from pathlib import Path


CONFIGURATION = """\
{main}
daemon off;
master_process off;
pid {folder}/pid;
error_log {folder}/error.log warn;
events {{ worker_connections 1024; }}
http {{
    log_format witness escape=json '{{"time":$msec,"method":"$request_method","path":"$uri",'
        '"status":$status,"received":"$content_length","sent":$body_bytes_sent,'
        '"connection":$connection,"authorization":"$http_authorization"}}';
    access_log {folder}/access.log witness;
    client_body_temp_path {folder}/body;
    proxy_temp_path {folder}/proxy;
    fastcgi_temp_path {folder}/fastcgi;
    uwsgi_temp_path {folder}/uwsgi;
    scgi_temp_path {folder}/scgi;
    client_max_body_size {largest};
    keepalive_requests 100000;
    {http}
    server {{
        listen {address} {listen};
        root {folder}/chunks;
        {server}
        location / {{
            {location}
            dav_methods {methods};
            create_full_put_path on;
        }}
    }}
}}
"""


@dataclass(frozen=True)
class Request:
    """A line of the access log."""

    time: float
    method: str
    path: str
    status: int
    received: int
    sent: int
    connection: int
    authorization: str

    @property
    def key(self) -> str:
        """The last part of the path: a chunk's hash."""
        return self.path.rpartition("/")[2]


@dataclass(frozen=True)
class Tls:
    """Files of a server with TLS; with ``client_ca`` it asks clients for a certificate."""

    certificate: Path
    key: Path
    client_ca: Path | None = None


class Nginx(Server):
    """A running nginx; use it in a ``with`` block.

    Args:
        folder: an empty folder of its own.
        tls: serve https.
        basic: a user and a password that every request must give.
        bearer: a token that every request must give.
        failing_share: percentage of the requests, by chance, answered with ``failing_status``.
        failing_status: what those get.
        rate: requests per second that are let through; the others get 429.
        largest: the longest body that is taken, as nginx writes it.
        main: further directives outside of all blocks.
        http: further directives of the http block.
        server: further directives of the server block.
        location: further directives of the location.
        methods: what it accepts besides GET and HEAD.
    """

    def __init__(
        self,
        folder: Path,
        *,
        tls: Tls | None = None,
        basic: tuple[str, str] | None = None,
        bearer: str | None = None,
        failing_share: int = 0,
        failing_status: int = 503,
        rate: int | None = None,
        largest: str = "8m",
        main: Sequence[str] = (),
        http: Sequence[str] = (),
        server: Sequence[str] = (),
        location: Sequence[str] = (),
        methods: str = "PUT DELETE",
    ) -> None:
        self.folder = folder
        self.chunks = folder / "chunks"
        self.chunks.mkdir(parents=True)
        self.scheme = "https" if tls else "http"
        self._http, self._server, self._location = list(http), list(server), list(location)
        self._main, self._methods = list(main), methods
        self._largest = largest
        self._listen = "ssl" if tls else ""
        if tls:
            self._use_tls(tls)
        if basic:
            self._ask_for_password(*basic)
        if bearer:
            self._ask_for_token(bearer)
        if failing_share:
            self._fail(failing_share, failing_status)
        if rate:
            self._http.append(f"limit_req_zone all zone=all:64k rate={rate}r/s;")
            self._location.append("limit_req zone=all burst=4 nodelay; limit_req_status 429;")
        self._started: Started | None = None
        self._port: int | None = None

    def start(self) -> None:
        """Start, or start again on the same port after `stop`."""
        folder = str(self.folder)
        command = [program(), "-p", folder, "-c", f"{folder}/nginx.conf"]
        command += ["-e", f"{folder}/error.log"]

        def run(port: int) -> contextlib.AbstractContextManager[int]:
            self._configure(port)
            return serving(command, port, self.folder / "output.log")

        self._started = start(run, self._port)
        self._port = self._started.port

    def stop(self) -> None:
        """Stop; stored data remains."""
        if self._started:
            self._started.stop()
            self._started = None

    def pause(self) -> None:
        """Stop answering without closing connections."""
        assert self._started
        os.kill(self._started.pid, signal.SIGSTOP)

    def go_on(self) -> None:
        """Take up work again after `pause`."""
        assert self._started
        os.kill(self._started.pid, signal.SIGCONT)

    @property
    def port(self) -> int:
        """Where it listens."""
        assert self._port is not None
        return self._port

    @property
    def url(self) -> str:
        """The store's URL."""
        return f"{self.scheme}://{HOST}:{self.port}"

    def read(self, wanted: str) -> bytes:
        """Return a chunk's bytes as they lie on the disk."""
        return (self.chunks / wanted).read_bytes()

    def requests(self, method: str | None = None) -> list[Request]:
        """Return what was asked for so far, as nginx itself logged it."""
        time.sleep(0.02)  # a request is logged after its answer was sent
        found = [to_request(line) for line in self._log().splitlines()]
        return [request for request in found if method in {None, request.method}]

    def forget_requests(self) -> None:
        """Empty the log."""
        time.sleep(0.02)
        (self.folder / "access.log").open("w").close()

    def _log(self) -> str:
        log = self.folder / "access.log"
        return log.read_text() if log.exists() else ""

    def _configure(self, port: int) -> None:
        text = CONFIGURATION.format(
            folder=self.folder,
            address=f"{HOST}:{port}",
            listen=self._listen,
            largest=self._largest,
            main="\n".join(self._main),
            methods=self._methods,
            http="\n    ".join(self._http),
            server="\n        ".join(self._server),
            location="\n            ".join(self._location),
        )
        (self.folder / "nginx.conf").write_text(text)

    def _use_tls(self, tls: Tls) -> None:
        self._server.append(f"ssl_certificate {tls.certificate}; ssl_certificate_key {tls.key};")
        if tls.client_ca:
            self._server.append(f"ssl_client_certificate {tls.client_ca}; ssl_verify_client on;")

    def _ask_for_password(self, user: str, password: str) -> None:
        (self.folder / "users").write_text(f"{user}:{{PLAIN}}{password}\n")
        self._server.append(f'auth_basic "chunks"; auth_basic_user_file {self.folder}/users;')

    def _ask_for_token(self, token: str) -> None:
        self._http.append(f'map $http_authorization $known {{ default 0; "Bearer {token}" 1; }}')
        self._location.append("if ($known = 0) { return 401; }")

    def _fail(self, share: int, status: int) -> None:
        self._http.append(f'split_clients "$request_id" $fails {{ {share}% 1; * 0; }}')
        self._location.append(f"if ($fails) {{ return {status}; }}")


def to_request(line: str) -> Request:
    """Parse a line of the access log."""
    fields = json.loads(line)
    return Request(**{**fields, "received": int(fields["received"] or 0)})


def basic_header(user: str, password: str) -> str:
    """Return the Authorization header that a user and a password make."""
    return "Basic " + base64.b64encode(f"{user}:{password}".encode()).decode()


def program() -> str:
    """Return where nginx is, or skip the test."""
    found = shutil.which("nginx", path=os.environ["PATH"] + ":/usr/sbin:/usr/local/sbin")
    if not found:
        pytest.skip("nginx is not installed")
    return found
