"""The line with a delay and a rate that the far benchmark measures over.

It must never be better than it says, however busy the machine is. That it is no worse needs a quiet
moment: so the best of many tries counts, as many as a minute has room for.
"""

from __future__ import annotations

import contextlib
import shutil
import socket
import threading
import time
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

import pytest

from benchmarks.far_servers import line
from tests.support.data import noise

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

pytestmark = pytest.mark.skipif(not shutil.which("go"), reason="go is not installed")

ROUND_TRIP = 0.05
RATE = 4_000_000
SIZE = 1_000_000
WITHIN = 1.15
"""How far the best try may be above what was asked for."""
SHORT = 0.99
"""What a clock that is read in two programs may leave out."""
PATIENCE = 60.0


class Server:
    """Does what the first byte of a connection says, until the connection ends.

    "e" sends back all that comes; "u" reads `SIZE` bytes and then sends one; "d" sends as many.
    """

    def __init__(self) -> None:
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.address = "{}:{}".format(*self._listener.getsockname())
        self._accepting = threading.Thread(target=self._accept, daemon=True)
        self._accepting.start()

    def close(self) -> None:
        with contextlib.suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)  # wakes who accepts
        self._accepting.join()
        self._listener.close()

    def _accept(self) -> None:
        with contextlib.suppress(OSError):
            while True:
                connection, _ = self._listener.accept()
                threading.Thread(target=self._serve, args=(connection,), daemon=True).start()

    def _serve(self, connection: socket.socket) -> None:
        with connection, contextlib.suppress(OSError):
            what = connection.recv(1)
            if what == b"d":
                connection.sendall(bytes(SIZE))
            elif what == b"u":
                read(connection, SIZE)
                connection.sendall(b".")
            while what == b"e" and (data := connection.recv(65536)):
                connection.sendall(data)


def read(connection: socket.socket, size: int) -> bytes:
    """Read so many bytes, fewer where the stream ends before."""
    data = bytearray()
    while len(data) < size and (more := connection.recv(min(65536, size - len(data)))):
        data += more
    return bytes(data)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where the program is built once."""
    return tmp_path_factory.mktemp("line")


@pytest.fixture(scope="module")
def server() -> Iterator[Server]:
    found = Server()
    yield found
    found.close()


@contextlib.contextmanager
def connected(url: str, what: bytes) -> Iterator[socket.socket]:
    """Connect to the server over a line; whatever the server is asked for has begun."""
    parts = urlsplit(url)
    assert parts.hostname
    assert parts.port
    with socket.create_connection((parts.hostname, parts.port), timeout=PATIENCE) as connection:
        connection.sendall(what)
        yield connection


def seconds(work: Callable[[], object]) -> float:
    began = time.monotonic()
    work()
    return time.monotonic() - began


def check(work: Callable[[], object], wanted: float) -> None:
    """Have work take as long as is wanted: never less, and at its best hardly more."""
    deadline = time.monotonic() + PATIENCE
    while True:
        took = seconds(work)
        assert took >= wanted * SHORT
        if took <= wanted * WITHIN:
            return
        assert time.monotonic() < deadline, f"{took:.3f} s and never less, wanted {wanted:.3f} s"


def test_a_round_trip_takes_what_was_asked_for(folder: Path, server: Server) -> None:
    def one_byte() -> None:
        connection.sendall(b"x")
        assert connection.recv(1) == b"x"

    delay = ROUND_TRIP * 1000
    with line(folder, server.address, delay, 0) as url:
        began = time.monotonic()
        with connected(url, b"e") as connection:
            one_byte()
            took = time.monotonic() - began
            assert took >= 2 * ROUND_TRIP * SHORT, "connecting costs one, too"
            check(one_byte, ROUND_TRIP)


def test_what_goes_in_comes_out_and_ends(folder: Path, server: Server) -> None:
    data = noise(300_000)
    with line(folder, server.address, 2, 80) as url, connected(url, b"e") as connection:
        sender = threading.Thread(target=connection.sendall, args=(data,))
        sender.start()
        assert read(connection, len(data)) == data
        sender.join()
        connection.shutdown(socket.SHUT_WR)
        assert connection.recv(1) == b""


@pytest.mark.parametrize("connections", [1, 3])
@pytest.mark.parametrize("way", [b"u", b"d"], ids=["up", "down"])
def test_all_connections_share_the_rate(
    way: bytes, connections: int, folder: Path, server: Server
) -> None:
    def one() -> None:
        with connected(url, way) as connection:
            if way == b"u":
                connection.sendall(bytes(SIZE // connections))
                connection.shutdown(socket.SHUT_WR)
                assert connection.recv(1) == b"."
            else:
                assert len(read(connection, SIZE)) == SIZE

    def all_at_once() -> None:
        threads = [threading.Thread(target=one) for _ in range(connections)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()

    moved = SIZE if way == b"u" else SIZE * connections
    with line(folder, server.address, 0, RATE * 8 / 1e6) as url:
        check(all_at_once, moved / RATE)
