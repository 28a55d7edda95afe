"""Shared by the fault tests: a file, its stored form, and a directory where nothing may be left."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import pytest

from tests.support.data import KIB, MIB, noise
from tests.support.reference import in_folder
from tests.support.worker import run_worker, upload

if TYPE_CHECKING:
    from pathlib import Path


@dataclass(frozen=True)
class Stored:
    """A file and what the worker makes of it.

    Args:
        path: the file.
        content: its bytes.
        hashes: its chunks, in order.
        chunks: their bytes.
    """

    path: Path
    content: bytes
    hashes: list[str]
    chunks: dict[str, bytes]


def stored_form(folder: Path, content: bytes) -> Stored:
    """Write a file into a folder, upload it to a directory, and return both forms."""
    path = folder / "file"
    path.write_bytes(content)
    run = run_worker(upload(path, folder / "store"))
    hashes = run.terminal["hashes"]
    read = in_folder(folder / "store")
    return Stored(path, content, hashes, {name: read(name) for name in hashes})


@pytest.fixture(scope="session")
def small(tmp_path_factory: pytest.TempPathFactory) -> Stored:
    """A file of five chunks, the first of them a full one."""
    return stored_form(tmp_path_factory.mktemp("small"), noise(560 * KIB))


@pytest.fixture(scope="session")
def medium(tmp_path_factory: pytest.TempPathFactory) -> Stored:
    """A file of some thirty chunks."""
    return stored_form(tmp_path_factory.mktemp("medium"), noise(14 * MIB + 12345))


@pytest.fixture
def target(tmp_path: Path) -> Path:
    """A file to download to, in a folder of its own."""
    folder = tmp_path / "target"
    folder.mkdir()
    return folder / "file"
