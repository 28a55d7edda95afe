"""An edited list of hashes never results in other bytes.

Lists of real uploads are edited at random. The hardest of them has spans whose frames are as long
as chunks are cut, so that each chunk is a row of whole frames, and the table is a chunk by itself:
there only the table can tell that something is out of place.
"""

from __future__ import annotations

import hashlib
from random import Random
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from store_workers.errors import ErrorCode, WorkerError
from store_workers.stream import spans
from store_workers.stream.spans import FRAME_SPAN
from tests.stores.memory_store import MemoryStore
from tests.unit.in_process import download, upload
from tests.unit.streams import TABLE_MAGIC
from tests.unit.test_upload import ALIGNED_SPAN

if TYPE_CHECKING:
    from pathlib import Path

MIB = 1024 * 1024
NOISE = Random(11).randbytes


class Case:
    """An upload's list, its store, and what it gives back."""

    def __init__(self, folder: Path, content: bytes) -> None:
        self.content = content
        self.target = folder / "target"
        self.store = MemoryStore()
        source = folder / "source"
        source.write_bytes(content)
        self.hashes = list(upload(source, self.store).hashes)

    def outcome(self, hashes: list[str], **more: Any) -> bytes | ErrorCode:
        """Return the result of a download: the file, or the code of the error."""
        self.target.unlink(missing_ok=True)
        try:
            download(self.target, self.store, hashes, **more)
        except WorkerError as error:
            assert not self.target.exists()
            return error.code
        return self.target.read_bytes()


@pytest.fixture(scope="module")
def cases(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Case]:
    """Streams of one frame, of several, and of frames that are cut where chunks are."""

    def case(content: bytes) -> Case:
        return Case(tmp_path_factory.mktemp("case"), content)

    made = {
        "one frame": case(NOISE(700_000)),
        "several frames": case(NOISE(FRAME_SPAN + 2500).hex().encode()),
        "many small chunks": case(NOISE(FRAME_SPAN)),
        "empty": case(b""),
        "equal frames": case(bytes(3 * FRAME_SPAN)),
    }
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(spans, "FRAME_SPAN", ALIGNED_SPAN)
        made["frames cut where chunks are"] = case(NOISE(31 * ALIGNED_SPAN))
    return made


NAMES = [
    "one frame",
    "several frames",
    "many small chunks",
    "empty",
    "equal frames",
    "frames cut where chunks are",
]


def edited(draw: st.DataObject, hashes: list[str]) -> list[str]:
    """Leave out, repeat, move and swap."""
    made = list(hashes)
    for _ in range(draw.draw(st.integers(1, 3))):
        if not made:
            break
        first = draw.draw(st.integers(0, len(made) - 1))
        other = draw.draw(st.integers(0, len(made) - 1))
        edit = draw.draw(st.sampled_from(["omit", "repeat", "move", "swap", "cut", "double"]))
        if edit == "omit":
            del made[first]
        elif edit == "repeat":
            made.insert(other, made[first])
        elif edit == "move":
            made.insert(other, made.pop(first))
        elif edit == "swap":
            made[first], made[other] = made[other], made[first]
        elif edit == "cut":
            del made[first + 1 :]
        elif edit == "double":
            made += made
    return made


SLOWLY = settings(max_examples=25)


@pytest.mark.parametrize("name", NAMES)
@SLOWLY
@given(draw=st.data(), vouching=st.sampled_from(["the table", "the table", "a digest", "a size"]))
def test_an_edited_list_never_gives_other_bytes(
    cases: dict[str, Case], name: str, draw: st.DataObject, vouching: str
) -> None:
    case = cases[name]
    hashes = edited(draw, case.hashes)
    if not hashes:
        return
    more: dict[str, Any] = {}
    refusals = [ErrorCode.STREAM_CORRUPT]
    if vouching == "a digest":
        more["sha256"] = hashlib.sha256(case.content).hexdigest()
    if vouching == "a size":
        more["size"] = len(case.content)
    if more:
        refusals.append(ErrorCode.FILE_MISMATCH)
    outcome = case.outcome(hashes, **more)
    if hashes == case.hashes:
        assert outcome == case.content
    elif vouching == "a size" and is_row_of_whole_frames(case, hashes):
        # It may as well be another tool's stream, of which nothing but the size is known.
        assert isinstance(outcome, ErrorCode) or len(outcome) == len(case.content)
    else:
        assert outcome in (*refusals, case.content)


def is_row_of_whole_frames(case: Case, hashes: list[str]) -> bool:
    """Return whether each chunk consists of complete frames, and the table is missing."""
    aligned = case.store.chunks[case.hashes[-1]][:4] == TABLE_MAGIC
    return aligned and case.hashes[-1] not in hashes


def test_the_hardest_case_is_as_hard_as_it_says(cases: dict[str, Case]) -> None:
    case = cases["frames cut where chunks are"]
    sizes = [len(case.store.chunks[hash]) for hash in case.hashes]
    assert [size % 65_536 for size in sizes[:-1]] == [0] * (len(sizes) - 1)
    assert sizes[-1] == 8 + 31 * 12 + 9


@pytest.mark.parametrize("name", NAMES)
def test_every_single_omission_repetition_and_exchange(cases: dict[str, Case], name: str) -> None:
    case = cases[name]
    count = len(case.hashes)
    lists = [case.hashes[:n] + case.hashes[n + 1 :] for n in range(count)]
    lists += [case.hashes[: n + 1] + case.hashes[n:] for n in range(count)]
    for n in range(count - 1):
        swapped = list(case.hashes)
        swapped[n], swapped[n + 1] = swapped[n + 1], swapped[n]
        lists.append(swapped)
    for hashes in filter(None, lists):
        if hashes != case.hashes:
            assert case.outcome(hashes) is ErrorCode.STREAM_CORRUPT


def test_two_lists_of_genuine_files_do_not_mix(cases: dict[str, Case]) -> None:
    one, other = cases["one frame"], cases["frames cut where chunks are"]
    store = MemoryStore()
    store.chunks = {**one.store.chunks, **other.store.chunks}
    case = cases["empty"]
    case.store.chunks.update(store.chunks)
    for mixed in (
        other.hashes[:-1] + one.hashes,
        one.hashes[:-1] + other.hashes[-1:],
        other.hashes[:1] + one.hashes[1:],
        one.hashes * 2 + other.hashes,
    ):
        assert case.outcome(mixed) is ErrorCode.STREAM_CORRUPT
    # Whole streams behind each other are one, as they are for zstd.
    assert case.outcome(one.hashes + other.hashes) == one.content + other.content


def test_a_list_that_comes_twice_is_taken_where_that_is_said(cases: dict[str, Case]) -> None:
    case = cases["one frame"]
    twice = case.content * 2
    assert case.outcome(case.hashes * 2) is ErrorCode.STREAM_CORRUPT
    assert case.outcome(case.hashes * 2, size=len(twice)) == twice
    assert case.outcome(case.hashes * 2, sha256=hashlib.sha256(twice).hexdigest()) == twice
