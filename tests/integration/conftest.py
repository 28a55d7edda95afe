"""What the integration tests share: inputs, and each kind of store."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from tests.support.ceph import Ceph
from tests.support.certificates import Authority
from tests.support.data import Inputs
from tests.support.rclone import RcloneS3
from tests.support.stores import STORES, Store, directory_store, nginx_store
from tests.support.worker import ARTIFACT

if TYPE_CHECKING:
    from collections.abc import Iterator


@pytest.fixture(scope="session", autouse=True)
def artifact() -> None:
    """Say at once that there is nothing to test."""
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


@pytest.fixture(scope="session")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    """A private certificate authority."""
    return Authority(tmp_path_factory.mktemp("authority"))


@pytest.fixture
def rclone_s3(tmp_path: Path) -> Iterator[RcloneS3]:
    """An empty ``rclone serve s3``."""
    with RcloneS3(tmp_path / "rclone-s3") as server:
        yield server


@pytest.fixture(scope="session")
def ceph_cluster() -> Iterator[Ceph]:
    """A cluster of three OSDs, for all tests of the session."""
    # Sockets lie in it, and their paths must be short.
    with tempfile.TemporaryDirectory(prefix="ceph-") as folder, Ceph(Path(folder)) as cluster:
        yield cluster


@pytest.fixture
def ceph(ceph_cluster: Ceph) -> Iterator[Ceph]:
    """The cluster; what a test broke is whole again for the next one."""
    yield ceph_cluster
    ceph_cluster.heal()
