"""Chooses the proxy for a server from the usual variables, by curl's rules.

`http_proxy` is used only in lower case: a web server can set `HTTP_PROXY` from a request's `Proxy`
header. The others are used in both cases, lower case first.
"""

from __future__ import annotations

from store_workers.errors import BadMessage

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping

DEFAULT_PORTS = {"http": 80, "https": 443}
_VARIABLES = {
    "http": ("http_proxy", "all_proxy", "ALL_PROXY"),
    "https": ("https_proxy", "HTTPS_PROXY", "all_proxy", "ALL_PROXY"),
}
_EXCEPTIONS = ("no_proxy", "NO_PROXY")


class Proxy:
    """A proxy: `authorization` is the value of `Proxy-Authorization`, or None.

    `secrets` are never shown.
    """

    def __init__(
        self,
        scheme: str,
        host: str,
        port: int,
        authorization: str | None,
        secrets: tuple[str, ...] = (),
    ) -> None:
        self.secrets = secrets
        self.scheme = scheme
        self.host = host
        self.port = port
        self.authorization = authorization

    @property
    def url(self) -> str:
        """The proxy's origin, without user and password."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"{self.scheme}://{host}:{self.port}"


def find_proxy(scheme: str, host: str, port: int, environment: Mapping[str, str]) -> Proxy | None:
    """Return the proxy for a server; None for a direct connection.

    Raises `BadMessage`, which names the variable and never shows its value.
    """
    variable = next((name for name in _VARIABLES[scheme] if environment.get(name)), None)
    if variable is None:
        return None
    exceptions = next((environment[name] for name in _EXCEPTIONS if name in environment), "")
    if _is_exempt(host, port, exceptions):
        return None
    return _read(environment[variable], variable)


def _read(text: str, variable: str) -> Proxy:
    from urllib.parse import unquote, urlsplit

    from store_workers.stores.http.url_parts import basic, is_host

    try:
        parts = urlsplit(text if "://" in text else f"http://{text}")
        host, port = parts.hostname, parts.port
    except ValueError:
        raise BadMessage(variable, "is not a valid URL") from None
    if parts.scheme not in DEFAULT_PORTS:
        raise BadMessage(variable, "expected a proxy at http:// or https://")
    if not host or not is_host(host):
        raise BadMessage(variable, "expected a proxy's host")
    authorization: str | None = None
    secrets: tuple[str, ...] = ()
    if parts.username is not None:
        username, password = unquote(parts.username), unquote(parts.password or "")
        authorization = basic(username, password)
        secrets = (username, password, authorization.partition(" ")[2])
    return Proxy(parts.scheme, host, port or DEFAULT_PORTS[parts.scheme], authorization, secrets)


def _is_exempt(host: str, port: int, exceptions: str) -> bool:
    """Return whether `no_proxy` names the server: a host, domain, address, network, or `*`.

    Each may end in a port, and then applies only to that. Addresses are compared by value, in any
    spelling.
    """
    host = host.lower().rstrip(".")
    for word in exceptions.lower().replace(",", " ").split():
        if word == "*":
            return True
        name, number = _split_port(word)
        if number and number != str(port):
            continue
        if _covers(name, host):
            return True
    return False


def _split_port(word: str) -> tuple[str, str]:
    """Split a word into name and port ("" for none); colons of an IPv6 address do not count."""
    if word.startswith("["):
        address, _, rest = word[1:].partition("]")
        if rest.startswith("/"):
            return address + rest, ""
        return address, rest.removeprefix(":")
    if word.count(":") > 1:
        return word, ""
    name, _, number = word.partition(":")
    return name, number


def _covers(name: str, host: str) -> bool:
    """Return whether the host is the named one, or in the named domain or network."""
    if _may_be_address(host):
        import ipaddress

        try:
            address = ipaddress.ip_address(host.partition("%")[0])
        except ValueError:
            pass
        else:
            try:
                return address in ipaddress.ip_network(name.partition("%")[0], strict=False)
            except ValueError:
                return False
    name = name.strip(".")
    return bool(name) and (host == name or host.endswith(f".{name}"))


def _may_be_address(host: str) -> bool:
    """Return an address, importing the module only if the text can be one."""
    return ":" in host or host[-1:].isdigit()
