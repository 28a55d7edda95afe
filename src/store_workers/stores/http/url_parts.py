"""Parts of URLs of servers and proxies: host and user."""

from __future__ import annotations


def is_host(host: str) -> bool:
    """A name or an address, without spaces and delimiters that could change the host."""
    marks = "-._:%" if ":" in host else "-._"  # an IPv6 address may have a zone after %
    return (
        host.isascii()
        and host != ""
        and all(letter.isalnum() or letter in marks for letter in host)
    )


def ascii_host(host: str) -> str:
    """Return a host in the form of DNS (RFC 3490), or unchanged if it has none."""
    try:
        return host if host.isascii() else host.encode("idna").decode("ascii")
    except UnicodeError:
        return host


def password_in(authorization: str) -> str:
    """Return the password in the header value of HTTP basic authentication; "" for another."""
    from binascii import a2b_base64

    scheme, _, pair = authorization.partition(" ")
    if scheme.lower() != "basic":
        return ""
    try:
        return a2b_base64(pair).partition(b":")[2].decode("utf-8", "surrogateescape")
    except ValueError:
        return ""


def basic(username: str, password: str) -> str:
    """Return the header value of HTTP basic authentication (RFC 7617), in UTF-8."""
    from binascii import b2a_base64

    pair = f"{username}:{password}".encode("utf-8", "surrogateescape")
    return "Basic " + b2a_base64(pair, newline=False).decode("ascii")
