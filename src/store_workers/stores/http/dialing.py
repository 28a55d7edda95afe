"""Connects to a host by name, within one time limit for all steps.

The system's name lookup has no timeout, so it runs on a thread of its own. A name can have several
addresses, some of them unreachable: they are tried in parallel, each a little later than the one
before, and the first that answers is used (RFC 8305, "Happy Eyeballs").
"""

from __future__ import annotations

import errno
import os
import selectors
import socket
import threading
import time

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

    Address = tuple[Any, ...]
    """One of `getaddrinfo`'s answers."""

HEAD_START = 0.25
"""Seconds between the attempts of two addresses (RFC 8305, 5)."""

FRESH = 5.0
"""Seconds for which found addresses are reused."""

_UNDER_WAY = frozenset(
    {0, errno.EINPROGRESS, errno.EWOULDBLOCK, getattr(errno, "WSAEWOULDBLOCK", 0)}
)


class UnknownHost(OSError):
    """The host's name cannot be resolved."""


class _LookUp:
    """One lookup, for which any number of threads wait."""

    def __init__(self, host: str, port: int) -> None:
        self.done = threading.Event()
        self.addresses: list[Address] = []
        self.failure: OSError | None = None
        self._host = host
        self._port = port

    def run(self) -> None:
        try:
            self.addresses = _resolve(self._host, self._port)
        except (OSError, UnicodeError) as error:
            self.failure = error if isinstance(error, OSError) else UnknownHost(str(error))
        self.done.set()


class Resolver:
    """The addresses of one host. Safe from many threads, which share a running lookup."""

    def __init__(self, host: str, port: int, clock: Callable[[], float] = time.monotonic) -> None:
        self._host = host
        self._port = port
        self._clock = clock
        self._lock = threading.Lock()
        self._found: list[Address] = []
        self._found_at = 0.0
        self._under_way: _LookUp | None = None

    def addresses(self, seconds: float) -> list[Address]:
        """Return the host's addresses. Raises `UnknownHost`, and `TimeoutError` after that time."""
        with self._lock:
            if self._found and self._clock() - self._found_at < FRESH:
                return self._found
            look_up = self._under_way or self._begin()
        if not look_up.done.wait(seconds):
            with self._lock:
                if self._under_way is look_up:
                    self._under_way = None  # the next try starts a new lookup
            raise TimeoutError("the lookup of the host's name")
        if look_up.failure is not None:
            raise UnknownHost(look_up.failure.errno, look_up.failure.strerror)
        return look_up.addresses

    def _begin(self) -> _LookUp:
        look_up = self._under_way = _LookUp(self._host, self._port)
        numeric = _as_address(self._host, self._port)
        if numeric:
            look_up.addresses = numeric
            look_up.done.set()
            self._keep(look_up)
            return look_up

        def run() -> None:
            look_up.run()
            with self._lock:
                self._keep(look_up)

        try:
            threading.Thread(target=run, name="look-up", daemon=True).start()
        except RuntimeError:  # this host refuses another thread: the system bounds the time
            look_up.run()
            self._keep(look_up)
        return look_up

    def _keep(self, look_up: _LookUp) -> None:
        if self._under_way is look_up:
            self._under_way = None
        self._found, self._found_at = look_up.addresses, self._clock()


def _resolve(host: str, port: int, flags: int = 0) -> list[Address]:
    # Bytes are used unchanged: the URL parser has already converted the name to the form of DNS.
    return list(socket.getaddrinfo(host.encode("ascii"), port, 0, socket.SOCK_STREAM, 0, flags))


def _as_address(host: str, port: int) -> list[Address]:
    """Return the address if the host is given as one; [] if it has to be looked up."""
    try:
        return _resolve(host, port, socket.AI_NUMERICHOST)
    except (OSError, UnicodeError):
        return []


def connect(
    addresses: list[Address], seconds: float, check: Callable[[], None] = lambda: None
) -> socket.socket:
    """Return a connected, non-blocking socket to the first address that answers.

    `check` is called several times a second, and may raise. Raises `TimeoutError` if none answers
    in time, otherwise the `OSError` of the last one that failed.
    """
    race = _Race(alternating(addresses), seconds)
    try:
        while True:
            check()
            winner = race.step()
            if winner is not None:
                return winner
    finally:
        race.close()


def alternating(addresses: list[Address]) -> list[Address]:
    """Return the addresses in their order, with alternating families (RFC 8305, 4)."""
    families: dict[Any, list[Address]] = {}
    for address in addresses:
        families.setdefault(address[0], []).append(address)
    mixed: list[Address] = []
    while families:
        for family in list(families):
            mixed.append(families[family].pop(0))
            if not families[family]:
                del families[family]
    return mixed


class _Race:
    """Connection attempts in parallel; all but the successful one are closed at the end."""

    def __init__(self, addresses: list[Address], seconds: float) -> None:
        now = time.monotonic()
        self._waiting = addresses
        self._deadline = now + seconds
        # Every address is tried within half of the time.
        self._head_start = min(HEAD_START, seconds / 2 / max(1, len(addresses)))
        self._next_start = now
        self._failure: OSError = UnknownHost(0, "no address")
        self._selector = selectors.DefaultSelector()

    def close(self) -> None:
        """Close all other sockets."""
        for key in list(self._selector.get_map().values()):
            _socket_of(key).close()
        self._selector.close()

    def step(self) -> socket.socket | None:
        """Start attempts that are due, and wait a moment. Return a connected socket, if any."""
        now = time.monotonic()
        if now >= self._deadline:
            raise TimeoutError("no connection")
        racing = len(self._selector.get_map())
        if self._waiting and (now >= self._next_start or not racing):
            self._start(self._waiting.pop(0), now)
            return None
        if not racing:
            raise self._failure
        until = min(self._deadline, now + HEAD_START)
        if self._waiting:
            until = min(until, self._next_start)
        for key, _ in self._selector.select(max(0.0, until - now)):
            sock = _socket_of(key)
            self._selector.unregister(sock)
            number = sock.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR)
            if not number:
                return sock
            self._lose(sock, number)
        return None

    def _start(self, address: Address, now: float) -> None:
        family, kind, protocol, _, place = address
        self._next_start = now + self._head_start
        try:
            sock = socket.socket(family, kind, protocol)
        except OSError as error:
            self._failure = error
            self._next_start = now
            return
        sock.setblocking(False)
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        number = sock.connect_ex(place)
        if number in _UNDER_WAY:
            self._selector.register(sock, selectors.EVENT_WRITE)
        else:
            self._lose(sock, number)

    def _lose(self, sock: socket.socket, number: int) -> None:
        sock.close()
        self._failure = OSError(number, os.strerror(number))
        self._next_start = time.monotonic()  # the next one need not wait


def _socket_of(key: selectors.SelectorKey) -> socket.socket:
    assert isinstance(key.fileobj, socket.socket)  # noqa: S101 - nothing else is registered
    return key.fileobj
