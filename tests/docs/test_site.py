"""The documentation as a site: every page in it, every link and anchor good."""

from __future__ import annotations

import subprocess
import sys

from tests.docs.documents import ROOT


def test_the_site_is_built_without_a_warning() -> None:
    command = [sys.executable, "tools/site.py"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    assert (ROOT / "build" / "site" / "index.html").is_file()
