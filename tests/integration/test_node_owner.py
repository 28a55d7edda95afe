"""An owner in another language."""

from __future__ import annotations

import json
import shutil
import subprocess
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from tests.support.worker import ARTIFACT, bare_python, clean_environ

if TYPE_CHECKING:
    from tests.support.data import Inputs
    from tests.support.stores import Store

OWNER = Path(__file__).with_name("node_owner.mjs")


def test_node_owner(store: Store, inputs: Inputs, tmp_path: Path) -> None:
    node = shutil.which("node")
    if not node:
        pytest.skip("node is not installed")
    source, target = inputs.path("15 MiB mixed"), tmp_path / "target"
    done = subprocess.run(
        [node, OWNER, bare_python(), ARTIFACT, source, store.url, target],
        capture_output=True,
        check=False,
        env=clean_environ(),
        timeout=60,
    )
    assert done.returncode == 0, done.stderr.decode()
    seen = json.loads(done.stdout)
    assert seen["last"] == ["FILE_UPLOADED", "FILE_DOWNLOADED"]
    assert seen["ids"] == ["up", "down"]
    assert seen["chunks"] == len(seen["hashes"])
    assert store.files() == set(seen["hashes"])
    assert target.read_bytes() == source.read_bytes()
