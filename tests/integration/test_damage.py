"""Missing, damaged or misplaced chunks never become a file."""

from __future__ import annotations

import itertools
from typing import TYPE_CHECKING, Any

import pytest

from tests.support.data import MIB, mixed, noise
from tests.support.stores import STORES, Store
from tests.support.worker import Session, download, run_worker, upload

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from tests.support.worker import Message, Run


OLD = b"what stood here before\n"
QUICK = {"max_attempts": 2, "retry_delay_ms": 1}


class Uploaded:
    """A file of several frames and chunks in a store, and a target that exists already."""

    def __init__(self, store: Store, folder: Path, content: bytes) -> None:
        source = folder / "source"
        source.write_bytes(content)
        self.store = store
        self.content = content
        self.hashes: list[str] = run_worker(upload(source, store.url)).terminal["hashes"]
        self.folder = folder / "target folder"
        self.folder.mkdir()
        self.target = self.folder / "target"
        self.target.write_bytes(OLD)
        self._bodies = {name: store.read(name) for name in self.hashes}

    def fetch(self, hashes: list[str] | None = None, /, **more: Any) -> Run:
        """Download over the old target, in a run of its own."""
        return run_worker(self.message(hashes, **more))

    def message(self, hashes: list[str] | None = None, /, **more: Any) -> Message:
        """Return the message that downloads over the old target."""
        wanted = self.hashes if hashes is None else hashes
        return download(self.target, self.store.url, wanted, settings=QUICK, **more)

    def replace(self, name: str, body: bytes | None) -> None:
        """Replace a chunk's bytes, or remove it."""
        path = self.store.path(name)
        path.unlink(missing_ok=True)
        if body is not None:
            path.write_bytes(body)

    def mend(self) -> None:
        """Restore all chunks and the old target."""
        for name, body in self._bodies.items():
            self.replace(name, body)
        self.target.write_bytes(OLD)

    def assert_refused(self, run: Run, code: str) -> None:
        """Check that the run failed with a code, and that nothing changed."""
        assert run.terminal["type"] == "ERROR", run
        assert run.terminal["code"] == code, run
        assert self.target.read_bytes() == OLD, "the old target was touched"
        assert list(self.folder.iterdir()) == [self.target], "something was left beside the target"


@pytest.fixture(scope="module", params=list(STORES))
def made(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Uploaded]:
    content = mixed(5 * MIB) + noise(2 * MIB, seed=5)
    folder = tmp_path_factory.mktemp("damage")
    with STORES[request.param](folder) as store:
        yield Uploaded(store, folder, content)


@pytest.fixture
def uploaded(made: Uploaded) -> Uploaded:
    """In each kind of store in turn, undamaged."""
    made.mend()
    return made


@pytest.fixture(scope="module")
def listed(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Uploaded]:
    """A file whose chunks and frames are all different, in a directory."""
    folder = tmp_path_factory.mktemp("listed")
    with STORES["directory"](folder) as store:
        yield Uploaded(store, folder, noise(9 * MIB))


def test_missing_chunk(uploaded: Uploaded) -> None:
    with Session() as one:
        for place in (0, 3, -1):
            uploaded.mend()
            uploaded.replace(uploaded.hashes[place], None)
            check_missing(one.run(uploaded.message()), uploaded, place)


def test_missing_chunk_in_a_run_of_its_own(uploaded: Uploaded) -> None:
    uploaded.replace(uploaded.hashes[0], None)
    check_missing(uploaded.fetch(), uploaded, 0)


def check_missing(run: Run, uploaded: Uploaded, place: int) -> None:
    uploaded.assert_refused(run, "CHUNK_NOT_FOUND")
    index = place % len(uploaded.hashes)
    assert (run.terminal["index"], run.terminal["hash"]) == (index, uploaded.hashes[place])
    assert run.terminal["retryable"] is False
    assert not run.of("CHUNK_RETRY"), "what is not there is not there: no second try"


def flip(body: bytes) -> bytes:
    middle = len(body) // 2
    return body[:middle] + bytes([body[middle] ^ 0x10]) + body[middle + 1 :]


DAMAGES: list[Callable[[bytes], bytes]] = [
    flip,
    lambda body: body[:-1],
    lambda body: body + b"\0",
    lambda _: b"",
    lambda body: body * 3,
]


def test_damaged_chunk(uploaded: Uploaded) -> None:
    """Flipped, a byte short, a byte long, empty, and thrice as long."""
    with Session() as one:
        for place, damage in itertools.product((0, -1), DAMAGES):
            uploaded.mend()
            damaged = uploaded.hashes[place]
            uploaded.replace(damaged, damage(uploaded.store.read(damaged)))
            check_damaged(one.run(uploaded.message()), uploaded, damaged)


def test_damaged_chunk_in_a_run_of_its_own(uploaded: Uploaded) -> None:
    damaged = uploaded.hashes[-1]
    uploaded.replace(damaged, flip(uploaded.store.read(damaged)))
    check_damaged(uploaded.fetch(), uploaded, damaged)


def check_damaged(run: Run, uploaded: Uploaded, damaged: str) -> None:
    uploaded.assert_refused(run, "CHUNK_CORRUPT")
    assert run.terminal["hash"] == damaged
    assert run.terminal["attempts"] == QUICK["max_attempts"]
    assert [event["code"] for event in run.of("CHUNK_RETRY")] == ["CHUNK_CORRUPT"]


EDITS: dict[str, Callable[[list[str]], list[str]]] = {
    "first left out": lambda hashes: hashes[1:],
    "last left out": lambda hashes: hashes[:-1],
    "last two left out": lambda hashes: hashes[:-2],
    "one in the middle left out": lambda hashes: hashes[:4] + hashes[5:],
    "two swapped": lambda hashes: [hashes[1], hashes[0], *hashes[2:]],
    "last two swapped": lambda hashes: [*hashes[:-2], hashes[-1], hashes[-2]],
    "first repeated": lambda hashes: [hashes[0], *hashes],
    "middle repeated": lambda hashes: hashes[:5] + hashes[4:],
    "last repeated": lambda hashes: [*hashes, hashes[-1]],
    "all twice": lambda hashes: hashes * 2,
    "backwards": lambda hashes: hashes[::-1],
    "only the first": lambda hashes: hashes[:1],
    "only the last": lambda hashes: hashes[-1:],
}


def test_list_out_of_order(listed: Uploaded) -> None:
    with Session() as one:
        for name, edit in EDITS.items():
            run = one.run(listed.message(edit(listed.hashes)))
            listed.assert_refused(run, "STREAM_CORRUPT")
            assert run.terminal["retryable"] is False, name


@pytest.mark.parametrize("name", ["one in the middle left out", "last left out"])
def test_list_out_of_order_in_a_run_of_its_own(listed: Uploaded, name: str) -> None:
    listed.assert_refused(listed.fetch(EDITS[name](listed.hashes)), "STREAM_CORRUPT")


def test_every_list_of_a_file_of_equal_frames(tmp_path: Path) -> None:
    """Complete frames, left out or repeated, are valid zstd: only the table detects this."""
    with STORES["directory"](tmp_path) as store, Session() as one:
        uploaded = Uploaded(store, tmp_path, noise(4 * MIB) * 3)
        for count in (1, 2, 3):
            wrong = uploaded.hashes[: len(uploaded.hashes) * count // 4]
            uploaded.assert_refused(one.run(uploaded.message(wrong)), "STREAM_CORRUPT")


@pytest.mark.parametrize(
    "claim", [{"size": 1}, {"size": 2**40}, {"sha256": "0" * 64}], ids=["short", "long", "sha256"]
)
def test_other_file_than_promised(listed: Uploaded, claim: dict[str, Any]) -> None:
    listed.assert_refused(listed.fetch(**claim), "FILE_MISMATCH")


def test_damaged_chunk_is_replaced_by_an_upload(tmp_path: Path) -> None:
    """An object of another length counts as missing: an upload replaces it."""
    with STORES["webdav"](tmp_path) as store:
        uploaded = Uploaded(store, tmp_path, noise(2 * MIB))
        cut = uploaded.hashes[1]
        store.path(cut).write_bytes(store.read(cut)[:1000])
        told = run_worker(upload(tmp_path / "source", store.url)).terminal
        assert told["new_chunks"] == 1
        assert uploaded.fetch().terminal["type"] == "FILE_DOWNLOADED"
        assert uploaded.target.read_bytes() == uploaded.content


def test_store_that_is_not_there(tmp_path: Path) -> None:
    run = run_worker(download(tmp_path / "target", tmp_path / "nowhere", ["0" * 64]))
    assert run.terminal["code"] == "STORE_UNAVAILABLE"
    assert list(tmp_path.iterdir()) == []
