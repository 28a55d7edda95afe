"""What the tests of the artifact share."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.artifact.hosts import RoundTrip
from tests.support.worker import ARTIFACT, bare_python

if TYPE_CHECKING:
    from pathlib import Path


@pytest.fixture(scope="session", autouse=True)
def artifact() -> Path:
    assert ARTIFACT.exists(), f"{ARTIFACT} is missing: run tools/build.py first"
    return ARTIFACT


@pytest.fixture(scope="session")
def python() -> str:
    return bare_python()


@pytest.fixture
def trip(tmp_path: Path) -> RoundTrip:
    return RoundTrip(tmp_path / "trip")


@pytest.fixture(scope="session")
def hashes(tmp_path_factory: pytest.TempPathFactory, python: str) -> list[str]:
    """What the round trip's file gives wherever nothing is in the way."""
    return RoundTrip(tmp_path_factory.mktemp("plain")).run([python, str(ARTIFACT)])
