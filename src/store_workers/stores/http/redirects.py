"""Follows redirects of GET requests, for example from a gateway to an object store.

They are followed a few times, without credentials to another origin, never from https to http. The
result is checked by its hash like any other chunk.
"""

from __future__ import annotations

import threading

from store_workers.errors import ErrorCode, StoreFailure
from store_workers.stores.http.refusals import REDIRECTS

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from store_workers.stores.http.connection import Response
    from store_workers.stores.http.server import Server
    from store_workers.stores.http.transport import Transport

MOST_REDIRECTS = 5


class Redirects:
    """Follows redirects from one server. Safe from many threads.

    `open_other` opens a transport to another server; it is kept.
    """

    def __init__(
        self, server: Server, transport: Transport, open_other: Callable[[Server], Transport]
    ) -> None:
        self._server = server
        self._transport = transport
        self._open_other = open_other
        self._lock = threading.Lock()
        self._others: dict[str, Transport] = {}

    def get(
        self,
        path: str,
        secret: Mapping[str, str],
        public: Mapping[str, str],
        longest: Callable[[int], int],
    ) -> Response:
        """GET a path, following redirects. Return the last answer.

        The `secret` headers are sent only to this server, the `public` ones to all. Raises
        `StoreFailure`.
        """
        server, target = self._server, path
        for _ in range(MOST_REDIRECTS + 1):
            transport = self._transport_to(server)
            at_home = server.origin == self._server.origin
            headers = {**secret, **public} if at_home else public
            answer = transport.request("GET", target, headers, longest=longest)
            place = answer.headers.get("Location", "")
            if answer.status not in REDIRECTS or not place:
                if answer.status >= 300:
                    self._transport.redactor.learn(*query_values(target))
                return answer
            server, target = self._next(server, target, place)
        raise self._refused(f"more than {MOST_REDIRECTS} redirects")

    def close(self) -> None:
        """Close the connections to other servers."""
        with self._lock:
            others = list(self._others.values())
        for transport in others:
            transport.close()

    def _next(self, server: Server, target: str, place: str) -> tuple[Server, str]:
        """Return the server and the target of a `Location`."""
        from urllib.parse import quote, urljoin, urlsplit

        from store_workers.stores.http.url_parts import ascii_host, is_host

        try:
            parts = urlsplit(urljoin(server.origin + target, place))
            host, port = ascii_host(parts.hostname or ""), parts.port
        except ValueError:
            raise self._refused("it redirects to something that is not a URL") from None
        scheme = parts.scheme.lower()
        if scheme not in ("http", "https") or not is_host(host):
            raise self._refused("it redirects to something that is not an http:// or https:// URL")
        if (server.scheme, scheme) == ("https", "http"):
            raise self._refused("it redirects from https to http, which is not followed")
        path = quote(parts.path or "/", safe="/%:@!$&'()*+,;=~")
        query = quote(parts.query, safe="/%:@!$&'()*+,;=~?")
        return server.other(scheme, host, port), f"{path}?{query}" if query else path

    def _transport_to(self, server: Server) -> Transport:
        if server.origin == self._server.origin:
            return self._transport
        with self._lock:
            if server.origin not in self._others:
                self._others[server.origin] = self._open_other(server)
            return self._others[server.origin]

    def _refused(self, problem: str) -> StoreFailure:
        return StoreFailure(ErrorCode.STORE_REJECTED, f"{self._server.origin}: {problem}")


def query_values(target: str) -> list[str]:
    """Return the values in a target's query, not decoded; a name without a value is one, too."""
    _, _, query = target.partition("?")
    return [pair.partition("=")[2] if "=" in pair else pair for pair in query.split("&")]
