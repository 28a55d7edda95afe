"""Parts of URLs that servers and proxies share: hosts, and the user before them."""

from __future__ import annotations


def is_host(host: str) -> bool:
    """A name or an address: no space, no delimiter that could make another host of it."""
    marks = "-._:%" if ":" in host else "-._"  # an IPv6 address may have a zone behind a %
    return (
        host.isascii()
        and host != ""
        and all(letter.isalnum() or letter in marks for letter in host)
    )


def ascii_host(host: str) -> str:
    """A host as DNS knows it (RFC 3490); what has no such form is returned as it is."""
    try:
        return host if host.isascii() else host.encode("idna").decode("ascii")
    except UnicodeError:
        return host


def basic(username: str, password: str) -> str:
    """The value of a header in HTTP's basic scheme (RFC 7617), in UTF-8."""
    from binascii import b2a_base64

    pair = f"{username}:{password}".encode("utf-8", "surrogateescape")
    return "Basic " + b2a_base64(pair, newline=False).decode("ascii")
