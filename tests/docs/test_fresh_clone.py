"""README's lines, pasted one by one, on a machine with git and CPython and nothing in any cache.

Run by command: it installs and builds everything from nothing, through the network.

    python3 tools/test.py --suite fresh tests/docs/test_fresh_clone.py
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import time
from typing import TYPE_CHECKING

import pytest

from tests.docs.documents import ROOT, blocks

if TYPE_CHECKING:
    from pathlib import Path

PROGRAMS = ("git", "sh", "sed", "tail", "tee", "cmp", "env")
LONGEST = 120.0  # seconds from the first line to the file that came back


@pytest.mark.by_command("fresh")
@pytest.mark.timeout(300)
def test_readme_on_a_machine_with_nothing(tmp_path: Path) -> None:
    programs = tmp_path / "bin"
    programs.mkdir()
    for name in PROGRAMS:
        found = shutil.which(name)
        assert found
        (programs / name).symlink_to(found)
    python = os.path.realpath(sys.executable)
    (programs / "python3").write_text(f'#!/bin/sh\nexec {python} "$@"\n')
    (programs / "python3").chmod(0o755)
    clone = tmp_path / "clone"
    subprocess.run(["git", "clone", "-q", str(ROOT), str(clone)], check=True)
    environ = {**os.environ, "PATH": str(programs), "PIP_CACHE_DIR": str(tmp_path / "cache")}
    started = time.monotonic()
    build_and_upload, download, _ = (block.text for block in blocks(clone / "README.md", "sh"))
    for line in (build_and_upload, download):
        subprocess.run([str(programs / "sh"), "-c", line], cwd=clone, env=environ, check=True)
    assert time.monotonic() - started < LONGEST
    assert (clone / "build" / "copy.pyz").read_bytes() == (
        clone / "dist" / "store-workers.pyz"
    ).read_bytes()
    changed = subprocess.run(
        ["git", "status", "--porcelain"], cwd=clone, capture_output=True, check=True
    ).stdout
    assert changed == b"", "a build leaves changes in the tree"
