"""Malformed messages: refused within bounds, with the reason."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

import pytest

from tests.support.data import KIB, MIB
from tests.support.worker import Session, Worker, download, run_worker, upload

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from tests.faults.conftest import Stored

HASH = "0" * 64


def long_object() -> bytes:
    """A field that stands twice among half a million others."""
    fields = ",".join(f'"f{n}":0' for n in range(500_000))
    return f'{{{fields},"last":1,"last":2}}\n'.encode()


# Those that could take much memory or time; the others are in tests/unit.
BAD: dict[str, Callable[[], bytes]] = {
    "100 MB of lists": lambda: b'{"type":' + b"[" * 100_000_000 + b"\n",
    "100 MB of one string": lambda: b'{"type":"' + b"x" * 100_000_000 + b'"}\n',
    "12 MB of fields": lambda: b'{"type":0' + b',"a":1' * 2_000_000 + b"}\n",
    "12 MB of escapes": lambda: b'{"path":"' + b"\\u0041" * 2_000_000 + b'"}\n',
    "a field twice among many": long_object,
}


@pytest.mark.parametrize("name", list(BAD))
def test_a_bad_message_is_refused_within_bounds(name: str) -> None:
    run = run_worker(BAD[name](), measure=True, timeout=60)
    assert run.terminal["code"] == "BAD_MESSAGE", run
    assert run.status == 2
    assert len(run.stdout) < 4 * KIB
    assert run.peak_rss < 700 * MIB


@pytest.mark.parametrize("host", ["ex ample", "[::1", "a" * 300, "xn--", "ä" * 70, "host:99999"])
def test_hosts_that_cannot_be(host: str, small: Stored) -> None:
    """Refused, or not to be found: never a bug of the worker's."""
    settings = {"max_attempts": 1, "timeout_ms": 500}
    run = run_worker(upload(small.path, f"http://{host}/", settings=settings))
    assert run.terminal["code"] in {"BAD_MESSAGE", "STORE_UNAVAILABLE"}, run


@pytest.mark.parametrize(
    "count",
    [
        pytest.param(150_000, id="10 MB"),
        pytest.param(1_500_000, id="100 MB", marks=pytest.mark.by_command("large")),
    ],
)
def test_a_long_list_of_hashes(count: int, tmp_path: Path) -> None:
    """100 MB of them are what a file of 700 GiB needs."""
    message = download(tmp_path / "file", tmp_path, [HASH] * count)
    run = run_worker(message, measure=True, timeout=60)
    assert run.terminal["code"] == "CHUNK_NOT_FOUND", run
    assert run.peak_rss < 50 * MIB + 450 * count


def test_a_message_that_is_too_long_is_refused_before_it_ends() -> None:
    with Worker(None) as worker:
        block = b'{"type":"' + b"x" * (16 * MIB)
        for _ in range(20):
            worker.send(block)
        run = worker.finish()
    assert run.terminal["code"] == "BAD_MESSAGE", run


NAMES = [
    b"\xff\xfe no UTF-8",
    "naïve 文件 \N{PILE OF POO}".encode(),
    b"two\nlines\r and a \x1b[31m colour",
    b'"quotes" \\ and spaces ',
    b"-rf",
    b"n" * 255,
]


@pytest.mark.parametrize("environ", [{}, {"LC_ALL": "C"}, {"LC_ALL": "POSIX", "PYTHONUTF8": "0"}])
def test_names_come_back_as_they_went_in(
    environ: dict[str, str | None], small: Stored, tmp_path: Path
) -> None:
    folder = os.fsencode(tmp_path)
    with Session(how={"env": {"LANG": None, **environ}}) as one:
        for name in NAMES:
            path = os.path.join(folder, name)
            with open(path, "wb") as file:
                file.write(small.content)
            store = os.path.join(folder, b"store " + name[:200])
            spelled, place = (each.decode("utf-8", "surrogateescape") for each in (path, store))
            run = one.run(upload(spelled, place))
            assert run.status == 0, run
            assert run.terminal["path"] == spelled
            os.unlink(path)
            run = one.run(download(spelled, place, small.hashes))
            assert run.status == 0, run
            assert run.terminal["path"] == spelled
            with open(path, "rb") as file:
                assert file.read() == small.content
            missing = one.run(upload(f"{spelled[:-1]}?", place))
            assert missing.terminal["code"] == "FILE_NOT_FOUND", missing
            assert "\n" not in missing.terminal["message"]


def test_a_name_of_a_run_of_its_own_comes_back(small: Stored, tmp_path: Path) -> None:
    path = os.path.join(os.fsencode(tmp_path), NAMES[0])
    with open(path, "wb") as file:
        file.write(small.content)
    spelled = path.decode("utf-8", "surrogateescape")
    run = run_worker(upload(spelled, tmp_path / "store"), env={"LANG": None, "LC_ALL": "C"})
    assert run.terminal["path"] == spelled


def test_an_answer_does_not_wait_for_the_pipe_to_close() -> None:
    for message in (b"no object\n", b"[1]\n", b'"x"\n', b"{}\n", b'{"type":1}\n'):
        with Worker(message, close_stdin=False) as worker:
            run = worker.finish()
            assert run.status == 2, run
