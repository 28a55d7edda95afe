"""Placeholders in a store's URL: what a directory store wrote is read through any web server."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tests.support.data import MIB, noise
from tests.support.worker import download, run_worker, upload

if TYPE_CHECKING:
    from pathlib import Path

    from tests.support.stores import Store


def test_a_store_written_as_a_directory_and_read_through_nginx(
    nginx: Store, tmp_path: Path
) -> None:
    source = tmp_path / "source"
    source.write_bytes(noise(3 * MIB))
    hashes = run_worker(upload(source, str(nginx.root))).terminal["hashes"]
    url = f"{nginx.url}/{{hash:2}}/{{hash}}"
    run_worker(download(tmp_path / "back", url, hashes))
    assert (tmp_path / "back").read_bytes() == source.read_bytes()
    absent = run_worker(download(tmp_path / "none", url, ["0" * 64]))
    assert absent.terminal["code"] == "CHUNK_NOT_FOUND"
    assert nginx.server
    nginx.server.forget_requests()
    assert run_worker(upload(source, url)).terminal["new_chunks"] == 0
    assert {request.method for request in nginx.server.requests()} == {"HEAD"}


def test_a_store_written_through_nginx_and_read_as_a_directory(
    nginx: Store, tmp_path: Path
) -> None:
    source = tmp_path / "source"
    source.write_bytes(noise(MIB))
    hashes = run_worker(upload(source, f"{nginx.url}/{{hash:2}}/{{hash}}")).terminal["hashes"]
    run_worker(download(tmp_path / "back", str(nginx.root), hashes))
    assert (tmp_path / "back").read_bytes() == source.read_bytes()
