"""The documentation as a site: every page in it, every link and anchor good."""

from __future__ import annotations

import runpy
import subprocess
import sys
from typing import TYPE_CHECKING

from tests.docs.documents import ROOT

if TYPE_CHECKING:
    from pathlib import Path


def test_the_site_is_built_without_a_warning() -> None:
    command = [sys.executable, "tools/site.py"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    assert (ROOT / "build" / "site" / "index.html").is_file()


def test_a_broken_link_fails(tmp_path: Path) -> None:
    (tmp_path / "pages" / "docs").mkdir(parents=True)
    (tmp_path / "pages" / "index.md").write_text("[missing](missing.md) [anchor](#missing)\n")
    (tmp_path / "mkdocs.yml").write_text(
        f"INHERIT: {ROOT / 'mkdocs.yml'}\ndocs_dir: pages\nsite_dir: site\n"
        "nav: [{Index: index.md}]\nextra_css: []\n"
    )
    done = runpy.run_path(str(ROOT / "tools" / "site.py"))["build"](
        "--config-file", str(tmp_path / "mkdocs.yml")
    )
    assert done.returncode == 1
    assert "Aborted with 2 warnings" in done.stdout
