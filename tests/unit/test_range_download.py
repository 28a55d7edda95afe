"""Downloads of ranges: the right bytes, and no unnecessary chunks."""

from __future__ import annotations

import os
from random import Random
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from store_workers.errors import ErrorCode, StreamCorrupt, WorkerError
from store_workers.stream.chunk_list import ChunkList
from store_workers.stream.manifest import VERSION, Header, Listed, write_manifest
from store_workers.stream.spans import FRAME_SPAN
from store_workers.wire.events import DownloadProgress, FileDownloaded
from tests.stores.flaky_store import FlakyStore
from tests.stores.memory_store import MemoryStore
from tests.unit.in_process import InProcess, beside, upload
from tests.unit.test_manifest import Pieces
from tests.unit.test_manifest_reader import altered

if TYPE_CHECKING:
    from pathlib import Path

    from store_workers.stores.base import Store

MIB = 1024 * 1024
CHUNK = 512 * 1024
TAIL = 16 * 1024
"""Bytes of the last chunks of the file below: more than its seek table."""


class Kept:
    """A file of five frames and its manifest in a store."""

    def __init__(self, folder: Path) -> None:
        half = 4 * MIB + 123_456
        self.content = Random(5).randbytes(half) + (b"text, " * half)[:half]
        path = folder / "file"
        path.write_bytes(self.content)
        self.store = MemoryStore()
        self.up = upload(path, self.store, manifest=True)
        self.manifest = self.up.manifest or ""


@pytest.fixture(scope="module")
def kept(tmp_path_factory: pytest.TempPathFactory) -> Kept:
    return Kept(tmp_path_factory.mktemp("kept"))


def start(
    kept: Kept, target: Path, offset: int, length: int | None = None, **more: Any
) -> InProcess:
    store: Store = more.pop("store", kept.store)
    wanted = {"offset": offset} if length is None else {"offset": offset, "length": length}
    message = {"manifest": kept.manifest, **more, "range": wanted}
    return InProcess({"type": "DOWNLOAD_START", "path": str(target), **message}, store)


def failed(run: InProcess) -> WorkerError:
    with pytest.raises(WorkerError) as failure:
        run.finish()
    return failure.value


EDGES = [0, 1, FRAME_SPAN - 1, FRAME_SPAN, FRAME_SPAN + 1, 2 * FRAME_SPAN, 8 * MIB + 246_908]


@settings(deadline=None, max_examples=30)
@given(
    offset=st.sampled_from(EDGES) | st.integers(0, 8 * MIB + 246_911),
    length=st.none() | st.sampled_from([1, 2, FRAME_SPAN, 1 << 40]) | st.integers(1, 3 * MIB),
)
def test_any_part(kept: Kept, tmp_path_factory: Any, offset: int, length: int | None) -> None:
    target = tmp_path_factory.mktemp("range") / "part"
    kept.store.fetched.clear()
    run = start(kept, target, offset, length)
    end = run.finish()
    wanted = kept.content[offset:] if length is None else kept.content[offset : offset + length]
    assert target.read_bytes() == wanted
    assert isinstance(end, FileDownloaded)
    assert (end.size, end.sha256) == (len(wanted), None)
    fetched = kept.store.fetched
    assert fetched[0] == kept.manifest
    assert len(fetched) == len(set(fetched)), "something was fetched twice"
    assert end.chunks == len(fetched) - 1
    assert end.compressed_size == sum(len(kept.store.chunks[name]) for name in fetched[1:])
    # A frame at either end that is needed in part, and a chunk at either end of those.
    assert end.compressed_size <= len(wanted) + 2 * FRAME_SPAN + 2 * CHUNK + TAIL
    last = run.worker.progress()
    assert isinstance(last, DownloadProgress)
    assert (last.written_bytes, last.total_bytes) == (len(wanted), len(wanted))
    assert (last.fetched_chunks, last.total_chunks) == (end.chunks, end.chunks)
    assert last.fetched_bytes == end.compressed_size


def test_a_byte_in_the_middle_takes_one_frame(kept: Kept, tmp_path: Path) -> None:
    kept.store.fetched.clear()
    end = start(kept, tmp_path / "part", FRAME_SPAN + MIB, 1).finish()
    assert end.compressed_size <= 3 * MIB + TAIL


def test_a_fifo_gets_it_in_order(kept: Kept, tmp_path: Path) -> None:
    fifo = tmp_path / "fifo"
    os.mkfifo(fifo)
    read: list[bytes] = []
    reader = beside(lambda: read.append(fifo.read_bytes()))
    offset, length = FRAME_SPAN - 5, 2 * FRAME_SPAN + 10
    end = start(kept, fifo, offset, length).finish()
    reader.join(10)
    assert end.size == length
    assert read == [kept.content[offset : offset + length]]


@pytest.mark.parametrize("beyond", [0, 1, 1 << 40])
def test_a_part_behind_the_end(kept: Kept, tmp_path: Path, beyond: int) -> None:
    target = tmp_path / "part"
    target.write_bytes(b"old")
    failure = failed(start(kept, target, len(kept.content) + beyond))
    assert failure.code is ErrorCode.FILE_MISMATCH
    assert f"the file has {len(kept.content)}" in failure.message
    assert target.read_bytes() == b"old"
    assert os.listdir(tmp_path) == ["part"]


def test_an_empty_file_has_no_part(tmp_path: Path, kept: Kept) -> None:
    (tmp_path / "empty").write_bytes(b"")
    name = upload(tmp_path / "empty", kept.store, manifest=True).manifest
    failure = failed(start(kept, tmp_path / "part", 0, manifest=name))
    assert failure.code is ErrorCode.FILE_MISMATCH


def test_a_flaky_store_is_asked_again(kept: Kept, tmp_path: Path) -> None:
    store = FlakyStore(kept.store, 2)
    run = start(kept, tmp_path / "part", 5, 3 * MIB, store=store, settings={"retry_delay_ms": 1})
    end = run.finish()
    assert (tmp_path / "part").read_bytes() == kept.content[5 : 5 + 3 * MIB]
    assert isinstance(end, FileDownloaded)
    assert len(run.retries) == 2 * (end.chunks + 1)


def test_frames_that_the_content_marks_off(kept: Kept, tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(kept.content)
    by_content = {"boundaries": "content"}
    name = upload(tmp_path / "file", kept.store, manifest=True, settings=by_content).manifest
    assert name != kept.manifest
    for offset, length in [(0, 1), (FRAME_SPAN - 7, 3 * MIB), (len(kept.content) - 5, 99)]:
        end = start(kept, tmp_path / "part", offset, length, manifest=name).finish()
        assert (tmp_path / "part").read_bytes() == kept.content[offset : offset + length]
        assert end.size == min(length, len(kept.content) - offset)


def test_damage_is_found(kept: Kept, tmp_path: Path) -> None:
    store = MemoryStore()
    store.chunks = dict(kept.store.chunks)
    struck = listed(kept)[0]
    store.chunks[struck] = bytes(len(store.chunks[struck]))
    once = {"max_attempts": 1}
    failure = failed(start(kept, tmp_path / "part", 5, 5, store=store, settings=once))
    assert (failure.code, failure.index) == (ErrorCode.CHUNK_CORRUPT, 0)
    far = start(kept, tmp_path / "part", 3 * FRAME_SPAN, 5, store=store, settings=once)
    assert far.finish().size == 5, "it needs none of what is damaged"


def listed(kept: Kept) -> list[str]:
    run = InProcess({"type": "VERIFY_START", "manifest": kept.manifest}, kept.store)
    run.finish()
    listing = run.worker._listing  # type: ignore[attr-defined]
    return list(listing.hashes)


def relisted(kept: Kept, names: list[str]) -> str:
    """Store a manifest of other chunks in place of the file's."""
    chunks = ChunkList()
    for place, name in enumerate(names):
        chunks.put(place, bytes.fromhex(name), len(kept.store.chunks[name]))
    header = Header(
        store_workers_manifest=VERSION,
        of=Listed.FILE,
        size=len(kept.content),
        compressed_size=sum(chunks.sizes()),
        chunks=len(names),
        chunk_size=CHUNK,
        boundaries="fixed",
    )
    pieces = Pieces()
    name = write_manifest(header, chunks, pieces.store)
    kept.store.chunks.update(pieces.chunks)
    return name


def test_lists_that_are_no_whole_file(kept: Kept, tmp_path: Path) -> None:
    names = listed(kept)
    for wrong in (
        names[:-1],
        names[1:],
        [*names[:3], *names[4:]],
        [names[0], *names],
        [names[1], names[0], *names[2:]],
        names[:1],
    ):
        run = start(kept, tmp_path / "part", 0, 3 * MIB, manifest=relisted(kept, wrong))
        assert isinstance(failed(run), StreamCorrupt)
        assert not (tmp_path / "part").exists()


def test_a_manifest_that_lies_of_the_size(kept: Kept, tmp_path: Path) -> None:
    name = altered(kept.store, kept.manifest, size=len(kept.content) + 1)
    assert isinstance(failed(start(kept, tmp_path / "part", 0, manifest=name)), StreamCorrupt)
