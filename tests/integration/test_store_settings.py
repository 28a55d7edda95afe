"""`settings.overwrite` and `settings.create_store`, by the artifact against real stores."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.support.data import MIB, noise
from tests.support.worker import download, run_worker, upload

if TYPE_CHECKING:
    from pathlib import Path

    from tests.support.stores import Store


@pytest.mark.parametrize("kind", ["directory", "nginx"])
def test_an_upload_that_overwrites_repairs_a_damaged_store(
    request: pytest.FixtureRequest, tmp_path: Path, kind: str
) -> None:
    store: Store = request.getfixturevalue(kind)
    source = tmp_path / "source"
    source.write_bytes(noise(2 * MIB))
    hashes = run_worker(upload(source, store.url)).terminal["hashes"]
    for path in list(store.root.rglob("*")):
        if path.name in hashes:
            path.write_bytes(bytes(path.stat().st_size))
    back = download(tmp_path / "back", store.url, hashes)
    settings = {"max_attempts": 1}
    assert run_worker({**back, "settings": settings}).terminal["code"] == "CHUNK_CORRUPT"
    assert run_worker(upload(source, store.url)).terminal["new_chunks"] == 0
    again = run_worker(upload(source, store.url, settings={"overwrite": True}))
    assert again.terminal["new_chunks"] == len(hashes)
    assert run_worker(back).terminal["type"] == "FILE_DOWNLOADED"
    assert (tmp_path / "back").read_bytes() == source.read_bytes()


def test_a_disk_that_is_not_mounted(tmp_path: Path) -> None:
    source, root = tmp_path / "source", tmp_path / "disk"
    source.write_bytes(b"data")
    message = upload(source, str(root), settings={"create_store": False})
    run = run_worker(message)
    assert run.terminal["code"] == "STORE_UNAVAILABLE"
    assert run.terminal["retryable"] is True
    assert "create_store" in run.terminal["message"]
    assert not root.exists()
    root.mkdir()
    assert run_worker(message).terminal["type"] == "FILE_UPLOADED"
