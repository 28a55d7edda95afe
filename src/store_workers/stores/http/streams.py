"""Non-blocking byte streams to a server, plain or with TLS.

Both raise `BlockingIOError` instead of waiting; the connection decides how long to wait. So it can
read an answer while it is still sending.
"""

from __future__ import annotations

import socket
import threading
from contextlib import suppress

from store_workers.threads import check_own_work

TYPE_CHECKING = False
if TYPE_CHECKING:
    import ssl
    from typing import Protocol

    from store_workers.transfer.rate_limit import RateLimit

    class Stream(Protocol):
        """Bytes in both directions."""

        least_rate: float
        """Bytes per second that a transfer must move, over the time of one timeout."""

        def send(self, views: list[memoryview]) -> int:
            """Send from the start of `views`. Return the number of accepted bytes."""

        def flush(self) -> None:
            """Send accepted bytes that are still buffered."""

        def receive(self, most: int) -> bytes:
            """Return received bytes, at most so many; b"" at the end."""

        def fileno(self) -> int:
            """The socket's descriptor, for waiting."""

        def shut_down(self) -> None:
            """Shut down both directions, which wakes waiting threads. Safe from any thread."""

        def close(self) -> None:
            """Close it."""


LEAST_RATE = 1024

MOST_VIEWS = 512
"""Pieces per call: the system has a limit (`IOV_MAX`, at least 16 in POSIX)."""

RECORDS = 64 * 1024
"""Bytes that are encrypted at once: a few TLS records, so that little is buffered."""

CIPHERTEXT = 128 * 1024


class Stopped(OSError):
    """The transport was closed."""


class OpenStreams:
    """The open sockets of a transport. Safe from many threads.

    `rate_limit` applies to all of them.
    """

    def __init__(self, rate_limit: RateLimit | None = None) -> None:
        self._rate_limit = rate_limit
        self._lock = threading.Lock()
        self._streams: set[PlainStream] = set()
        self.is_closed = False

    def check(self) -> None:
        """Raise `Stopped` after closing, and `Abandoned` if the caller's work is over."""
        check_own_work()
        if self.is_closed:
            raise Stopped("closed")

    def add(self, sock: socket.socket) -> PlainStream:
        """Register a socket, until its stream is closed. Raises `Stopped`."""
        if self._rate_limit is None:
            stream = PlainStream(sock, self)
        else:
            stream = LimitedStream(sock, self, self._rate_limit)
        with self._lock:
            if not self.is_closed:
                self._streams.add(stream)
                return stream
        stream.close()
        raise Stopped("closed")

    def remove(self, stream: PlainStream) -> None:
        """Remove a closed stream."""
        with self._lock:
            self._streams.discard(stream)

    def end_all(self) -> None:
        """Shut down all streams, which wakes waiting threads, and accept no further one."""
        with self._lock:
            self.is_closed = True
            streams = list(self._streams)
        for stream in streams:
            stream.shut_down()


class PlainStream:
    """A connected, non-blocking socket."""

    least_rate: float = LEAST_RATE

    def __init__(self, sock: socket.socket, among: OpenStreams) -> None:
        self._socket = sock
        self._among = among
        self._gathers = hasattr(sock, "sendmsg")  # not on Windows

    def send(self, views: list[memoryview]) -> int:
        if self._gathers:
            return self._socket.sendmsg(views[:MOST_VIEWS])
        return self._socket.send(views[0])

    def flush(self) -> None:
        """Do nothing: nothing is buffered."""

    def receive(self, most: int) -> bytes:
        return self._socket.recv(most)

    def fileno(self) -> int:
        return self._socket.fileno()

    def shut_down(self) -> None:
        with suppress(OSError):  # it is no longer connected
            self._socket.shutdown(socket.SHUT_RDWR)

    def close(self) -> None:
        self._among.remove(self)
        self._socket.close()


class LimitedStream(PlainStream):
    """A connected socket with a rate limit, which waits if the limit is reached.

    It moves them in small pieces, so that no wait is long.
    """

    def __init__(self, sock: socket.socket, among: OpenStreams, limit: RateLimit) -> None:
        super().__init__(sock, among)
        self._limit = limit
        self.least_rate = limit.least_each

    def send(self, views: list[memoryview]) -> int:
        piece = views[0][: self._limit.piece]
        self._limit.take(len(piece))
        sent = 0
        try:
            sent = super().send([piece])
        finally:
            if sent < len(piece):
                self._limit.give_back(len(piece) - sent)
        return sent

    def receive(self, most: int) -> bytes:
        data = super().receive(min(most, self._limit.piece))
        self._limit.take(len(data))
        return data


class SecureStream:
    """TLS over another stream, which can itself use TLS: a server behind a proxy at https.

    The library reads from and writes to memory, and this class transfers the ciphertext. So both
    directions are independent, and any thread can shut down the socket.
    """

    def __init__(self, inner: Stream, context: ssl.SSLContext, host: str) -> None:
        import ssl

        self._inner = inner
        self._incoming = ssl.MemoryBIO()
        self._outgoing = ssl.MemoryBIO()
        self._wants = (ssl.SSLWantReadError, ssl.SSLWantWriteError)
        self._ended = (ssl.SSLEOFError, ssl.SSLZeroReturnError)
        self._object = context.wrap_bio(self._incoming, self._outgoing, server_hostname=host)
        self._unsent = memoryview(b"")
        self.least_rate = inner.least_rate

    def shake_hands(self) -> bool:
        """Continue the handshake. Raises `BlockingIOError`, `ssl.SSLError`."""
        while True:
            try:
                self._object.do_handshake()
            except self._wants:
                self.flush()
                if not self._fill():
                    raise ConnectionResetError("closed in the handshake") from None
                continue
            except OSError:
                self._flush_alert()
                raise
            self.flush()
            return True

    def send(self, views: list[memoryview]) -> int:
        self.flush()
        try:
            count = self._object.write(views[0][:RECORDS])
        except self._wants:
            raise BlockingIOError from None
        with suppress(BlockingIOError):  # it is sent before anything else
            self.flush()
        return count

    def flush(self) -> None:
        while True:
            if not self._unsent:
                self._unsent = memoryview(self._outgoing.read(CIPHERTEXT))
                if not self._unsent:
                    return
            sent = self._inner.send([self._unsent])
            self._unsent = self._unsent[sent:]

    def receive(self, most: int) -> bytes:
        while True:
            try:
                return self._object.read(most)
            except self._wants:
                # An end without TLS's close message: HTTP tells whether an answer is complete.
                if not self._fill():
                    return b""
            except self._ended:
                return b""

    def _fill(self) -> bool:
        """Read ciphertext. Return false at the end. Raises `BlockingIOError` without any."""
        data = self._inner.receive(CIPHERTEXT)
        if not data:
            return False
        self._incoming.write(data)
        return True

    def _flush_alert(self) -> None:
        """Send TLS alerts, if possible without waiting."""
        with suppress(OSError):
            self.flush()

    def fileno(self) -> int:
        return self._inner.fileno()

    def shut_down(self) -> None:
        self._inner.shut_down()

    def close(self) -> None:
        self._inner.close()
