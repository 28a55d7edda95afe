"""Faults of an HTTP store, on upload and download, once and in every try.

One row is one fault; its four cells say how a run ends: the code (None for success), how often the
chunk that decides was tried, and whether tries cost a timeout each. All rows run against the built
artifact, the cells of a row as messages of one session, and some of them also as runs of their own.
The server's own record is the witness of the tries.
"""

from __future__ import annotations

import contextlib
import shutil
import time
from dataclasses import dataclass
from email.utils import formatdate
from typing import TYPE_CHECKING, Any

import pytest

from tests.support import faulty_server as faults
from tests.support.data import MIB
from tests.support.faulty_server import EVERY, FIRST, FaultyServer, Rule
from tests.support.reference import check_stored, in_folder
from tests.support.worker import STALL, Session, Worker, download, run_worker, session, upload

if TYPE_CHECKING:
    from collections.abc import Callable, Container
    from pathlib import Path

    from tests.faults.conftest import Stored
    from tests.support.faulty_server import Fault
    from tests.support.worker import Message, Run

TIMEOUT = 0.6
TRIES = 3
LONGEST_PAUSE = 0.3
SETTINGS = {
    "timeout_ms": int(TIMEOUT * 1000),
    "max_attempts": TRIES,
    "retry_delay_ms": 20,
    "retry_max_delay_ms": int(LONGEST_PAUSE * 1000),
    "concurrency": 8,
    "progress_interval_ms": 0,
}


@dataclass(frozen=True)
class End:
    """How a run ends.

    Args:
        code: of the error, None for success.
        tries: of the chunk that failed, or at most of any chunk where all went well.
        timeouts: how many timeouts the slowest chunk may spend.
        retry_code: of the tries that failed before.
        status: the HTTP status that the error must name.
    """

    code: str | None
    tries: int
    timeouts: int = 0
    retry_code: str = "STORE_UNAVAILABLE"
    status: int | None = None


FINE = End(None, 1)
RECOVERED = End(None, 2)
GIVEN_UP = End("STORE_UNAVAILABLE", TRIES)
REPAIRED = End(None, 2, retry_code="CHUNK_CORRUPT")
DAMAGED = End("CHUNK_CORRUPT", TRIES, retry_code="CHUNK_CORRUPT")
# A try that falls silent costs one timeout; one that trickles may get two before it is found out.
SILENT = (End(None, 2, 1), End("STORE_UNAVAILABLE", TRIES, TRIES))
TRICKLING = (End(None, 2, 2), End("STORE_UNAVAILABLE", TRIES, 2 * TRIES))
TRANSIENT = (RECOVERED, GIVEN_UP)
CORRUPT = (REPAIRED, DAMAGED)
HARMLESS = (FINE, FINE)
# The chunk was stored, only the answer was lost: the next try asks first, and finds it.
STORED = (RECOVERED, RECOVERED)

Ends = tuple[End, End]


@dataclass(frozen=True)
class Row:
    """A fault, and the results of runs with it on the first try of a chunk, and on every try.

    Args:
        name: of the test.
        fault: makes it; None where connections fail.
        put, get: the two ends of an upload whose PUTs, and a download whose GETs, meet it; None
            where the fault makes no sense.
        connections: what becomes of new connections, by their number.
    """

    name: str
    fault: Callable[[], Fault] | None
    put: Ends | None
    get: Ends | None
    connections: str | None = None


def refusal(code: str, status: int) -> Ends:
    return (End(code, 1, status=status), End(code, 1, status=status))


def unavailable(status: int) -> Ends:
    return (RECOVERED, End("STORE_UNAVAILABLE", TRIES, status=status))


def plain_status(code: int, put: Ends, get: Ends) -> Row:
    return Row(str(code), lambda: faults.status(code), put, get)


def passing_status(code: int) -> Row:
    return plain_status(code, unavailable(code), unavailable(code))


def refusing_status(code: int, error: str) -> Row:
    return plain_status(code, refusal(error, code), refusal(error, code))


def in_a_while() -> str:
    return formatdate(time.time() + 60, usegmt=True)


def longer(body: bytes) -> bytes:
    return body + bytes(600 * 1024)


ROWS = [
    # Connections.
    Row("reset at once", None, TRANSIENT, TRANSIENT, connections="reset"),
    Row("closed at once", None, TRANSIENT, TRANSIENT, connections="close"),
    Row("silent at once", None, SILENT, SILENT, connections="stall"),
    Row("reset at head", lambda: faults.broken(where="head", reset=True), TRANSIENT, TRANSIENT),
    Row(
        "closed after head", lambda: faults.broken(where="head", reset=False), TRANSIENT, TRANSIENT
    ),
    Row("reset in body", lambda: faults.broken(where="body", reset=True), TRANSIENT, TRANSIENT),
    Row("closed in body", lambda: faults.broken(where="body", reset=False), TRANSIENT, TRANSIENT),
    Row(
        "reset before answer",
        lambda: faults.broken(where="answer", reset=True),
        STORED,
        TRANSIENT,
    ),
    Row(
        "closed before answer",
        lambda: faults.broken(where="answer", reset=False),
        STORED,
        TRANSIENT,
    ),
    Row("silent at head", lambda: faults.stalled(where="head"), SILENT, SILENT),
    Row("silent in body", lambda: faults.stalled(where="body"), SILENT, SILENT),
    Row("silent before answer", lambda: faults.stalled(where="answer"), SILENT, SILENT),
    # One byte every half second: never silent for a whole timeout, and yet no headway.
    Row("reads a byte now and then", lambda: faults.trickled(where="request"), TRICKLING, None),
    Row(
        "trickles head",
        lambda: faults.trickled(where="head"),
        (End(None, 2, 2), End(None, 2, 2)),
        TRICKLING,
    ),
    Row("trickles body", lambda: faults.trickled(where="body"), None, TRICKLING),
    # Statuses.
    *map(passing_status, (408, 423, 425, 429, 500, 502, 503, 504, 599)),
    *(refusing_status(code, "STORE_REJECTED") for code in (301, 302, 307, 308, 400, 413, 418)),
    *(refusing_status(code, "STORE_REJECTED") for code in (501, 505, 507)),
    *(refusing_status(code, "STORE_ACCESS_DENIED") for code in (401, 403, 407)),
    # WebDAV's words for a missing folder: that is made, and the PUT made again within the try.
    plain_status(
        404, (FINE, End("STORE_REJECTED", 1, status=404)), refusal("CHUNK_NOT_FOUND", 404)
    ),
    plain_status(409, (FINE, End("STORE_REJECTED", 1, status=409)), refusal("STORE_REJECTED", 409)),
    plain_status(410, refusal("STORE_REJECTED", 410), refusal("CHUNK_NOT_FOUND", 410)),
    plain_status(202, refusal("STORE_REJECTED", 202), refusal("STORE_REJECTED", 202)),
    plain_status(206, refusal("STORE_REJECTED", 206), refusal("STORE_REJECTED", 206)),
    Row(
        "413 before the body is read",
        lambda: faults.status(413, early=True),
        refusal("STORE_REJECTED", 413),
        None,
    ),
    Row(
        "503 before the body is read",
        lambda: faults.status(503, early=True),
        unavailable(503),
        None,
    ),
    # Answers that lie.
    Row("no HTTP", faults.not_http, TRANSIENT, TRANSIENT),
    Row("claims more", lambda: faults.claimed_length(7), STORED, TRANSIENT),
    Row("claims less", lambda: faults.claimed_length(-7), None, CORRUPT),
    Row("flips a bit", lambda: faults.other_body(faults.flipped), None, CORRUPT),
    Row("leaves out half", lambda: faults.other_body(faults.halved), None, CORRUPT),
    Row("adds to the body", lambda: faults.other_body(longer), None, CORRUPT),
    Row("empty body", lambda: faults.other_body(lambda _: b""), None, CORRUPT),
    Row("keeps half, breaks off", faults.truncated_object, TRANSIENT, None),
    Row("endless body", faults.endless, HARMLESS, CORRUPT),
    Row("endless head", lambda: faults.endless(where="head"), STORED, TRANSIENT),
    Row("endless 100 Continue", lambda: faults.endless(where="continue"), STORED, TRANSIENT),
    Row("endless trailer", lambda: faults.endless(where="trailer"), STORED, TRANSIENT),
    Row("malformed head", faults.malformed_head, HARMLESS, HARMLESS),
]


@dataclass(frozen=True)
class Cell:
    """One run of a row: with PUT or GET, and with the fault on the first try or on every one."""

    row: Row
    method: str
    every: bool

    @property
    def name(self) -> str:
        """What the messages and the tests are called."""
        return f"{self.method} {self.row.name}, {'every' if self.every else 'first'}"

    @property
    def end(self) -> End:
        """What the table says."""
        ends = self.row.put if self.method == "PUT" else self.row.get
        assert ends is not None
        return ends[self.every]


def cells(row: Row) -> list[Cell]:
    """Return the cells of a row that differ."""
    return [
        Cell(row, method, every)
        for method, ends in (("PUT", row.put), ("GET", row.get))
        if ends is not None
        # A run that ends with its first try does not meet what the others would.
        for every in ((False, True) if ends[0] != ends[1] or ends[0].code is None else (False,))
    ]


@pytest.mark.parametrize("row", ROWS, ids=[row.name for row in ROWS])
def test_a_fault_ends_as_the_table_says(row: Row, small: Stored, tmp_path: Path) -> None:
    """The cells have a server each, and are worked at side by side.

    Where tries wait for a timeout, those of the other cells would wait behind them: one limiter
    bounds the requests of a process. There each cell has a process of its own.
    """
    tried = cells(row)
    is_slow = any(cell.end.timeouts for cell in tried)
    with contextlib.ExitStack() as stack:
        servers = [stack.enter_context(faulty(cell)) for cell in tried]
        targets = [tmp_path / str(number) / "file" for number in range(len(tried))]
        more = {"settings": SETTINGS} if is_slow else {}
        messages = [
            message_to(server, cell.method, small, target, id=cell.name, **more)
            for cell, server, target in zip(tried, servers, targets, strict=True)
        ]
        if is_slow:
            workers = [stack.enter_context(Worker(message)) for message in messages]
            runs = [worker.finish() for worker in workers]
        else:
            whole = run_worker(session(None, *messages, max_files=len(tried), settings=SETTINGS))
            runs = [whole.part(cell.name) for cell in tried]
        for cell, run, server, target in zip(tried, runs, servers, targets, strict=True):
            check_end(run, cell.end, server, cell.method, lasting=row.connections is None)
            check_outcome(run, server, cell.method, small, target)


def faulty(cell: Cell) -> FaultyServer:
    """Make the server of a cell. A connection that fails first is the first one of the run."""
    if cell.row.fault is None:
        kind = cell.row.connections
        # Asking for chunk 0 is what the first connection of an upload is for.
        return FaultyServer(connections=lambda n: kind if cell.every or n == 1 else None)
    rules = [Rule(cell.row.fault(), cell.method, tries=EVERY if cell.every else FIRST)]
    if cell.method == "PUT":
        # A kept connection that dies unanswered is made good within the try: none is kept.
        rules.append(Rule(faults.status(404, early=True), "HEAD", tries=FIRST))
    return FaultyServer(*rules)


def run_against(server: FaultyServer, method: str, stored: Stored, target: Path) -> Run:
    return run_worker(message_to(server, method, stored, target, settings=SETTINGS))


def message_to(
    server: FaultyServer, method: str, stored: Stored, target: Path, **more: Any
) -> Message:
    """Return an upload to a server, or a download of what it is given, to where a file is."""
    if method == "PUT":
        return upload(stored.path, server.url, **more)
    server.chunks.update(stored.chunks)
    target.parent.mkdir(exist_ok=True)
    target.write_bytes(b"the old one")
    return download(target, server.url, stored.hashes, **more)


def check_end(
    run: Run, end: End, server: FaultyServer, method: str, *, lasting: bool = True
) -> None:
    """Compare a run with the table: code, tries, time, and what was told of each failed try."""
    terminal = run.terminal
    assert terminal.get("code") == end.code, run
    assert run.duration <= end.timeouts * TIMEOUT + TRIES * LONGEST_PAUSE + STALL, run
    retries = run.of("CHUNK_RETRY")
    assert {e["code"] for e in retries} <= {end.retry_code}, run
    assert all(e["delay_ms"] <= LONGEST_PAUSE * 1000 for e in retries), run
    if end.code is None:
        assert max([e["attempt"] + 1 for e in retries], default=1) == end.tries, run
        return
    assert terminal["attempts"] == end.tries, run
    assert terminal.get("http_status") == end.status, run
    mine = [e for e in retries if e["index"] == terminal["index"]]
    assert [e["attempt"] for e in mine] == list(range(1, end.tries)), run
    if lasting:
        # A kept connection that dies unanswered, or a folder that is missing, is seen to within
        # the try.
        seen = server.tries(method, terminal["hash"])
        # On a busy machine, a try can end with its lookup.
        asked = server.tries("HEAD", terminal["hash"]) if method == "PUT" else 0
        assert end.tries <= seen + asked, server.requests()
        assert 1 <= seen <= 2 * end.tries, server.requests()


def check_outcome(
    run: Run, server: FaultyServer, method: str, stored: Stored, target: Path
) -> None:
    """Check that a success is real, and that a failure changes nothing and leaves nothing."""
    if method == "GET":
        wanted = stored.content if run.status == 0 else b"the old one"
        assert target.read_bytes() == wanted
        assert [path.name for path in target.parent.iterdir()] == [target.name]
    elif run.status == 0:
        assert run.terminal["hashes"] == stored.hashes
        check_stored(lambda name: server.chunks[name], stored.hashes, stored.content)


def telling(method: str, *names: str) -> list[Any]:
    """Return the cells of some rows for one method."""
    found = [cell for row in ROWS if row.name in names for cell in cells(row)]
    return [pytest.param(cell, id=cell.name) for cell in found if cell.method == method]


@pytest.mark.parametrize(
    "cell",
    telling("PUT", "reset in body", "503") + telling("GET", "flips a bit", "404"),
)
def test_a_run_of_its_own_ends_as_the_table_says(cell: Cell, small: Stored, target: Path) -> None:
    with faulty(cell) as server:
        run = run_against(server, cell.method, small, target)
        check_end(run, cell.end, server, cell.method)
        check_outcome(run, server, cell.method, small, target)


@pytest.mark.parametrize("cell", telling("PUT", "503", "reset in body", "silent before answer"))
def test_a_command_over_a_store_that_fails(cell: Cell, small: Stored, target: Path) -> None:
    """The bytes of a chunk are kept for another try, since a command's output comes only once."""
    command = ["cat", str(small.path)]
    with faulty(cell) as server:
        message = {"type": "UPLOAD_START", "command": command, "store": server.url}
        run = run_worker({**message, "settings": SETTINGS})
        check_end(run, cell.end, server, cell.method)
        check_outcome(run, server, cell.method, small, target)
    if run.status:
        assert run.terminal["retryable"] is True, "a command can be run again"
    else:
        assert run.terminal["command"] == command


@pytest.fixture(scope="module")
def half_done(medium: Stored, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with what a download to `file` keeps that failed in the middle."""
    folder = tmp_path_factory.mktemp("half-done")
    refused = Rule(faults.status(403), "GET", key=medium.hashes[len(medium.hashes) // 2])
    with FaultyServer(refused) as server:
        server.chunks.update(medium.chunks)
        message = download(folder / "file", server.url, medium.hashes, resume=True)
        run = run_worker({**message, "settings": SETTINGS})
    assert run.terminal["code"] == "STORE_ACCESS_DENIED", run
    return folder


@pytest.mark.parametrize(
    "cell", telling("GET", "503", "reset in body", "silent in body", "flips a bit")
)
def test_a_resumed_download_over_a_store_that_fails(
    cell: Cell, medium: Stored, half_done: Path, target: Path
) -> None:
    """It keeps what it has, and does not fetch it again."""
    shutil.copytree(half_done, target.parent, dirs_exist_ok=True)
    target.write_bytes(b"the old one")
    with faulty(cell) as server:
        server.chunks.update(medium.chunks)
        message = download(target, server.url, medium.hashes, resume=True, settings=SETTINGS)
        run = run_worker(message)
        check_end(run, cell.end, server, cell.method)
        if run.status:
            assert target.read_bytes() == b"the old one"
            assert list(target.parent.glob("*.part"))
            server.rules.clear()
            run = run_worker(message)
        assert run.status == 0, run
        assert server.tries("GET", medium.hashes[0]) == 0, "it was there"
        check_outcome(run, server, cell.method, medium, target)


@pytest.mark.parametrize("asked", ["seconds", "date", "long past", "nonsense"])
def test_the_pause_that_a_store_asks_for_is_made(asked: str, small: Stored, target: Path) -> None:
    wish = {
        "seconds": "60",
        "date": in_a_while(),
        "long past": formatdate(1, usegmt=True),
        "nonsense": "soon, \x80",
    }[asked]
    with Session(settings=SETTINGS) as one:
        for method, status in (("PUT", 429), ("PUT", 503), ("GET", 429), ("GET", 503)):
            rule = Rule(faults.status(status, retry_after=wish), method, tries=FIRST)
            with FaultyServer(rule) as server:
                run = one.run(message_to(server, method, small, target))
                check_end(run, RECOVERED, server, method)
                check_outcome(run, server, method, small, target)
                first, second, *_ = server.requests(method, small.hashes[0])
            pause = run.of("CHUNK_RETRY")[0]["delay_ms"]
            if asked in {"seconds", "date"}:
                # A minute is wished, the message's longest pause is what it gets.
                assert pause == LONGEST_PAUSE * 1000
                assert second.started - first.started >= LONGEST_PAUSE
            else:
                assert pause <= SETTINGS["retry_delay_ms"]


@pytest.mark.parametrize("method", ["PUT", "GET"])
def test_a_port_that_nobody_listens_on(method: str, small: Stored, target: Path) -> None:
    with FaultyServer() as server:
        server.go_away()
        run = run_against(server, method, small, target)
        check_end(run, GIVEN_UP, server, method, lasting=False)
        check_outcome(run, server, method, small, target)


@pytest.mark.parametrize("method", ["PUT", "GET"])
def test_a_port_where_connecting_takes_for_ever(method: str, small: Stored, target: Path) -> None:
    with faults.deaf_port() as port, FaultyServer() as server:
        honest, server.port = server.port, port
        run = run_against(server, method, small, target)
        server.port = honest
        check_end(run, SILENT[1], server, method, lasting=False)
        check_outcome(run, server, method, small, target)


@pytest.mark.parametrize("method", ["PUT", "GET"])
def test_a_server_that_goes_away_and_comes_back(method: str, medium: Stored, target: Path) -> None:
    patient = {**SETTINGS, "max_attempts": 30, "retry_max_delay_ms": 200, "retry_delay_ms": 100}

    def leave(exchange: faults.Exchange) -> None:
        exchange.server.be_away(0.8)

    with FaultyServer(Rule(leave, method, nth={5})) as server:
        server.chunks.update(medium.chunks if method == "GET" else {})
        message = (
            upload(medium.path, server.url, settings=patient)
            if method == "PUT"
            else download(target, server.url, medium.hashes, settings=patient)
        )
        run = run_worker(message)
        assert run.status == 0, run
        assert run.of("CHUNK_RETRY")
        check_outcome(run, server, method, medium, target)


MANIFEST_ROWS = [
    ("fails once", lambda: faults.status(503), FIRST, RECOVERED),
    ("fails every time", lambda: faults.status(503), EVERY, unavailable(503)[1]),
    ("is refused", lambda: faults.status(403), EVERY, refusal("STORE_ACCESS_DENIED", 403)[1]),
    ("falls silent", lambda: faults.stalled(where="answer"), EVERY, SILENT[1]),
]


@pytest.mark.parametrize("method", ["PUT", "GET"])
@pytest.mark.parametrize(
    ("fault", "tries", "end"), [row[1:] for row in MANIFEST_ROWS], ids=[r[0] for r in MANIFEST_ROWS]
)
def test_a_manifest_that_the_store_fails_at(
    method: str,
    fault: Callable[[], Fault],
    tries: Container[int],
    end: End,
    small: Stored,
    target: Path,
) -> None:
    named = upload(small.path, small.path.parent / "store", manifest=True)
    name = run_worker(named).terminal["manifest"]
    with FaultyServer(Rule(fault(), method, tries=tries, key=name)) as server:
        server.chunks.update(small.chunks if method == "GET" else {})
        server.chunks[name] = in_folder(small.path.parent / "store")(name)
        if method == "PUT":
            del server.chunks[name]
        message = (
            upload(small.path, server.url, manifest=True, settings=SETTINGS)
            if method == "PUT"
            else download(target, server.url, name, settings=SETTINGS)
        )
        target.write_bytes(b"the old one")
        run = run_worker(message)
        assert run.terminal.get("code") == end.code, run
        assert server.tries(method, name) == end.tries
        assert [e["attempt"] for e in run.of("CHUNK_RETRY")] == list(range(1, end.tries))
        if end.code:
            assert (run.terminal["hash"], run.terminal["attempts"]) == (name, end.tries)
            assert "index" not in run.terminal
            assert "manifest" in run.terminal["message"]
            assert target.read_bytes() == b"the old one"
        elif method == "PUT":
            assert run.terminal["manifest"] == name
        else:
            assert target.read_bytes() == small.content


RANGE_ROWS = [
    ("fails once", lambda: faults.status(503), FIRST, RECOVERED),
    ("fails every time", lambda: faults.status(503), EVERY, unavailable(503)[1]),
    ("sends other bytes", lambda: faults.other_body(faults.flipped), EVERY, DAMAGED),
]


@pytest.mark.parametrize("place", [-1, 3], ids=["the tail", "the middle"])
@pytest.mark.parametrize(
    ("fault", "tries", "end"), [row[1:] for row in RANGE_ROWS], ids=[row[0] for row in RANGE_ROWS]
)
def test_a_part_of_a_file_over_a_flaky_store(
    fault: Callable[[], Fault],
    tries: Container[int],
    end: End,
    place: int,
    medium: Stored,
    target: Path,
) -> None:
    named = upload(medium.path, medium.path.parent / "store", manifest=True)
    name = run_worker(named).terminal["manifest"]
    struck = medium.hashes[place]
    with FaultyServer(Rule(fault(), "GET", tries=tries, key=struck)) as server:
        server.chunks.update(medium.chunks)
        server.chunks[name] = in_folder(medium.path.parent / "store")(name)
        target.write_bytes(b"the old one")
        part = {"offset": MIB, "length": MIB}
        run = run_worker(download(target, server.url, name, range=part, settings=SETTINGS))
        assert run.terminal.get("code") == end.code, run
        assert server.tries("GET", struck) == end.tries
        assert server.tries("GET", medium.hashes[20]) == 0, "nobody needs it"
        if end.code:
            wanted = medium.hashes.index(struck), struck, end.tries
            assert tuple(run.terminal[name] for name in ("index", "hash", "attempts")) == wanted
            assert target.read_bytes() == b"the old one"
        else:
            assert target.read_bytes() == medium.content[MIB : 2 * MIB]


HEAD_ROWS = [
    ("405", lambda: faults.status(405), HARMLESS),
    ("501", lambda: faults.status(501), HARMLESS),
    ("503", lambda: faults.status(503), unavailable(503)),
    # A key that may only write.
    ("401", lambda: faults.status(401), HARMLESS),
    ("403", lambda: faults.status(403), HARMLESS),
    ("302", lambda: faults.status(302), HARMLESS),
    ("silent", lambda: faults.stalled(where="answer"), SILENT),
    ("trickles", lambda: faults.trickled(where="head"), TRICKLING),
    (
        "says it is there, of another length",
        lambda: faults.claimed_length(7, close=False),
        (FINE, End("STORE_REJECTED", 1)),
    ),
    ("sends a body", faults.head_with_body, HARMLESS),
]


@pytest.mark.parametrize(
    ("fault", "ends"), [row[1:] for row in HEAD_ROWS], ids=[row[0] for row in HEAD_ROWS]
)
def test_asking_fails(fault: Callable[[], Fault], ends: Ends, small: Stored, target: Path) -> None:
    with (
        FaultyServer(Rule(fault(), "HEAD", tries=FIRST)) as once,
        FaultyServer(Rule(fault(), "HEAD", tries=EVERY)) as always,
    ):
        messages = [upload(small.path, server.url, id=server.url) for server in (once, always)]
        whole = run_worker(session(None, *messages, settings=SETTINGS))
        for server, end in zip((once, always), ends, strict=True):
            run = whole.part(server.url)
            check_end(run, end, server, "HEAD")
            check_outcome(run, server, "PUT", small, target)


def test_a_store_that_lies_about_what_it_keeps_is_found_out_on_the_way_back(
    small: Stored, target: Path
) -> None:
    """A server that stores other bytes and answers 201 cannot be detected during an upload."""
    with FaultyServer(Rule(faults.other_body(faults.flipped), "PUT")) as server:
        assert run_worker(upload(small.path, server.url, settings=SETTINGS)).status == 0
        run = run_worker(download(target, server.url, small.hashes, settings=SETTINGS))
        assert run.terminal["code"] == "CHUNK_CORRUPT", run
        assert not target.exists()


def test_a_slow_store_that_makes_headway_is_not_given_up(small: Stored) -> None:
    """200 KiB/s is slow, and yet two hundred times what a transfer has to move."""
    rule = Rule(faults.slow_reader(bytes_per_second=200 * 1024), "PUT")
    with FaultyServer(rule) as server:
        run = run_worker(upload(small.path, server.url, settings=SETTINGS))
        assert run.status == 0, run
        assert run.duration > 3 * TIMEOUT, run
        assert not run.of("CHUNK_RETRY"), run


@pytest.mark.parametrize("method", ["PUT", "GET"])
def test_a_server_that_serves_fewer_connections_than_asked_for(
    method: str, medium: Stored, target: Path
) -> None:
    """More than two connections are reset: the worker uses fewer and does not fail."""
    settings = {**SETTINGS, "concurrency": 16, "timeout_ms": 5000}
    with FaultyServer(most=2) as server:
        server.chunks.update(medium.chunks if method == "GET" else {})
        message = (
            upload(medium.path, server.url, settings=settings)
            if method == "PUT"
            else download(target, server.url, medium.hashes, settings=settings)
        )
        run = run_worker(message)
        assert run.status == 0, run
        check_outcome(run, server, method, medium, target)
