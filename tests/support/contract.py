"""The wire contract as an owner may rely on it, checked on every run of every test.

Written from the contract alone: nothing here is imported from store_workers.
"""

from __future__ import annotations

import json
import re
from collections import Counter
from typing import TYPE_CHECKING, Any

from tests.support.schema import check_accepted, check_event

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from tests.support.worker import Run

Event = dict[str, Any]

CODES = frozenset(
    {
        "BAD_MESSAGE",
        "FILE_NOT_FOUND",
        "FILE_ACCESS_DENIED",
        "FILE_READ_FAILED",
        "FILE_WRITE_FAILED",
        "STORE_UNAVAILABLE",
        "STORE_ACCESS_DENIED",
        "STORE_REJECTED",
        "CHUNK_NOT_FOUND",
        "CHUNK_CORRUPT",
        "STREAM_CORRUPT",
        "FILE_MISMATCH",
        "CANCELLED",
        "HOST_UNSUPPORTED",
        "INTERNAL",
    }
)
WARNING_CODES = frozenset({"FILE_CHANGED", "STORE_SLOW", "LEFTOVERS_REMOVED", "CODEC_DIFFERS"})
TERMINAL = frozenset(
    {"FILE_UPLOADED", "FILE_DOWNLOADED", "FILE_VERIFIED", "SESSION_ENDED", "ERROR"}
)

# Field name to kind; a "?" ends the name of a field that may be absent.
FIELDS: dict[str, dict[str, str]] = {
    "CHUNK": {"index": "count", "hash": "hash", "size": "count", "new": "flag", "attempts": "one"},
    "CHUNK_RETRY": {
        "index": "count",
        "hash": "hash",
        "code": "code",
        "message": "text",
        "attempt": "one",
        "delay_ms": "count",
    },
    "CHUNK_BAD": {"index": "count", "hash": "hash", "code": "code", "message": "text"},
    "PROGRESS": {},  # one of the two below
    "PROGRESS up": {
        "concurrency": "one",
        "read_bytes": "count",
        "total_bytes": "count or null",
        "stored_bytes": "count",
        "stored_chunks": "count",
    },
    "PROGRESS down": {
        "concurrency": "one",
        "fetched_bytes": "count",
        "fetched_chunks": "count",
        "total_chunks": "count",
        "written_bytes?": "count",
        "total_bytes": "count or null",
    },
    "FILE_UPLOADED": {
        "path?": "text",
        "command?": "texts",
        "store": "text",
        "size": "count",
        "compressed_size": "count",
        "chunks": "one",
        "hashes?": "hashes",
        "manifest?": "hash",
        "new_chunks": "count",
        "new_bytes": "count",
        "changed": "flag",
        "duration_ms": "count",
        "sha256?": "hash",
    },
    "FILE_DOWNLOADED": {
        "path": "text",
        "store": "text",
        "size": "count",
        "compressed_size": "count",
        "chunks": "count",
        "duration_ms": "count",
        "sha256?": "hash",
        "resumed_bytes?": "count",
    },
    "FILE_VERIFIED": {
        "store": "text",
        "size": "count or null",
        "compressed_size": "count",
        "chunks": "one",
        "duration_ms": "count",
    },
    "SESSION_ENDED": {"files": "count", "failed": "count", "duration_ms": "count"},
    "WARNING": {"code": "warning", "message": "text"},
    "ERROR": {
        "code": "code",
        "message": "text",
        "retryable": "flag",
        "index?": "count",
        "hash?": "hash",
        "attempts?": "one",
        "path?": "text",
        "http_status?": "one",
        "exit_status?": "one",
        "bad_chunks?": "one",
    },
}


def is_count(value: object) -> bool:
    return type(value) is int and value >= 0


def is_hash(value: object) -> bool:
    return isinstance(value, str) and re.fullmatch("[0-9a-f]{64}", value) is not None


KINDS: dict[str, Callable[[Any], bool]] = {
    "count": is_count,
    "one": lambda value: is_count(value) and value >= 1,
    "count or null": lambda value: value is None or is_count(value),
    "flag": lambda value: isinstance(value, bool),
    "text": lambda value: isinstance(value, str) and value != "",
    "texts": lambda value: isinstance(value, list) and all(isinstance(x, str) for x in value),
    "hash": is_hash,
    "hashes": lambda value: isinstance(value, list) and bool(value) and all(map(is_hash, value)),
    "code": lambda value: value in CODES,
    "warning": lambda value: value in WARNING_CODES,
}


def parse_events(stdout: bytes, *, whole: bool = True) -> list[Event]:
    """Parse the lines of a run.

    Args:
        stdout: all that the worker wrote.
        whole: the worker ended by itself, so the last line is complete as well.
    """
    *lines, rest = stdout.split(b"\n")
    assert not rest or not whole, f"the last line has no end: {rest!r}"
    events = []
    for line in lines:
        event = json.loads(line.decode("utf-8"))
        assert isinstance(event, dict), f"not an object: {line!r}"
        events.append(event)
    return events


def check_run(run: Run, *, whole: bool = True) -> None:
    """Assert everything that holds for any run at all.

    Args:
        run: a worker that has ended.
        whole: it was neither killed nor left by its owner, so it had to speak to the end.
    """
    for event in run.events:
        check_fields(event)
        check_event(event)
    if isinstance(run.message, list):
        check_session(run, whole=whole)
        return
    for event in run.events:
        check_id(event, run)
    if run.events and run.events[-1].get("code") != "BAD_MESSAGE":
        check_accepted(run.message)
    check_progress(run.events)
    check_attempts(run.events)
    assert b"Traceback" not in run.stderr, run.stderr.decode(errors="replace")
    terminal = [event for event in run.events if event["type"] in TERMINAL]
    if not whole and not terminal:
        return
    assert terminal == run.events[-1:], f"not exactly one terminal event, last: {run}"
    check_status(run, terminal[0])
    bad = [event for event in run.events if event["type"] == "CHUNK_BAD"]
    assert len(bad) == terminal[0].get("bad_chunks", 0), run
    if terminal[0]["type"] == "FILE_UPLOADED":
        check_uploaded(run.events, terminal[0])


def check_fields(event: Event) -> None:
    kind = str(event.get("type"))
    assert kind in FIELDS, f"an unknown event: {event}"
    if kind == "PROGRESS":
        kind = "PROGRESS up" if "read_bytes" in event else "PROGRESS down"
    known = {"type", "id"}
    for name, expected in FIELDS[kind].items():
        field = name.rstrip("?")
        known.add(field)
        if field in event or not name.endswith("?"):
            assert field in event, f"no {field} in {event}"
            assert KINDS[expected](event[field]), f"{field} is no {expected}: {event}"
    if kind != "WARNING":
        assert set(event) <= known, f"undocumented fields {set(event) - known} in {event}"


def check_session(run: Run, *, whole: bool) -> None:
    """Every message has one end of its own, behind all its other events, and so has the run."""
    by_id: dict[str | None, list[Event]] = {}
    for event in run.events:
        by_id.setdefault(event.get("id"), []).append(event)
    own = by_id.pop(None, [])
    ended = [events for events in by_id.values() if events[-1]["type"] in TERMINAL]
    for events in by_id.values():
        check_progress(events)
        check_attempts(events)
        assert sum(event["type"] in TERMINAL for event in events) <= 1, f"two ends: {events}"
        if events[-1]["type"] == "FILE_UPLOADED" and any(e["type"] == "CHUNK" for e in events):
            check_uploaded(events, events[-1])
    assert b"Traceback" not in run.stderr, run.stderr.decode(errors="replace")
    if not whole:
        return
    assert len(ended) == len(by_id), f"messages without an end: {run}"
    end = run.events[-1]
    assert end in own, f"the last line is a message's: {end}"
    assert all(e.get("code") == "BAD_MESSAGE" for e in own[:-1]), own
    failed = sum(events[-1]["type"] == "ERROR" for events in ended) + len(own) - 1
    if end["type"] == "SESSION_ENDED":
        assert end["failed"] == failed, run
        assert run.status == (1 if failed else 0), run
        assert run.stderr == b"" or run.stderr_wanted, f"stderr must be silent: {run.stderr!r}"
    else:
        check_status(run, end)


def check_id(event: Event, run: Run) -> None:
    message = run.message if isinstance(run.message, dict) else {}
    if run.events[-1].get("code") == "BAD_MESSAGE":
        assert "id" not in event or event["id"] == message.get("id"), f"a foreign id: {event}"
    elif "id" in message:
        assert event.get("id") == message["id"], f"the id is missing: {event}"
    else:
        assert "id" not in event, f"an id from nowhere: {event}"


def check_status(run: Run, terminal: Event) -> None:
    code = terminal.get("code")
    if code is None:
        assert run.status == 0, run
        assert run.stderr == b"" or run.stderr_wanted, f"stderr must be silent: {run.stderr!r}"
    elif code == "BAD_MESSAGE":
        assert run.status == 2, run
        assert len(run.events) == 1, run
    elif code == "CANCELLED":
        assert run.status in {129, 130, 143}, run
    else:
        assert run.status == 1, run


def check_progress(events: Sequence[Event]) -> None:
    """Counters never run backwards."""
    before: Event = {}
    for event in events:
        if event["type"] == "PROGRESS":
            for name in before.keys() & event.keys() - {"concurrency"}:
                if is_count(before[name]) and is_count(event[name]):
                    assert before[name] <= event[name], f"{name} ran backwards: {before}, {event}"
            before = event


def check_attempts(events: Sequence[Event]) -> None:
    """Every failed try of a chunk is told once, in order; its end tells how many there were."""
    failed: Counter[tuple[int, str]] = Counter()
    for event in events:
        chunk = event.get("index", 0), event.get("hash", "")
        if event["type"] == "CHUNK_RETRY":
            failed[chunk] += 1
            assert event["attempt"] == failed[chunk], f"out of turn: {event}"
        elif event["type"] == "CHUNK":
            assert event["attempts"] == failed[chunk] + 1, f"miscounted: {event}"


def check_uploaded(events: Sequence[Event], terminal: Event) -> None:
    """The list of hashes is what the chunks' own events said."""
    chunks = sorted((e for e in events if e["type"] == "CHUNK"), key=lambda e: int(e["index"]))
    assert ("path" in terminal) != ("command" in terminal), f"not one source: {terminal}"
    assert ("hashes" in terminal) != ("manifest" in terminal), f"not one list: {terminal}"
    assert [e["index"] for e in chunks] == list(range(terminal["chunks"]))
    if "hashes" in terminal:
        assert [e["hash"] for e in chunks] == terminal["hashes"]
    assert sum(e["size"] for e in chunks) == terminal["compressed_size"]
    new = [e for e in chunks if e["new"]]
    assert len(new) == terminal["new_chunks"]
    assert sum(e["size"] for e in new) == terminal["new_bytes"]
