"""An HTTP store on loopback that misbehaves by rule, and remembers what it was asked.

    rules = [Rule(status(503, retry_after="1"), "PUT", tries={1, 2})]
    with FaultyServer(*rules) as server:
        run_worker(upload(path, server.url))
        assert server.tries("PUT", some_hash) == 3

Without a rule that fits it is an honest store in memory (`FaultyServer.chunks`). A rule fits by
method, by chunk, by the number of the try (counted from 1 for each method and chunk) and by the
number of the request (counted from 1 for each method). The first that fits is used. A fault is a
function of the `Exchange` at hand; the factories below make all that the tests need.
"""

from __future__ import annotations

import contextlib
import select
import socket
import struct
import threading
import time
from dataclasses import dataclass, field
from http import HTTPStatus
from typing import TYPE_CHECKING, Protocol

from tests.support.processes import HOST
from tests.support.waiting import wait_until

if TYPE_CHECKING:
    import ssl
    from collections.abc import Callable, Container, Iterator

    from typing_extensions import Self

BLOCK = 16 * 1024
# Small enough for a sender to notice that nobody reads: a chunk does not fit into the buffers.
RECEIVE_BUFFER = 32 * 1024


class Every:
    """Contains each number: every try, every request."""

    def __contains__(self, number: object) -> bool:
        return True


EVERY = Every()
FIRST = frozenset({1})


@dataclass
class Record:
    """A request as the server saw it; times are `time.monotonic` seconds."""

    method: str
    key: str
    attempt: int
    connection: int
    length: int
    headers: dict[str, str]
    started: float
    ended: float = 0.0
    received: int = 0
    target: str = ""
    status: int | None = None
    fault: str | None = None


@dataclass
class Answer:
    """What is sent back: ``length`` is what the head claims, None for no Content-Length."""

    status: int
    body: bytes = b""
    headers: dict[str, str] = field(default_factory=dict)
    length: int | None = None

    def head(self) -> bytes:
        """Return the status line and the headers as they go over the wire."""
        lines = [f"HTTP/1.1 {self.status} {phrase(self.status)}"]
        lines += [f"{name}: {value}" for name, value in self.headers.items()]
        if self.length is not None:
            lines.append(f"Content-Length: {self.length}")
        return ("\r\n".join(lines) + "\r\n\r\n").encode("latin-1")


class Fault(Protocol):
    """Answers, or fails to answer, a request whose head has been read."""

    def __call__(self, exchange: Exchange, /) -> None: ...


@dataclass(frozen=True)
class Rule:
    """When a fault strikes.

    Args:
        fault: what happens.
        methods: the methods it is for, separated by spaces.
        tries: which tries of a chunk, from 1.
        nth: which requests of a method, from 1.
        key: one chunk, or None for all.
    """

    fault: Fault
    methods: str = "PUT GET HEAD"
    tries: Container[int] = EVERY
    nth: Container[int] = EVERY
    key: str | None = None

    def fits(self, record: Record, number: int) -> bool:
        """Tell whether it strikes this request, the ``number``-th of its method."""
        return (
            record.method in self.methods.split()
            and record.attempt in self.tries
            and number in self.nth
            and self.key in {None, record.key}
        )


class Gone(Exception):
    """The client closed, or the server is closing."""


class Connection:
    """A socket with just what the exchanges need."""

    def __init__(self, sock: socket.socket, number: int) -> None:
        self.sock = sock
        self.number = number
        self._buffer = bytearray()

    def secure(self, context: ssl.SSLContext) -> None:
        """Speak TLS from here on."""
        try:
            self.sock = context.wrap_socket(self.sock, server_side=True)
        except OSError as error:
            raise Gone from error

    def read_head(self) -> bytes:
        """Read up to the empty line."""
        while b"\r\n\r\n" not in self._buffer:
            self._fill()
        head, _, rest = bytes(self._buffer).partition(b"\r\n\r\n")
        self._buffer[:] = rest
        return head

    def read(self, count: int) -> bytes:
        """Read exactly ``count`` bytes."""
        while len(self._buffer) < count:
            self._fill()
        data = bytes(self._buffer[:count])
        del self._buffer[:count]
        return data

    def send(self, data: bytes) -> None:
        """Send all of ``data``."""
        try:
            self.sock.sendall(data)
        except OSError as error:
            raise Gone from error

    def close(self) -> None:
        """Shut down and close the connection."""
        with contextlib.suppress(OSError):
            self.sock.shutdown(socket.SHUT_RDWR)
        self.sock.close()

    def reset(self) -> None:
        """Reset the TCP connection."""
        linger = struct.pack("ii", 1, 0)
        with contextlib.suppress(OSError):
            self.sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger)
        self.sock.close()

    def _fill(self) -> None:
        try:
            block = self.sock.recv(BLOCK)
        except OSError as error:
            raise Gone from error
        if not block:
            raise Gone
        self._buffer += block


@dataclass
class Exchange:
    """One request and what becomes of it."""

    server: FaultyServer
    connection: Connection
    record: Record
    body: bytes = b""

    @property
    def target(self) -> str:
        """What was asked for: the path and the query."""
        return self.record.target

    def receive(self, share: float = 1.0) -> bytes:
        """Read the request's body up to ``share`` of its length; return what came so far."""
        wanted = int(self.record.length * share)
        while len(self.body) < wanted:
            self.body += self.connection.read(min(BLOCK, wanted - len(self.body)))
            self.record.received = len(self.body)
        return self.body

    def honest(self) -> Answer:
        """Do what a good store does, and return what it would answer."""
        with self.server.lock:
            return getattr(self, f"_{self.record.method.lower()}", self._unknown)()

    def send(self, answer: Answer) -> None:
        """Send an answer; to HEAD without its body."""
        self.record.status = answer.status
        body = b"" if self.record.method == "HEAD" else answer.body
        self.connection.send(answer.head() + body)

    def wait(self, seconds: float | None = None) -> None:
        """Pass time, at most until the server is closed.

        Raises:
            Gone: it was closed.
        """
        if self.server.closing.wait(seconds):
            raise Gone

    def _put(self) -> Answer:
        known = self.record.key in self.server.chunks
        self.server.chunks[self.record.key] = self.receive()
        return Answer(204 if known else 201, length=None if known else 0)

    def _get(self) -> Answer:
        body = self.server.chunks.get(self.record.key)
        return Answer(404, length=0) if body is None else Answer(200, body, length=len(body))

    _head = _get

    def _unknown(self) -> Answer:
        return Answer(405, length=0)


class FaultyServer:
    """The server; it serves while its ``with`` block lasts.

    Args:
        rules: the faults, the first that fits wins.
        connections: what happens to new connections by their number, from 1, before anything is
            read: "reset", "close" or "stall".
        tls: serve https.
        most: how many connections are served at once; what is above that is reset.
    """

    def __init__(
        self,
        *rules: Rule,
        connections: Callable[[int], str | None] | None = None,
        tls: ssl.SSLContext | None = None,
        most: int | None = None,
    ) -> None:
        self._tls = tls
        self._most = most
        self.rules = list(rules)
        self.chunks: dict[str, bytes] = {}
        self.records: list[Record] = []
        self.lock = threading.RLock()
        self.closing = threading.Event()
        self._on_connect = connections or (lambda _: None)
        self._accepted = 0
        self._open: set[Connection] = set()
        self._threads: list[threading.Thread] = []
        self._listener: socket.socket | None = None
        self.port = 0

    @property
    def url(self) -> str:
        """The store's URL."""
        return f"{'https' if self._tls else 'http'}://{HOST}:{self.port}/chunks"

    def requests(self, method: str | None = None, key: str | None = None) -> list[Record]:
        """Return the requests so far, of one method, for one chunk."""
        with self.lock:
            return [r for r in self.records if method in {None, r.method} and key in {None, r.key}]

    def tries(self, method: str, key: str) -> int:
        """Return how often a chunk was asked for with a method."""
        return len(self.requests(method, key))

    def peak_in_flight(self, method: str | None = None, since: float = 0.0) -> int:
        """Return how many requests were under way at once at most."""
        now = time.monotonic()
        records = [r for r in self.requests(method) if r.started >= since]
        moments = [(r.started, 1) for r in records] + [(r.ended or now, -1) for r in records]
        peak = level = 0
        for _, step in sorted(moments):
            level += step
            peak = max(peak, level)
        return peak

    def settle(self) -> None:
        """Wait until no connection is open: what a killed client had sent is dealt with."""
        wait_until(lambda: not (self._open or self._pending()))

    def _pending(self) -> bool:
        return bool(self._listener and select.select([self._listener], [], [], 0)[0])

    def come_back(self) -> None:
        """Listen, on the port of before if there was one."""
        listener = socket.socket()
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, RECEIVE_BUFFER)
        listener.bind((HOST, self.port))
        listener.listen(128)
        self.port = int(listener.getsockname()[1])
        self._listener = listener
        self._run(self._accept, listener)

    def go_away(self) -> None:
        """Refuse connections from now on, and reset open ones."""
        if self._listener:
            with contextlib.suppress(OSError):
                self._listener.shutdown(socket.SHUT_RDWR)
            self._listener.close()
            self._listener = None
        with self.lock:
            connections = list(self._open)
        for connection in connections:
            with contextlib.suppress(OSError):
                connection.sock.shutdown(socket.SHUT_RDWR)

    def be_away(self, seconds: float) -> None:
        """Stop, and start again after a time."""

        def later() -> None:
            if not self.closing.wait(seconds):
                self.come_back()

        self.go_away()
        self._run(later)

    def __enter__(self) -> Self:
        self.come_back()
        return self

    def __exit__(self, *_error: object) -> None:
        self.closing.set()
        self.go_away()
        for thread in self._threads:
            thread.join(10)

    def _run(self, function: Callable[..., None], *arguments: object) -> None:
        thread = threading.Thread(target=function, args=arguments, daemon=True)
        self._threads.append(thread)
        thread.start()

    def _accept(self, listener: socket.socket) -> None:
        while True:
            try:
                sock, _ = listener.accept()
            except OSError:
                return
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            self._accepted += 1
            connection = Connection(sock, self._accepted)
            with self.lock:
                self._open.add(connection)
            self._run(self._serve, connection)

    def _serve(self, connection: Connection) -> None:
        try:
            fault = self._on_connect(connection.number)
            with self.lock:
                if self._most is not None and len(self._open) > self._most:
                    fault = "reset"
            if self._tls:
                connection.secure(self._tls)
            if fault == "stall":
                self.closing.wait()
            elif fault == "reset":
                connection.reset()
            elif fault is None:
                while self._exchange(connection):
                    pass
        except Gone:
            pass
        finally:
            with self.lock:
                self._open.discard(connection)
            connection.close()

    def _exchange(self, connection: Connection) -> bool:
        """Take one request; tell whether another one may follow on the connection."""
        record = self._record(connection.read_head().decode("latin-1"), connection.number)
        exchange = Exchange(self, connection, record)
        with self.lock:
            number = len(self.requests(record.method))
            rule = next((rule for rule in self.rules if rule.fits(record, number)), None)
        try:
            if rule:
                record.fault = getattr(rule.fault, "__qualname__", str(rule.fault)).split(".")[0]
                rule.fault(exchange)
            else:
                exchange.receive()
                exchange.send(exchange.honest())
        finally:
            record.ended = time.monotonic()
        # What is left of a body would be taken for the next request.
        return connection.sock.fileno() >= 0 and record.received == record.length

    def _record(self, head: str, connection: int) -> Record:
        request, *lines = head.split("\r\n")
        method, target, _ = request.split(" ")
        headers = {n.lower(): v.strip() for n, _, v in (line.partition(":") for line in lines)}
        key = target.partition("?")[0].rpartition("/")[2]
        length = int(headers.get("content-length", "0"))
        with self.lock:
            attempt = self.tries(method, key) + 1
            record = Record(method, key, attempt, connection, length, headers, time.monotonic())
            record.target = target
            self.records.append(record)
        return record


def phrase(code: int) -> str:
    """Return the reason phrase of a status."""
    try:
        return HTTPStatus(code).phrase
    except ValueError:
        return "Unheard Of"


# The faults. Each factory returns a function of the exchange.


def status(
    code: int,
    *,
    retry_after: str | None = None,
    location: str | None = None,
    body: bytes = b"no\n",
    early: bool = False,
) -> Fault:
    """Answer with a status.

    Args:
        code: the status.
        retry_after: the header's value: seconds or an HTTP date.
        location: where a redirect leads to.
        body: what is sent with it.
        early: do not read the request's body, and close.
    """
    headers = {"Retry-After": retry_after, "Location": location}

    def status(exchange: Exchange) -> None:
        if not early:
            exchange.receive()
        given = {name: value for name, value in headers.items() if value is not None}
        exchange.send(Answer(code, body, given, len(body)))
        if early:
            exchange.connection.close()

    return status


def honest_after(seconds: float) -> Fault:
    """Wait, then answer correctly."""

    def honest_after(exchange: Exchange) -> None:
        exchange.receive()
        exchange.wait(seconds)
        exchange.send(exchange.honest())

    return honest_after


def broken(*, where: str, reset: bool) -> Fault:
    """Break the connection.

    Args:
        where: "head": nothing but the head was read. "body": in the middle of the body, the
            request's or for GET the answer's. "answer": all was done, only the answer is missing.
        reset: by a TCP reset; else by closing.
    """

    def broken(exchange: Exchange) -> None:
        if where == "body":
            half_way(exchange)
        elif where == "answer":
            exchange.receive()
            exchange.honest()
        if reset:
            exchange.connection.reset()
        else:
            exchange.connection.close()

    return broken


def stalled(*, where: str) -> Fault:
    """Stop answering, with an open connection; ``where`` is that of `broken`."""

    def stalled(exchange: Exchange) -> None:
        if where == "body":
            half_way(exchange)
        elif where == "answer":
            exchange.receive()
        exchange.wait()

    return stalled


def trickled(*, where: str, pause: float = 0.5) -> Fault:
    """Move one byte after each pause.

    Args:
        where: "request": read the request's body so. "head" or "body": send the answer's so.
        pause: seconds between two bytes.
    """

    def trickled(exchange: Exchange) -> None:
        if where == "request":
            for count in range(exchange.record.length):
                exchange.receive((count + 1) / exchange.record.length)
                exchange.wait(pause)
        exchange.receive()
        answer = exchange.honest()
        head = answer.head()
        if where != "head":
            exchange.connection.send(head)
            head = b""
        body = b"" if exchange.record.method == "HEAD" else answer.body
        for byte in head + body:
            exchange.connection.send(bytes([byte]))
            exchange.wait(pause)

    return trickled


def claimed_length(change: int, *, close: bool = True) -> Fault:
    """Claim a length that is ``change`` bytes off the body's, send the body, and close."""

    def claimed_length(exchange: Exchange) -> None:
        exchange.receive()
        answer = exchange.honest()
        answer.length = len(answer.body) + change
        exchange.send(answer)
        if close:
            exchange.connection.close()

    return claimed_length


def other_body(change: Callable[[bytes], bytes]) -> Fault:
    """Send a changed body with its right length; of a PUT keep a changed body, and call it well."""

    def other_body(exchange: Exchange) -> None:
        exchange.body = exchange.receive()
        answer = exchange.honest()
        if exchange.record.method == "PUT":
            with exchange.server.lock:
                exchange.server.chunks[exchange.record.key] = change(exchange.body)
        else:
            answer.body = change(answer.body)
            answer.length = len(answer.body)
        exchange.send(answer)

    return other_body


def flipped(body: bytes) -> bytes:
    """Flip one bit in the middle."""
    middle = len(body) // 2
    return body[:middle] + bytes([body[middle] ^ 1]) + body[middle + 1 :]


def halved(body: bytes) -> bytes:
    """Leave out the second half."""
    return body[: len(body) // 2]


def endless(*, where: str = "body") -> Fault:
    """Do what is right, and then answer without an end, as fast as it is taken.

    Args:
        where: "body", "head" for headers, "continue" for answers that announce another one,
            "trailer" for what follows a whole body.
    """
    beginning, filler = {
        "body": (b"\r\n", b"filler\r\n"),
        "head": (b"", b"X-Filler: filler\r\n"),
        "continue": (b"", b"HTTP/1.1 100 Continue\r\n\r\n"),
        "trailer": (b"Transfer-Encoding: chunked\r\n\r\n", b"X-Filler: filler\r\n"),
    }[where]

    def endless(exchange: Exchange) -> None:
        exchange.receive()
        answer = exchange.honest()
        if where != "continue":
            exchange.connection.send(b"HTTP/1.1 200 OK\r\n" + beginning)
        if where == "trailer":
            size = f"{len(answer.body):x}\r\n".encode() if answer.body else b""
            exchange.connection.send(size + answer.body + (b"\r\n" if size else b"") + b"0\r\n")
        while not exchange.server.closing.is_set():
            exchange.connection.send(filler * 1000)

    return endless


def malformed_head() -> Fault:
    """Do what is right, with a line among the headers that is none."""

    def malformed_head(exchange: Exchange) -> None:
        exchange.receive()
        answer = exchange.honest()
        head = answer.head().removesuffix(b"\r\n") + b"no header at all\r\n\r\n"
        exchange.record.status = answer.status
        exchange.connection.send(head + answer.body)

    return malformed_head


def head_with_body() -> Fault:
    """Answer HEAD with a body, which nobody may expect."""

    def head_with_body(exchange: Exchange) -> None:
        answer = exchange.honest()
        body = answer.body or b"nothing here"
        exchange.connection.send(Answer(answer.status, length=len(body)).head() + body)

    return head_with_body


def slow_reader(*, bytes_per_second: int) -> Fault:
    """Take a request's body at a steady pace, then do what is right."""

    def slow_reader(exchange: Exchange) -> None:
        step = 0.05
        share = bytes_per_second * step / max(1, exchange.record.length)
        while exchange.record.received < exchange.record.length:
            exchange.receive(min(1.0, exchange.record.received / exchange.record.length + share))
            exchange.wait(step)
        exchange.send(exchange.honest())

    return slow_reader


def not_http(data: bytes = b"SSH-2.0-OpenSSH_9.2\r\n") -> Fault:
    """Answer with something else than HTTP, and close."""

    def not_http(exchange: Exchange) -> None:
        exchange.receive()
        exchange.connection.send(data)
        exchange.connection.close()

    return not_http


def truncated_object() -> Fault:
    """Break off in the middle of a PUT and keep what came: from then on it "exists"."""

    def truncated_object(exchange: Exchange) -> None:
        kept = exchange.receive(0.5)
        with exchange.server.lock:
            exchange.server.chunks[exchange.record.key] = kept
        exchange.connection.close()

    return truncated_object


def half_way(exchange: Exchange) -> None:
    """Receive half of a request's body, or send half of the answer's."""
    if exchange.record.length:
        exchange.receive(0.5)
        return
    answer = exchange.honest()
    exchange.connection.send(answer.head() + answer.body[: len(answer.body) // 2])


@contextlib.contextmanager
def deaf_port() -> Iterator[int]:
    """Hold a port where connecting takes for ever: nobody accepts, and the queue is full."""
    with contextlib.ExitStack() as stack:
        listener = stack.enter_context(socket.socket())
        listener.bind((HOST, 0))
        listener.listen(0)
        port = int(listener.getsockname()[1])
        for _ in range(8):
            filler = stack.enter_context(socket.socket())
            filler.setblocking(False)
            with contextlib.suppress(BlockingIOError):
                filler.connect((HOST, port))
        time.sleep(0.05)
        yield port
