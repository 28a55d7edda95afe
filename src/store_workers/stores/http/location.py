"""Parses `http://` and `https://` URLs with their credentials."""

from __future__ import annotations

from store_workers.errors import BadMessage
from store_workers.stores.http.server import Server
from store_workers.stores.http.template import (
    check_placeholders,
    encode_around,
    has_placeholder,
)
from store_workers.stores.http.tls import tls_files
from store_workers.stores.http.url_parts import ascii_host, basic, is_host

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from store_workers.stores.base import Store
    from store_workers.stores.http.transport import Transport
    from store_workers.stores.redaction import Redactor
    from store_workers.transfer.rate_limit import RateLimit
    from store_workers.wire.messages import Auth, Common, Settings

AZURE_HOSTS = ".blob.core.windows.net"
AZURE_HEADER = "x-ms-blob-type"
_SHORTEST_PART = 8
"""Characters of a part of a header's value that is a secret of its own: not `max-age` or `text`."""

TOKEN_VARIABLE = "STORE_WORKERS_TOKEN"  # noqa: S105 - a name, not a token


class HttpLocation:
    """A parsed base URL; `shown` is the URL without user, password and query.

    `headers` are sent with every request. `secrets` are never shown, as are the values of headers,
    `authorization` and the values of the query.
    """

    def __init__(
        self,
        server: Server,
        path: str,
        query: str,
        authorization: str | None,
        headers: Mapping[str, str],
        secrets: tuple[str, ...] = (),
    ) -> None:
        self._headers = headers
        self._secrets = secrets
        self.server = server
        self.path = path
        self.query = query
        self.authorization = authorization
        self.shown = server.origin + path

    def open(self, settings: Settings, rate_limit: RateLimit | None = None) -> Store:
        from store_workers.stores.http.redirects import Redirects
        from store_workers.stores.http.store import HttpStore

        redactor = self._redactor()
        transport = self.server.open(settings, self.shown, redactor, rate_limit)

        def open_other(server: Server) -> Transport:
            name = f"{self.shown}, redirected to {server.origin}"
            return server.open(settings, name, redactor, rate_limit)

        redirects = Redirects(self.server, transport, open_other)
        headers = dict(self._headers)
        if self.authorization:
            headers["Authorization"] = self.authorization
        return HttpStore(transport, redirects, self.path, self.query, headers, self.shown)

    def _redactor(self) -> Redactor:
        """The redactor with all secrets of this store."""
        from store_workers.stores.http.redirects import query_values
        from store_workers.stores.redaction import Redactor

        redactor = Redactor(*self._secrets, *query_values(f"?{self.query}"))
        # Azure's automatic header is not a secret.
        given = [value for name, value in self._headers.items() if name != AZURE_HEADER]
        redactor.learn(*given)
        for value in (self.authorization or "", *given):
            redactor.learn(*_secret_parts(value))
        return redactor


def _secret_parts(value: str) -> Iterator[str]:
    """Yield the parts of a header's value that a server can repeat alone.

    What follows the scheme (`Bearer` and similar), a password in Basic authentication, and the long
    words of the rest: the value of a cookie, or of a scheme's parameter.
    """
    import re

    from store_workers.stores.http.url_parts import password_in

    _, _, rest = value.partition(" ")
    yield rest
    yield password_in(value)
    for word in re.split(r"""[\s,;"']+""", value):
        for part in (word, word.partition("=")[2]):
            if len(part) >= _SHORTEST_PART:
                yield part


def read_http_url(
    url: str, field: str, message: Common, environment: Mapping[str, str]
) -> HttpLocation:
    """Parse a base URL. Raises `BadMessage`, without the URL, which can contain secrets."""
    from urllib.parse import urlsplit

    try:
        parts = urlsplit(url)
        host, port = ascii_host(parts.hostname or ""), parts.port
    except ValueError:
        raise BadMessage(field, "is not a valid URL") from None
    if not is_host(host):
        raise BadMessage(field, "expected a host after http:// or https://")
    if parts.fragment:
        raise BadMessage(field, "a store's URL must not have a fragment")
    auth = message.auth
    if auth is not None and auth.access_key_id is not None:
        raise BadMessage("auth", "S3 keys are only for s3:// stores")
    path, query = _encoded(parts.path, parts.query, field)
    headers = _headers(message.headers or {}, host)
    authorization = None
    if not any(name.lower() == "authorization" for name in headers):
        authorization = _authorization(auth, parts.username, parts.password, environment)
    elif auth is not None:
        raise BadMessage("auth", "cannot be combined with headers.Authorization")
    server = Server(
        parts.scheme.lower(), host, port, tls_files(message.tls, environment), environment
    )
    given = (parts.username, parts.password) if auth is None else (auth.username, auth.password)
    # The environment's token is a secret even if it is not sent.
    secrets = tuple(filter(None, (*given, environment.get(TOKEN_VARIABLE))))
    return HttpLocation(server, path, query, authorization, headers, secrets)


def _headers(given: Mapping[str, str], host: str) -> dict[str, str]:
    """Return the message's headers, and the one that Azure requires."""
    headers = dict(given)
    asked = any(name.lower() == AZURE_HEADER for name in headers)
    if host.endswith(AZURE_HOSTS) and not asked:
        headers[AZURE_HEADER] = "BlockBlob"
    return headers


def _encoded(path: str, query: str, field: str) -> tuple[str, str]:
    """Return path and query encoded for sending; placeholders and encoded parts stay unchanged.

    The path has no slash at its end.
    """
    from urllib.parse import quote

    check_placeholders(path + query, field)
    if not has_placeholder(path + query):
        path = path.rstrip("/")
    safe = "/%:@!$&'()*+,;=~"
    return (
        encode_around(path, lambda text: quote(_bytes(text), safe=safe)),
        encode_around(query, lambda text: quote(_bytes(text), safe=safe + "?")),
    )


def _bytes(text: str) -> bytes:
    return text.encode("utf-8", "surrogateescape")


def _authorization(
    auth: Auth | None,
    username: str | None,
    password: str | None,
    environment: Mapping[str, str],
) -> str | None:
    """Return the value of `Authorization`: from `auth`, else the URL's user, else the variable."""
    if auth is not None:
        if auth.bearer_token is not None:
            return f"Bearer {auth.bearer_token}"
        return basic(auth.username or "", auth.password or "")
    if username is not None:
        from urllib.parse import unquote

        return basic(unquote(username), unquote(password or ""))
    token = environment.get(TOKEN_VARIABLE)
    if not token:
        return None
    if not (token.isascii() and token.isprintable()):
        raise BadMessage(TOKEN_VARIABLE, "expected printable ASCII characters only")
    return f"Bearer {token}"
