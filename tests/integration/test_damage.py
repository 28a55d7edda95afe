"""Missing, damaged or misplaced chunks never become a file."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from tests.support.data import MIB, mixed, noise
from tests.support.stores import STORES, Store
from tests.support.worker import download, run_worker, upload

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from tests.support.worker import Run

# Each kind of store is filled once.
pytestmark = pytest.mark.xdist_group("damage")

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
        """Download over the old target."""
        wanted = self.hashes if hashes is None else hashes
        return run_worker(download(self.target, self.store.url, wanted, settings=QUICK, **more))

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


@pytest.mark.parametrize("place", [0, 3, -1])
def test_missing_chunk(uploaded: Uploaded, place: int) -> None:
    missing = uploaded.hashes[place]
    uploaded.replace(missing, None)
    run = uploaded.fetch()
    uploaded.assert_refused(run, "CHUNK_NOT_FOUND")
    index = place % len(uploaded.hashes)
    assert (run.terminal["index"], run.terminal["hash"]) == (index, missing)
    assert run.terminal["retryable"] is False
    assert not run.of("CHUNK_RETRY"), "what is not there is not there: no second try"


def flip(body: bytes) -> bytes:
    middle = len(body) // 2
    return body[:middle] + bytes([body[middle] ^ 0x10]) + body[middle + 1 :]


@pytest.mark.parametrize(
    "damage",
    [
        pytest.param(flip, id="flipped"),
        pytest.param(lambda body: body[:-1], id="a byte short"),
        pytest.param(lambda body: body + b"\0", id="a byte long"),
        pytest.param(lambda _: b"", id="empty"),
        pytest.param(lambda body: body * 3, id="thrice"),
    ],
)
@pytest.mark.parametrize("place", [0, -1])
def test_damaged_chunk(uploaded: Uploaded, place: int, damage: Callable[[bytes], bytes]) -> None:
    damaged = uploaded.hashes[place]
    uploaded.replace(damaged, damage(uploaded.store.read(damaged)))
    run = uploaded.fetch()
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


@pytest.mark.parametrize("edit", EDITS.values(), ids=EDITS.keys())
def test_list_out_of_order(listed: Uploaded, edit: Callable[[list[str]], list[str]]) -> None:
    run = listed.fetch(edit(listed.hashes))
    listed.assert_refused(run, "STREAM_CORRUPT")
    assert run.terminal["retryable"] is False


@pytest.mark.parametrize("count", [1, 2, 3])
def test_every_list_of_a_file_of_equal_frames(tmp_path: Path, count: int) -> None:
    """Complete frames, left out or repeated, are valid zstd: only the table detects this."""
    with STORES["directory"](tmp_path) as store:
        uploaded = Uploaded(store, tmp_path, noise(4 * MIB) * 3)
        wrong = uploaded.hashes[: len(uploaded.hashes) * count // 4]
        run = uploaded.fetch(wrong)
        uploaded.assert_refused(run, "STREAM_CORRUPT")


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
