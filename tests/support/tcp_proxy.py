"""A TCP proxy before a real server, which hurts connections after a number of bytes.

with TcpProxy(nginx.port, Hurt("reset", "up", after=100_000), connections={1}) as proxy:
run_worker(upload(path, proxy.url))
"""

from __future__ import annotations

import contextlib
import socket
import struct
import threading
from dataclasses import dataclass
from typing import TYPE_CHECKING

from tests.support.processes import HOST

if TYPE_CHECKING:
    from collections.abc import Container

    from typing_extensions import Self

BLOCK = 16 * 1024


@dataclass(frozen=True)
class Hurt:
    """What happens to a connection.

    Args:
        kind: "reset", "close", "stall" (nothing moves any more, in that direction), "flip" (one bit
            of the next byte), "throttle" (the rest moves at ``rate``).
        direction: "up" for what the client sends, "down" for what the server answers.
        after: the bytes of that direction that pass unharmed.
        rate: bytes per second, for "throttle".
    """

    kind: str
    direction: str
    after: int = 0
    rate: int = 1000


class TcpProxy:
    """The proxy; it runs while its ``with`` block lasts.

    Args:
        upstream: the port of the real server.
        hurt: what happens, None for nothing.
        connections: which connections it happens to, by number from 1; None for all.
    """

    def __init__(
        self, upstream: int, hurt: Hurt | None = None, connections: Container[int] | None = None
    ) -> None:
        self.upstream = upstream
        self.hurt = hurt
        self.connections = connections
        self.accepted = 0
        self.passed = {"up": 0, "down": 0}
        self.closing = threading.Event()
        self._listener = socket.create_server((HOST, 0), backlog=128)
        self.port = int(self._listener.getsockname()[1])
        self._lock = threading.Lock()
        self._open: set[socket.socket] = set()
        self._doomed: set[socket.socket] = set()
        self._threads: list[threading.Thread] = []

    @property
    def url(self) -> str:
        """The URL of an HTTP store behind it."""
        return f"http://{HOST}:{self.port}"

    def __enter__(self) -> Self:
        self._run(self._accept)
        return self

    def __exit__(self, *_error: object) -> None:
        self.closing.set()
        shut(self._listener)
        self._listener.close()
        with self._lock:
            for sock in self._open:
                shut(sock)
        for thread in list(self._threads):
            thread.join(10)

    def _run(self, function: object, *arguments: object) -> None:
        assert callable(function)
        thread = threading.Thread(target=function, args=arguments, daemon=True)
        self._threads.append(thread)
        thread.start()

    def _accept(self) -> None:
        while True:
            try:
                client, _ = self._listener.accept()
            except OSError:
                return
            self.accepted += 1
            chosen = self.connections is None or self.accepted in self.connections
            self._run(self._connect, client, self.hurt if chosen else None)

    def _connect(self, client: socket.socket, hurt: Hurt | None) -> None:
        try:
            server = socket.create_connection((HOST, self.upstream), timeout=10)
        except OSError:
            client.close()
            return
        server.settimeout(None)
        pair = (client, server)
        with self._lock:
            self._open.update(pair)
        up = threading.Thread(target=self._pump, args=(*pair, "up", hurt), daemon=True)
        up.start()
        self._pump(server, client, "down", hurt)
        up.join()
        with self._lock:
            self._open.difference_update(pair)
            self._doomed.discard(client)
        for sock in pair:
            sock.close()

    def _pump(
        self, source: socket.socket, target: socket.socket, direction: str, hurt: Hurt | None
    ) -> None:
        """Move bytes one way until either side ends or the hurt ends it."""
        mine = hurt if hurt and hurt.direction == direction else None
        with contextlib.suppress(OSError):
            if mine is None or self._move(source, target, direction, mine.after):
                self._strike(source, target, direction, mine)
        for sock in (source, target):
            if sock not in self._doomed:
                shut(sock)

    def _move(
        self, source: socket.socket, target: socket.socket, direction: str, count: int | None
    ) -> bool:
        """Move ``count`` bytes, or all; tell whether there may be more."""
        moved = 0
        while count is None or moved < count:
            block = source.recv(BLOCK if count is None else min(BLOCK, count - moved))
            if not block:
                return False
            target.sendall(block)
            moved += len(block)
            with self._lock:
                self.passed[direction] += len(block)
        return True

    def _strike(
        self, source: socket.socket, target: socket.socket, direction: str, hurt: Hurt | None
    ) -> None:
        kind = hurt.kind if hurt else None
        if kind == "reset":
            self._doom(source if direction == "up" else target)
            return
        if kind == "close":
            return
        if kind == "stall":
            self.closing.wait()
            return
        if kind == "flip":
            byte = source.recv(1)
            target.sendall(bytes([byte[0] ^ 1]) if byte else b"")
        if hurt and kind == "throttle":
            while not self.closing.wait(0.05):
                if not self._move(source, target, direction, max(1, hurt.rate // 20)):
                    return
            return
        self._move(source, target, direction, None)

    def _doom(self, client: socket.socket) -> None:
        """Have the close of a connection send a TCP reset instead of an end."""
        self._doomed.add(client)
        client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        # Wakes the other direction, so that the socket can be closed; the client sees nothing.
        with contextlib.suppress(OSError):
            client.shutdown(socket.SHUT_RD)


def shut(sock: socket.socket) -> None:
    """Wake whoever waits on a socket, and send an end."""
    with contextlib.suppress(OSError):
        sock.shutdown(socket.SHUT_RDWR)
