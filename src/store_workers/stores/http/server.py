"""Which server is spoken to, and how it is reached: known before anything is imported for it."""

from __future__ import annotations

from store_workers.stores.http.proxies import DEFAULT_PORTS, find_proxy

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping

    from store_workers.stores.http.tls import TlsFiles
    from store_workers.stores.http.transport import Transport
    from store_workers.stores.redaction import Redactor
    from store_workers.transfer.rate_limit import RateLimit
    from store_workers.wire.messages import Settings


class Server:
    """A server: `scheme` is http or https; `port` None is the scheme's own."""

    def __init__(
        self,
        scheme: str,
        host: str,
        port: int | None,
        tls: TlsFiles,
        environment: Mapping[str, str],
    ) -> None:
        self._environment = environment
        self.scheme = scheme
        self.host = host
        self.port = None if port == DEFAULT_PORTS[scheme] else port
        self.tls = tls
        self.proxy = find_proxy(scheme, host, self.number, environment)

    @property
    def authority(self) -> str:
        """Host and port, as they stand in a URL and in the header `Host`."""
        place = f"[{self.host}]" if ":" in self.host else self.host
        return f"{place}:{self.port}" if self.port else place

    @property
    def number(self) -> int:
        """The port's number."""
        return self.port or DEFAULT_PORTS[self.scheme]

    @property
    def place(self) -> str:
        """Host and port, the port in any case, as a proxy is asked for them."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"{host}:{self.number}"

    @property
    def origin(self) -> str:
        """The server's URL, without a path."""
        return f"{self.scheme}://{self.authority}"

    def other(self, scheme: str, host: str, port: int | None) -> Server:
        """Another server, trusted and reached by the same rules, without credentials."""
        return Server(scheme, host, port, self.tls.without_certificate(), self._environment)

    def open(
        self,
        settings: Settings,
        shown: str,
        redactor: Redactor,
        rate_limit: RateLimit | None = None,
    ) -> Transport:
        """A transport to the server. Raises `WorkerError` for a file of TLS that is not valid.

        `shown` names the store in messages; `redactor` knows the secrets that are sent to it.
        """
        from store_workers.stores.http.transport import open_transport

        return open_transport(
            self,
            timeout=settings.timeout_ms / 1000,
            shown=shown,
            redactor=redactor,
            rate_limit=rate_limit,
        )
