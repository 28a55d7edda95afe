"""A round trip of a file with every kind of store."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING

import pytest

from tests.support.data import INPUTS, Inputs
from tests.support.reference import check_stored, digest
from tests.support.worker import download, run_worker, upload

if TYPE_CHECKING:
    from pathlib import Path

    from tests.support.stores import Store


def test_file_comes_back_and_is_sent_once(store: Store, inputs: Inputs, tmp_path: Path) -> None:
    """None, one and many chunks; what a stream is cut into is the same for every store."""
    for name in ("0 bytes", "600 KiB", "15 MiB mixed"):
        check_round_trip(store, inputs.path(name), tmp_path / "target")


@pytest.mark.parametrize("name", INPUTS)
def test_any_file_comes_back(name: str, directory: Store, inputs: Inputs, tmp_path: Path) -> None:
    check_round_trip(directory, inputs.path(name), tmp_path / "target")


def check_round_trip(store: Store, source: Path, target: Path) -> None:
    content = source.read_bytes()
    before = store.files()

    first = run_worker(upload(source, store.url, id="first", sha256=True))
    told = first.terminal
    assert told["type"] == "FILE_UPLOADED", first
    assert (told["path"], told["size"], told["changed"]) == (str(source), len(content), False)
    assert told["sha256"] == digest(content)
    hashes = told["hashes"]
    assert store.files() - before == set(hashes)
    check_stored(store.read, hashes, content)
    assert told["new_chunks"] == len(set(hashes))

    again = run_worker(upload(source, store.url))
    assert again.terminal["hashes"] == hashes
    assert (again.terminal["new_chunks"], again.terminal["new_bytes"]) == (0, 0)
    if store.server:
        puts = Counter(request.key for request in store.server.requests("PUT"))
        assert {key: puts[key] for key in hashes} == dict.fromkeys(hashes, 1), "not exactly once"

    whole = {"size": len(content), "sha256": digest(content)}
    back = run_worker(download(target, store.url, hashes, id="back", **whole))
    assert back.terminal["type"] == "FILE_DOWNLOADED", back
    assert back.terminal["sha256"] == digest(content)
    assert back.terminal["compressed_size"] == told["compressed_size"]
    assert (back.terminal["size"], back.terminal["chunks"]) == (len(content), len(hashes))
    assert target.read_bytes() == content


def test_download_needs_only_the_hashes(directory: Store, inputs: Inputs, tmp_path: Path) -> None:
    source = inputs.path("600 KiB")
    hashes = run_worker(upload(source, directory.url)).terminal["hashes"]
    back = run_worker(download(tmp_path / "target", directory.url, hashes))
    assert "sha256" not in back.terminal
    assert (tmp_path / "target").read_bytes() == source.read_bytes()


@pytest.mark.parametrize("threads", [1, 2, 5])
def test_hashes_do_not_depend_on_threads(threads: int, directory: Store, inputs: Inputs) -> None:
    source = inputs.path("15 MiB mixed")
    default = run_worker(upload(source, directory.url)).terminal["hashes"]
    settings = {"compression_threads": threads, "concurrency": threads}
    other = run_worker(upload(source, directory.url, settings=settings)).terminal
    assert other["hashes"] == default
    assert other["new_chunks"] == 0


@pytest.mark.parametrize("level", [1, 9, 19])
def test_every_level_is_restored_by_zstd(level: int, directory: Store, inputs: Inputs) -> None:
    source = inputs.path("600 KiB" if level == 19 else "15 MiB mixed")
    told = run_worker(upload(source, directory.url, settings={"compression_level": level})).terminal
    check_stored(directory.read, told["hashes"], source.read_bytes())


def test_verified_upload_stores_the_same(directory: Store, inputs: Inputs) -> None:
    source = inputs.path("15 MiB mixed")
    plain = run_worker(upload(source, directory.url)).terminal
    verified = run_worker(upload(source, directory.url, verify=True)).terminal
    assert verified["hashes"] == plain["hashes"]


def test_default_store_is_a_folder_of_the_user(inputs: Inputs, tmp_path: Path) -> None:
    source = inputs.path("600 KiB")
    home = {"HOME": str(tmp_path), "XDG_DATA_HOME": None}
    told = run_worker(upload(source, None), env=home).terminal
    kept = {path.name for path in tmp_path.rglob("*") if path.is_file()}
    assert kept == set(told["hashes"])
    back = run_worker(download(tmp_path / "target", None, told["hashes"]), env=home)
    assert back.terminal["type"] == "FILE_DOWNLOADED", back


def test_store_of_the_environment(directory: Store, inputs: Inputs) -> None:
    named = {"STORE_WORKERS_STORE": directory.url}
    told = run_worker(upload(inputs.path("600 KiB"), None), env=named).terminal
    assert directory.files() == set(told["hashes"])


@pytest.mark.parametrize("form", ["file://{}", "{}/", "{}//./"])
def test_spellings_of_one_directory(form: str, directory: Store, inputs: Inputs) -> None:
    told = run_worker(upload(inputs.path("600 KiB"), form.format(directory.url))).terminal
    assert directory.files() == set(told["hashes"])


def test_paths_with_odd_names(directory: Store, tmp_path: Path) -> None:
    source = tmp_path / "a name\nwith \N{SNOWMAN} and 100%.bin"
    source.write_bytes(b"odd")
    told = run_worker(upload(source, directory.url)).terminal
    assert told["path"] == str(source)
    target = tmp_path / "tårget\n"
    back = run_worker(download(target, directory.url, told["hashes"]))
    assert back.terminal["path"] == str(target)
    assert target.read_bytes() == b"odd"
