"""Selected faults of the matrix, with several files in progress in one session.

Of six files that are worked at together, one meets the fault once, one meets it every time, and the
others do not: theirs must be the right end, without one try that failed.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import pytest

from tests.support import faulty_server as faults
from tests.support.data import KIB, noise
from tests.support.faulty_server import EVERY, FIRST, FaultyServer, Rule
from tests.support.reference import check_stored, in_folder
from tests.support.worker import download, run_worker, session, upload

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from tests.support.faulty_server import Fault
    from tests.support.worker import Message, Run

TRIES = 3
SETTINGS = {
    "timeout_ms": 1000,
    "max_attempts": TRIES,
    "retry_delay_ms": 20,
    "retry_max_delay_ms": 300,
    "concurrency": 8,
    "progress_interval_ms": 0,
}
NAMES = ["up once", "up every", "up", "down once", "down every", "down"]


@dataclass(frozen=True)
class File:
    """A file and its chunks, in order."""

    path: Path
    content: bytes
    chunks: dict[str, bytes]

    @property
    def hashes(self) -> list[str]:
        """The names of its chunks; no two are equal."""
        return list(self.chunks)


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> dict[str, File]:
    """Files of five chunks each, that share none."""
    folder = tmp_path_factory.mktemp("files")
    contents = {name: noise(560 * KIB, seed=place) for place, name in enumerate(NAMES)}
    for name, content in contents.items():
        (folder / name).write_bytes(content)
    messages = [upload(folder / name, None, id=name) for name in NAMES]
    run = run_worker(session(folder / "store", *messages))
    read = in_folder(folder / "store")
    return {
        event["id"]: File(
            folder / event["id"],
            contents[event["id"]],
            {name: read(name) for name in event["hashes"]},
        )
        for event in run.of("FILE_UPLOADED")
    }


ROWS: list[tuple[str, Callable[[], Fault] | None, Callable[[], Fault], str]] = [
    # What the PUT and the GET of a chunk meet, and how the download ends that meets it each time.
    (
        "reset",
        lambda: faults.broken(where="body", reset=True),
        lambda: faults.broken(where="body", reset=True),
        "STORE_UNAVAILABLE",
    ),
    (
        "503 with Retry-After",
        lambda: faults.status(503, retry_after="60"),
        lambda: faults.status(503, retry_after="60"),
        "STORE_UNAVAILABLE",
    ),
    (
        "silence",
        lambda: faults.stalled(where="answer"),
        lambda: faults.stalled(where="body"),
        "STORE_UNAVAILABLE",
    ),
    (
        "truncated body",
        faults.truncated_object,
        lambda: faults.claimed_length(7),
        "STORE_UNAVAILABLE",
    ),
    ("damaged chunk", None, lambda: faults.other_body(faults.flipped), "CHUNK_CORRUPT"),
]


@pytest.mark.parametrize(
    ("put", "get", "code"), [row[1:] for row in ROWS], ids=[row[0] for row in ROWS]
)
def test_a_fault_concerns_the_files_that_meet_it(
    put: Callable[[], Fault] | None,
    get: Callable[[], Fault],
    code: str,
    files: dict[str, File],
    tmp_path: Path,
) -> None:
    with FaultyServer(*rules(put, get, files)) as server:
        for name in NAMES[3:]:
            server.chunks.update(files[name].chunks)
        run = run_worker(
            session(
                server.url,
                *(message(name, files[name], tmp_path) for name in NAMES),
                max_files=len(NAMES),
                settings=SETTINGS,
            )
        )
        expected = {"down every": code} | ({"up every": "STORE_UNAVAILABLE"} if put else {})
        check_ends(run, expected)
        for name in set(NAMES) - set(expected):
            check_result(name, files[name], server, tmp_path)
    assert {path.name for path in tmp_path.iterdir()} == {"down once", "down"}


def rules(
    put: Callable[[], Fault] | None, get: Callable[[], Fault], files: dict[str, File]
) -> list[Rule]:
    """Have the fault strike one chunk of each file that is to meet it."""
    struck = [("GET", get(), "down")] + ([("PUT", put(), "up")] if put else [])
    return [
        Rule(fault, method, tries=tries, key=files[f"{way} {when}"].hashes[0])
        for method, fault, way in struck
        for when, tries in (("once", FIRST), ("every", EVERY))
    ]


def message(name: str, file: File, folder: Path) -> Message:
    if name.startswith("up"):
        return upload(file.path, None, id=name)
    return download(folder / name, None, file.hashes, id=name)


def check_ends(run: Run, expected: dict[str, str]) -> None:
    """Only the selected files fail, after all their tries; the others have no failed try."""
    assert {event["id"]: event["code"] for event in run.of("ERROR")} == expected, run
    assert (run.terminal["files"], run.terminal["failed"]) == (len(NAMES), len(expected))
    for event in run.of("CHUNK_RETRY"):
        assert event["id"].endswith(("once", "every")), run
        assert event["index"] == 0, run
    for error in run.of("ERROR"):
        mine = [event["attempt"] for event in run.of("CHUNK_RETRY") if event["id"] == error["id"]]
        assert mine == list(range(1, error["attempts"])), run
        # A try without any answer does not count while the file's other chunks go through.
        assert error["attempts"] >= TRIES, run


def check_result(name: str, file: File, server: FaultyServer, folder: Path) -> None:
    """A file that came through is right."""
    if name.startswith("up"):
        check_stored(lambda hash: server.chunks[hash], file.hashes, file.content)
    else:
        assert (folder / name).read_bytes() == file.content
