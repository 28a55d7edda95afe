"""One connection to a server: requests and their answers, bounded in time and in length.

Common libraries send a whole request before they read an answer, and ignore an error of sending if
an answer arrived. A store that refuses a chunk early then seems silent, and one that answers
without reading the chunk seems to have stored it. Here, both directions are watched while a request
is sent. An answer to a request that was not completely sent counts only if it is a refusal.
"""

from __future__ import annotations

import select
import sys
import time

from store_workers.polling import LONGEST_WAIT
from store_workers.stores.base import LONGEST_ANSWER
from store_workers.stores.http.heads import CHUNKED, TO_THE_END, NotHttp, content_length, take_head
from store_workers.stores.http.streams import LEAST_RATE
from store_workers.threads import check_own_work

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from store_workers.stores.http.heads import Head
    from store_workers.stores.http.streams import Stream

    Events = list[tuple[int, int]]

LONGEST_ON_WIRE = 2 * LONGEST_ANSWER
"""Maximum bytes of one answer with its head, its trailer and interim answers."""

_BLOCK = 64 * 1024
_BODY_BLOCK = 256 * 1024
_LONGEST_LINE = 8 * 1024
_MOST_TRAILERS = 100
_MOST_INTERIM = 1000
_LAST_LOOK = 0.25
"""Seconds to wait for the end of a connection that the server said it would close."""


class Response:
    """A server's answer.

    `headers` is case-insensitive. `body` is cut at the requested length; `cut`: there was more.
    """

    __slots__ = ("body", "cut", "headers", "reason", "status")

    def __init__(
        self,
        status: int,
        reason: str,
        headers: Mapping[str, str],
        body: bytes,
        cut: bool = False,
    ) -> None:
        self.status = status
        self.reason = reason
        self.headers = headers
        self.body = body
        self.cut = cut

    def content_length(self) -> int | None:
        """The announced length in bytes; None if there is none."""
        return content_length(self.headers)


class NotSent(Exception):
    """A server reported success for a request that was not completely sent."""


class MinimumThroughput:
    """Requires that a transfer moves at least `least_rate` in every `timeout` seconds.

    The timeout of a wait bounds only silence: a byte now and then would never exceed it.
    """

    __slots__ = ("_clock", "_least", "_moved", "_since", "_timeout")

    def __init__(
        self,
        timeout: float,
        least_rate: float = LEAST_RATE,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._timeout = timeout
        self._least = least_rate * timeout
        self._clock = clock
        self._since = 0.0
        self._moved = 0

    def moved(self, count: int) -> None:
        """Count transferred bytes. Raises `TimeoutError` if the transfer is too slow."""
        now = self._clock()
        if not self._since:
            self._since = now
        self._moved += count
        if now - self._since >= self._timeout:
            if self._moved < self._least:
                raise TimeoutError(f"moved {self._moved} bytes in {self._timeout:g} s")
            self._since = now
            self._moved = 0


class Connection:
    """Exchanges requests and answers over a stream; `timeout`, in seconds, bounds each silence.

    `answered`: a byte of the current answer arrived. `reusable`: another exchange may follow.
    """

    def __init__(self, stream: Stream, timeout: float) -> None:
        self.stream = stream
        self.timeout = timeout
        self.answered = False
        self.reusable = True
        self._buffer = bytearray()
        self._left = 0
        self._interim = 0
        self._ended = False
        self._throughput = MinimumThroughput(timeout, stream.least_rate)

    def exchange(
        self,
        method: str,
        head: bytes,
        body: list[memoryview],
        longest: Callable[[int], int],
    ) -> Response:
        """Send a request and read its answer; the body is cut at `longest(status)` bytes.

        Raises `TimeoutError`, another `OSError`, `NotHttp` or `NotSent` without an answer that
        counts.
        """
        self.answered = False
        self.reusable = False
        self._left = LONGEST_ON_WIRE
        self._interim = 0
        self._throughput = MinimumThroughput(self.timeout, self.stream.least_rate)
        views = [memoryview(head), *(piece for piece in body if len(piece))]
        early, failure = self._send(views)
        self._throughput = MinimumThroughput(self.timeout, self.stream.least_rate)
        if early is None and failure is not None:
            early = self._left_behind()
            if early is None:
                raise failure
        if early is not None:
            return self._refusal(early, method, longest)
        return self._answer(method, longest, bool(body))

    def ask_tunnel(self, head: bytes, longest: int) -> Response:
        """Send CONNECT and read the proxy's answer; after 2xx the tunnel begins."""
        self._left = LONGEST_ON_WIRE
        early, failure = self._send([memoryview(head)])
        if failure is not None:
            raise failure
        answer = early or self._read_head()
        if 200 <= answer.status < 300:
            return Response(answer.status, answer.reason, answer.headers, b"")
        return self._refusal(answer, "CONNECT", lambda _status: longest)

    def is_idle(self) -> bool:
        """Return whether nothing can be read, as required between two exchanges."""
        try:
            return not self._buffer and not self._has_ended(0.0)
        except OSError:
            return False

    def close(self) -> None:
        """Close the socket."""
        self.stream.close()

    # Sending.

    def _send(self, views: list[memoryview]) -> tuple[Head | None, OSError | None]:
        """Send all. Return the answer that came before the end, and the error that stopped it."""
        views = [view.cast("B") for view in views]
        try:
            while views:
                try:
                    count = self.stream.send(views)
                except BlockingIOError:
                    early = self._until_writable()
                    if early is not None:
                        return early, None
                    continue
                self._throughput.moved(count)
                _drop(views, count)
            return self._flush(), None
        except TimeoutError:
            raise
        except OSError as error:
            return None, error

    def _flush(self) -> Head | None:
        while True:
            try:
                self.stream.flush()
            except BlockingIOError:
                early = self._until_writable()
                if early is not None:
                    return early
            else:
                return None

    def _until_writable(self) -> Head | None:
        """Wait until more can be sent. Return the final answer's head if that comes first."""
        events = self._wait(self.timeout, reading=True, writing=True)
        if not events:
            raise TimeoutError("nothing could be sent")
        if events & _READABLE and self._take_in():
            return self._final_head()
        if self._ended:
            raise ConnectionResetError("closed while a request was sent")
        return None

    def _left_behind(self) -> Head | None:
        """Return the answer that arrived before the server closed the connection, if any."""
        try:
            while self._take_in():
                pass
        except OSError:
            pass
        try:
            return self._final_head()
        except NotHttp:
            return None

    # Receiving.

    def _refusal(self, head: Head, method: str, longest: Callable[[int], int]) -> Response:
        """Read an answer to a request that was not completely sent: only a refusal counts."""
        if head.status < 300:
            raise NotSent(f"answered {head.status} before the whole request was sent")
        response = self._respond(head, method, longest)
        self.reusable = False  # the server would read the next request as the rest of this one
        return response

    def _answer(self, method: str, longest: Callable[[int], int], has_body: bool) -> Response:
        """Read the answer to a request that the system accepted completely."""
        head = self._read_head()
        if has_body and head.status < 300 and undelivered(self.stream.fileno()):
            raise NotSent(f"answered {head.status} before the whole request was delivered")
        response = self._respond(head, method, longest)
        if has_body and head.status < 300:
            self._look_for_a_reset(head)
        return response

    def _respond(self, head: Head, method: str, longest: Callable[[int], int]) -> Response:
        most = longest(head.status)
        try:
            body, whole = self._read_body(head, method, most)
        except (OSError, NotHttp):
            # The text of a refusal is useful, but its status is sufficient.
            if head.status < 300:
                raise
            body, whole = bytes(self._buffer[:most]), False
        self.reusable = whole and head.keeps_connection() and not self._buffer
        return Response(head.status, head.reason, head.headers, body, cut=not whole)

    def _look_for_a_reset(self, head: Head) -> None:
        """Check whether the server closed the connection without reading the request.

        Raises `NotSent`.
        """
        try:
            if self._has_ended(0.0 if head.keeps_connection() else _LAST_LOOK):
                self.reusable = False
        except OSError:
            raise NotSent(f"answered {head.status} and closed the connection") from None

    def _has_ended(self, seconds: float) -> bool:
        """Return whether the server closes, or sends unexpected bytes, within that time.

        Raises the `OSError` of a connection that was reset.
        """
        if self._ended or not self._wait(seconds, reading=True):
            return self._ended
        try:
            self.stream.receive(1)
        except BlockingIOError:
            return False  # data of TLS itself
        return True

    def _read_head(self) -> Head:
        while True:
            head = self._final_head()
            if head is not None:
                return head
            self._more(delivering=not self.answered)

    def _final_head(self) -> Head | None:
        """Return the final answer's head if it has arrived; skip interim answers."""
        while True:
            head = take_head(self._buffer)
            if head is None or not head.is_interim:
                return head
            self._interim += 1
            if head.status == 101 or self._interim > _MOST_INTERIM:
                raise NotHttp("only interim answers")

    def _read_body(self, head: Head, method: str, most: int) -> tuple[bytes, bool]:
        """Return the body, at most so many bytes of it, and whether that is all."""
        length = head.body_length(method)
        if length == CHUNKED:
            return self._read_chunks(most)
        if length == TO_THE_END:
            return self._read_to_the_end(most)
        body = self._read_exactly(min(length, most))
        return body, length <= most

    def _read_exactly(self, count: int) -> bytes:
        if len(self._buffer) >= count:
            body = bytes(self._buffer[:count])
            del self._buffer[:count]
            return body
        blocks = [bytes(self._buffer)]
        missing = count - len(self._buffer)
        self._buffer.clear()
        while missing:
            block = self._receive(min(missing, _BODY_BLOCK))
            if not block:
                self._buffer += b"".join(blocks)
                raise ConnectionResetError("ended in the middle of the answer")
            blocks.append(block)
            missing -= len(block)
        return b"".join(blocks)

    def _read_to_the_end(self, most: int) -> tuple[bytes, bool]:
        while len(self._buffer) < most and self._more_or_end():
            pass
        whole = len(self._buffer) < most
        return self._take(most), whole

    def _read_chunks(self, most: int) -> tuple[bytes, bool]:
        """A body in chunked transfer coding (RFC 9112, 7.1)."""
        blocks: list[bytes] = []
        total = 0
        while total < most:
            size = _chunk_size(self._read_line())
            if not size:
                self._skip_trailer()
                return b"".join(blocks), True
            blocks.append(self._read_exactly(min(size, most - total)))
            total += len(blocks[-1])
            if len(blocks[-1]) == size and self._read_line():
                raise NotHttp("a part of the body that is longer than declared")
        return b"".join(blocks), False

    def _skip_trailer(self) -> None:
        for _ in range(_MOST_TRAILERS):
            if not self._read_line():
                return
        raise NotHttp("a trailer without an end")

    def _read_line(self) -> bytes:
        while (end := self._buffer.find(b"\n")) < 0:
            if len(self._buffer) > _LONGEST_LINE:
                raise NotHttp("a line without an end")
            self._more()
        line = bytes(self._buffer[:end])
        del self._buffer[: end + 1]
        return line.rstrip(b"\r")

    def _take(self, most: int) -> bytes:
        data = bytes(self._buffer[:most])
        del self._buffer[:most]
        return data

    def _more(self, *, delivering: bool = False) -> None:
        """Wait for more of the answer. Raises `ConnectionResetError` at the end of the stream."""
        if not self._more_or_end(delivering=delivering):
            raise ConnectionResetError("ended in the middle of the answer")

    def _more_or_end(self, *, delivering: bool = False) -> bool:
        block = self._receive(_BLOCK, delivering=delivering)
        self._buffer += block
        return bool(block)

    def _receive(self, most: int, *, delivering: bool = False) -> bytes:
        """Return the next bytes, b"" at the end. Raises `TimeoutError`."""
        while True:
            try:
                block = self.stream.receive(most)
            except BlockingIOError:
                if delivering:
                    self._await_delivery()
                elif not self._wait(self.timeout, reading=True):
                    raise TimeoutError("silent") from None
                continue
            self._note(len(block))
            return block

    def _take_in(self) -> bool:
        """Read what has arrived, without waiting. Return false if there is nothing."""
        try:
            block = self.stream.receive(_BLOCK)
        except BlockingIOError:
            return False
        self._note(len(block))
        self._buffer += block
        return bool(block)

    def _note(self, count: int) -> None:
        if not count:
            self._ended = True
            return
        self.answered = True
        self._throughput.moved(count)
        self._left -= count
        if self._left < 0:
            raise NotHttp("an answer without an end")

    # Waiting.

    def _await_delivery(self) -> None:
        """Wait for an answer as long as the system delivers accepted bytes fast enough.

        The system accepts far more than a slow connection carries in one timeout. A store that
        still receives is not silent, although it cannot answer yet. Raises `TimeoutError`.
        """
        left = undelivered(self.stream.fileno())
        while not self._wait(self.timeout, reading=True):
            before, left = left, undelivered(self.stream.fileno())
            if before - left < self.stream.least_rate * self.timeout and (left or not before):
                raise TimeoutError(f"delivered {before - left} bytes in {self.timeout:g} s")

    def _wait(self, seconds: float, *, reading: bool = False, writing: bool = False) -> int:
        return wait(self.stream.fileno(), seconds, reading=reading, writing=writing)


_READABLE, _WRITABLE = 1, 2


def wait(descriptor: int, seconds: float, *, reading: bool = False, writing: bool = False) -> int:
    """Wait for a socket. Return the sum of 1 for readable (or ended) and 2 for writable, or 0."""
    if descriptor < 0:
        raise ConnectionAbortedError("closed")
    if not hasattr(select, "poll"):  # Windows
        return _select(descriptor, seconds, reading, writing)
    poll = select.poll()
    poll.register(
        descriptor, (select.POLLIN if reading else 0) | (select.POLLOUT if writing else 0)
    )
    found = _poll(poll.poll, seconds)
    if not found:
        return 0
    events = found[0][1]
    failed = events & (select.POLLERR | select.POLLHUP | select.POLLNVAL)
    readable = reading and (failed or events & select.POLLIN)
    writable = writing and (failed or events & select.POLLOUT)
    return (_READABLE if readable else 0) | (_WRITABLE if writable else 0)


def _poll(poll: Callable[[int], Events], seconds: float) -> Events:
    """Poll that long at most; raise `Abandoned` soon after the request's message is over."""
    deadline = time.monotonic() + seconds
    while True:
        # Rounded up: with 0 it would not wait.
        found = poll(-int(-min(seconds, LONGEST_WAIT) * 1000 // 1))
        seconds = deadline - time.monotonic()
        if found or seconds <= 0:
            return found
        check_own_work()


def _select(descriptor: int, seconds: float, reading: bool, writing: bool) -> int:
    sockets = [descriptor]
    found = select.select(
        sockets if reading else [], sockets if writing else [], sockets if writing else [], seconds
    )
    return (_READABLE if found[0] else 0) | (_WRITABLE if found[1] or found[2] else 0)


def undelivered(descriptor: int) -> int:
    """Return the sent bytes that the other end has not acknowledged; 0 if not known."""
    try:
        from fcntl import ioctl
        from termios import TIOCOUTQ

        return int.from_bytes(ioctl(descriptor, TIOCOUTQ, bytes(4)), sys.byteorder)
    except (ImportError, OSError):
        return 0


def _drop(views: list[memoryview], count: int) -> None:
    """Remove so many bytes from the beginning."""
    done = 0
    while done < len(views) and count >= len(views[done]):
        count -= len(views[done])
        done += 1
    del views[:done]
    if count:
        views[0] = views[0][count:]


def _chunk_size(line: bytes) -> int:
    digits = line.partition(b";")[0].strip(b" \t")
    try:
        if not digits.isalnum() or len(digits) > 16:
            raise ValueError
        return int(digits, 16)
    except ValueError:
        raise NotHttp("no chunk") from None
