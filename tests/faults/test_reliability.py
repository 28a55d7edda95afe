"""The tests and commands that docs/reliability.md names exist."""

from __future__ import annotations

import os
import re
import shlex
import subprocess
import sys

import pytest

from tests.fuzz.targets import TARGETS
from tests.support.worker import ROOT

TEXT = (ROOT / "docs" / "reliability.md").read_text(encoding="utf-8")
COMMANDS = [
    shlex.split(line, comments=True)
    for block in re.findall(r"```sh\n(.*?)```", TEXT, re.DOTALL)
    for line in block.splitlines()
]


@pytest.mark.parametrize("command", COMMANDS, ids=shlex.join)
def test_the_commands_select_tests(command: list[str]) -> None:
    program, arguments = command[:2], command[2:]
    if program != ["python3", "tools/test.py"]:
        assert command[:3] == ["python3", "-m", "tests.fuzz.run"]
        assert command[3] in TARGETS
        return
    environ = {name: value for name, value in os.environ.items() if name != "CI"}
    collect = [sys.executable, "-m", "pytest", "--collect-only", "-qq", "-p", "no:xdist"]
    done = subprocess.run(
        [*collect, *arguments], check=False, cwd=ROOT, env=environ, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stdout + done.stderr
    wanted = [argument for argument in arguments if argument.startswith("tests/")]
    assert all(any(line.startswith(name) for line in done.stdout.splitlines()) for name in wanted)


def test_every_file_of_fault_tests_is_named() -> None:
    named = set(re.findall(r"`(test_\w+\.py)`", TEXT))
    folders = [ROOT / "tests" / name for name in ("faults", "fuzz", "soak")]
    there = {path.name for folder in folders for path in folder.glob("test_*.py")}
    assert named <= {path.name for path in (ROOT / "tests").rglob("test_*.py")}
    assert there - named <= {"test_reliability.py", "test_soak.py", "test_session_soak.py"}
