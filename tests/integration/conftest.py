"""What the integration tests share: inputs, and each kind of store."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.support.data import Inputs
from tests.support.stores import STORES, Store, directory_store, nginx_store
from tests.support.worker import ARTIFACT

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


@pytest.fixture(scope="session", autouse=True)
def artifact() -> None:
    """Fail early if there is no artifact to test."""
    if not ARTIFACT.exists():
        pytest.fail(f"{ARTIFACT} is not there: run python3 tools/build.py")


@pytest.fixture(scope="session")
def inputs(tmp_path_factory: pytest.TempPathFactory) -> Inputs:
    """The deterministic input files."""
    return Inputs(tmp_path_factory.mktemp("inputs"))


@pytest.fixture(params=list(STORES))
def store(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Store]:
    """Return each kind of store in turn, empty."""
    with STORES[request.param](tmp_path) as made:
        yield made


@pytest.fixture
def directory(tmp_path: Path) -> Iterator[Store]:
    """An empty directory store."""
    with directory_store(tmp_path) as made:
        yield made


@pytest.fixture
def nginx(tmp_path: Path) -> Iterator[Store]:
    """An empty nginx."""
    with nginx_store(tmp_path) as made:
        yield made
