"""Faults of an HTTP store, on upload and download, once and in every try.

One row is one fault; its four cells say how a run ends: the code (None for success), how often the
chunk that decides was tried, and whether tries cost a timeout each. All rows run against the built
artifact, and the server's own record is the witness of the tries.
"""

from __future__ import annotations

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
from tests.support.worker import STALL, download, run_worker, upload

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

# A run that ends with its first try does not meet what the others would.
CELLS = [
    pytest.param(row, method, place, id=f"{method} {row.name}, {'first' if not place else 'every'}")
    for row in ROWS
    for method, ends in (("PUT", row.put), ("GET", row.get))
    if ends is not None
    for place in ((0, 1) if ends[0] != ends[1] or ends[0].code is None else (0,))
]


@pytest.mark.parametrize(("row", "method", "place"), CELLS)
def test_a_fault_ends_as_the_table_says(
    row: Row, method: str, place: int, small: Stored, target: Path
) -> None:
    ends = row.put if method == "PUT" else row.get
    assert ends is not None
    with faulty(row, method, every=bool(place)) as server:
        run = run_against(server, method, small, target)
        check_end(run, ends[place], server, method, lasting=row.connections is None)
        check_outcome(run, server, method, small, target)


def faulty(row: Row, method: str, *, every: bool) -> FaultyServer:
    """Make the server of a row. A connection that fails first is the first one of the run."""
    if row.fault is None:
        kind = row.connections
        # Asking for chunk 0 is what the first connection of an upload is for.
        return FaultyServer(connections=lambda n: kind if every or n == 1 else None)
    rules = [Rule(row.fault(), method, tries=EVERY if every else FIRST)]
    if method == "PUT":
        # A kept connection that dies unanswered is made good within the try: none is kept.
        rules.append(Rule(faults.status(404, early=True), "HEAD", tries=FIRST))
    return FaultyServer(*rules)


def run_against(server: FaultyServer, method: str, stored: Stored, target: Path) -> Run:
    message: Message
    if method == "PUT":
        message = upload(stored.path, server.url, settings=SETTINGS)
    else:
        server.chunks.update(stored.chunks)
        target.write_bytes(b"the old one")
        message = download(target, server.url, stored.hashes, settings=SETTINGS)
    return run_worker(message)


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
        assert end.tries <= seen <= 2 * end.tries, server.requests()


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
    wanted = {f"{method} {name}, {place}" for name in names for place in ("first", "every")}
    return [cell for cell in CELLS if cell.id in wanted]


@pytest.mark.parametrize(
    ("row", "method", "place"), telling("PUT", "503", "reset in body", "silent before answer")
)
def test_a_command_over_a_store_that_fails(
    row: Row, method: str, place: int, small: Stored, target: Path
) -> None:
    """The bytes of a chunk are kept for another try, since a command's output comes only once."""
    assert row.put is not None
    command = ["cat", str(small.path)]
    with faulty(row, method, every=bool(place)) as server:
        message = {"type": "UPLOAD_START", "command": command, "store": server.url}
        run = run_worker({**message, "settings": SETTINGS})
        check_end(run, row.put[place], server, method)
        check_outcome(run, server, method, small, target)
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
    ("row", "method", "place"),
    telling("GET", "503", "reset in body", "silent in body", "flips a bit"),
)
def test_a_resumed_download_over_a_store_that_fails(
    row: Row, method: str, place: int, medium: Stored, half_done: Path, target: Path
) -> None:
    """It keeps what it has, and does not fetch it again."""
    assert row.get is not None
    shutil.copytree(half_done, target.parent, dirs_exist_ok=True)
    target.write_bytes(b"the old one")
    with faulty(row, method, every=bool(place)) as server:
        server.chunks.update(medium.chunks)
        message = download(target, server.url, medium.hashes, resume=True, settings=SETTINGS)
        run = run_worker(message)
        check_end(run, row.get[place], server, method)
        if run.status:
            assert target.read_bytes() == b"the old one"
            assert list(target.parent.glob("*.part"))
            server.rules.clear()
            run = run_worker(message)
        assert run.status == 0, run
        assert server.tries("GET", medium.hashes[0]) == 0, "it was there"
        check_outcome(run, server, method, medium, target)


@pytest.mark.parametrize("method", ["PUT", "GET"])
@pytest.mark.parametrize("status", [429, 503])
@pytest.mark.parametrize("asked", ["seconds", "date", "long past", "nonsense"])
def test_the_pause_that_a_store_asks_for_is_made(
    method: str, status: int, asked: str, small: Stored, target: Path
) -> None:
    wish = {
        "seconds": "60",
        "date": in_a_while(),
        "long past": formatdate(1, usegmt=True),
        "nonsense": "soon, \x80",
    }[asked]
    rule = Rule(faults.status(status, retry_after=wish), method, tries=FIRST)
    with FaultyServer(rule) as server:
        run = run_against(server, method, small, target)
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


@pytest.mark.parametrize("place", [0, 1], ids=["first", "every"])
@pytest.mark.parametrize(
    ("fault", "ends"), [row[1:] for row in HEAD_ROWS], ids=[row[0] for row in HEAD_ROWS]
)
def test_asking_fails(
    fault: Callable[[], Fault], ends: Ends, place: int, small: Stored, target: Path
) -> None:
    with FaultyServer(Rule(fault(), "HEAD", tries=EVERY if place else FIRST)) as server:
        run = run_against(server, "PUT", small, target)
        check_end(run, ends[place], server, "HEAD")
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
