"""The choice of the proxy: a table of the usual variables."""

from __future__ import annotations

import pytest

from store_workers.errors import BadMessage
from store_workers.stores.http.proxies import find_proxy

P, Q = "http://p:1", "http://q:2"


@pytest.mark.parametrize(
    ("scheme", "environment", "expected"),
    [
        ("http", {}, None),
        ("http", {"http_proxy": P}, P),
        ("http", {"HTTP_PROXY": P}, None),
        ("http", {"https_proxy": P}, None),
        ("http", {"all_proxy": P}, P),
        ("http", {"ALL_PROXY": P}, P),
        ("http", {"http_proxy": "", "all_proxy": P}, P),
        ("http", {"http_proxy": P, "all_proxy": Q}, P),
        ("https", {"http_proxy": P}, None),
        ("https", {"https_proxy": P, "HTTPS_PROXY": Q}, P),
        ("https", {"HTTPS_PROXY": Q, "all_proxy": P}, Q),
        ("http", {"http_proxy": "p:1"}, P),
        ("http", {"http_proxy": "http://p"}, "http://p:80"),
        ("http", {"http_proxy": "https://p"}, "https://p:443"),
        ("http", {"http_proxy": "http://u:secret@p:1/"}, P),
        ("http", {"http_proxy": "http://[::1]:3"}, "http://[::1]:3"),
    ],
)
def test_variables(scheme: str, environment: dict[str, str], expected: str | None) -> None:
    proxy = find_proxy(scheme, "host.example.com", 8080, environment)
    assert (proxy.url if proxy else None) == expected


@pytest.mark.parametrize(
    ("host", "exceptions", "direct"),
    [
        ("host.example.com", "*", True),
        ("host.example.com", "host.example.com", True),
        ("HOST.example.com", "host.EXAMPLE.com", True),
        ("host.example.com.", "host.example.com", True),
        ("host.example.com", "example.com", True),
        ("host.example.com", ".example.com", True),
        ("host.example.com", "other, example.com ,x", True),
        ("host.example.com", "other example.com", True),
        ("host.example.com", "ample.com", False),
        ("host.example.com", "host", False),
        ("host.example.com", "", False),
        ("host.example.com", ",", False),
        ("host.example.com", "example.com:8080", True),
        ("host.example.com", "example.com:80", False),
        ("127.0.0.1", "127.0.0.1", True),
        ("127.0.0.1", "127.0.0.0/8", True),
        ("10.0.0.1", "127.0.0.0/8", False),
        ("host.example.com", "127.0.0.0/8", False),
        ("::1", "::1", True),
        ("::1", "[::1]", True),
        ("fd00::7", "fd00::/8", True),
        ("::1", "::2", False),
        ("::1", "0:0:0:0:0:0:0:1", True),
        ("::1", "[0:0:0::1]", True),
        ("2001:db8::a", "2001:DB8:0::000A", True),
        ("::1", "[::1]:8080", True),
        ("::1", "[::1]:80", False),
        ("::1", "[::]/64", True),
        ("fe80::1%eth0", "fe80::1", True),
        ("127.0.0.1", "127.0.0.1:8080", True),
        ("127.0.0.1", "127.0.0.1:80", False),
        ("127.0.0.1", "0.0.1", False),
        ("127.0.0.1", ".1", False),
        ("host9", "host9", True),
        ("a.host9", "host9", True),
    ],
)
@pytest.mark.parametrize("variable", ["no_proxy", "NO_PROXY"])
def test_exceptions(host: str, exceptions: str, direct: bool, variable: str) -> None:
    proxy = find_proxy("http", host, 8080, {"http_proxy": P, variable: exceptions})
    assert (proxy is None) is direct


def test_lower_case_of_exceptions_wins_even_when_empty() -> None:
    environment = {"http_proxy": P, "no_proxy": "", "NO_PROXY": "*"}
    assert find_proxy("http", "host", 80, environment)


@pytest.mark.parametrize(
    "value",
    ["socks5://u:topsecret@p:1", "ftp://topsecret", "http://", "http://p:topsecret", "http://a b"],
)
def test_others_are_refused_without_showing_them(value: str) -> None:
    with pytest.raises(BadMessage) as caught:
        find_proxy("http", "host", 80, {"http_proxy": value})
    assert caught.value.message.startswith("http_proxy: ")
    assert "topsecret" not in caught.value.message


def test_user_and_password_are_decoded() -> None:
    proxy = find_proxy("http", "host", 80, {"http_proxy": "http://u%40x:p%3a@p:1"})
    assert proxy
    assert proxy.authorization == "Basic dUB4OnA6"
    assert "u" not in proxy.url.removeprefix("http")
