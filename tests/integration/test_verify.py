"""A verification detects damage, and an upload of the original repairs it."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.support.data import MIB, noise
from tests.support.worker import Session, run_worker, upload, verify

if TYPE_CHECKING:
    from pathlib import Path

    from tests.support.stores import Store

ONCE = {"max_attempts": 1}


@pytest.mark.parametrize("by", ["hashes", "manifest"])
def test_damage_is_found_and_repaired(store: Store, tmp_path: Path, by: str) -> None:
    source = tmp_path / "file"
    source.write_bytes(noise(4 * MIB))
    with Session(store.url) as one:
        up = one.run(upload(source, None, manifest=by == "manifest")).terminal
        hashes = one.run(upload(source, None)).terminal["hashes"]
        sound = one.run(verify(None, up[by])).terminal
        assert (sound["type"], sound["chunks"]) == ("FILE_VERIFIED", len(hashes))
        assert (sound["size"], sound["compressed_size"]) == (4 * MIB, up["compressed_size"])

    store.path(hashes[2]).write_bytes(bytes(512 * 1024))
    store.path(hashes[5]).unlink()
    run = run_worker(verify(store.url, up[by], settings=ONCE))
    told = {event["index"]: event["code"] for event in run.of("CHUNK_BAD")}
    assert told == {2: "CHUNK_CORRUPT", 5: "CHUNK_NOT_FOUND"}
    assert run.terminal["code"] == "CHUNK_CORRUPT"
    assert (run.terminal["index"], run.terminal["bad_chunks"]) == (2, 2)
    quick = run_worker(verify(store.url, up[by], content=False, settings=ONCE))
    assert [event["index"] for event in quick.of("CHUNK_BAD")] == [5]
    if store.server:
        asked = [r for r in store.server.requests("GET") if r.key == hashes[0]]
        assert len(asked) == 2, "presence alone fetches nothing"

    with Session(store.url) as one:
        one.run(upload(source, None, settings={"overwrite": True}))
        assert one.run(verify(None, up[by])).status == 0
