"""The units of systemd that a page shows are well formed."""

from __future__ import annotations

import subprocess
from typing import TYPE_CHECKING

from tests.docs.documents import ROOT, blocks

if TYPE_CHECKING:
    from pathlib import Path


def test_units_are_well_formed(tmp_path: Path) -> None:
    names = []
    for block in blocks(ROOT / "docs" / "scheduling.md", "ini"):
        first, _, unit = block.text.partition("\n")
        names.append(first.rpartition("/")[2])
        (tmp_path / names[-1]).write_text(unit)
    assert names == ["backup.service", "backup.timer", "notify-failure@.service"]
    done = subprocess.run(
        ["systemd-analyze", "verify", *(str(tmp_path / name) for name in names)],
        capture_output=True,
        text=True,
        check=False,
    )
    problems = done.stderr.splitlines()
    # The script of the page is not installed here.
    assert [
        line for line in problems if "/srv/backup/backup.sh is not executable" not in line
    ] == []
