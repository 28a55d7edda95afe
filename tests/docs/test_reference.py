"""The tables of the reference are those of the declarations."""

from __future__ import annotations

import subprocess
import sys

from tests.docs.documents import ROOT


def test_every_table_is_up_to_date() -> None:
    command = [sys.executable, "tools/reference.py", "--check"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, f"run tools/reference.py: {done.stdout}{done.stderr}"


def test_the_picture_of_the_imports_is_up_to_date() -> None:
    command = [sys.executable, "tools/picture_of_imports.py", "--check"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, f"run tools/picture_of_imports.py: {done.stderr}"
