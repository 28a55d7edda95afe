"""Find the CPythons on this machine that can compile for the artifact."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

from .environment import clean_surroundings
from .targets import PYTHONS

PROBE = (
    "import json, sys; v = sys.version_info;"
    "print(json.dumps([sys.implementation.name, v[3], v[:3], sys.version, sys.executable]))"
)
NAME = re.compile(r"python(3(\.1[0-9])?)?(\.exe)?")
# Beside the PATH: the usual folders, pyenv's and uv's, below the home and the root.
PLACES = (
    "/usr/bin",
    "/usr/local/bin",
    "/opt/homebrew/bin",
    "~/.pyenv/versions/*/bin",
    "~/.pyenv/pyenv-win/versions/*",
    "~/.local/share/uv/python/*/bin",
)
PATIENCE = 60.0  # seconds: a probe that hangs is no interpreter for us


@dataclass(frozen=True, order=True)
class Interpreter:
    """A CPython that compiles.

    Attributes:
        release: (major, minor, micro).
        version: ``sys.version``, which tells builds apart.
        path: its executable.
    """

    release: tuple[int, int, int]
    version: str
    path: str

    @property
    def python(self) -> str:
        """The version that is supported: "3.11"."""
        return "{}.{}".format(*self.release)


def find_interpreters(named: list[str]) -> list[Interpreter]:
    """Return one interpreter for each supported CPython found, oldest first.

    Which Python runs the build must not matter, so all that the machine has are looked at, and
    those that were ``named``. Of several for one version the latest is taken.
    """
    paths = sorted({os.path.realpath(each) for each in [*named, *candidates()]})
    with ThreadPoolExecutor(4) as pool:
        known = sorted(each for each in pool.map(probe, paths) if each)
    best = {each.python: each for each in known}
    return [best[python] for python in PYTHONS if python in best]


def candidates() -> list[str]:
    """Return the paths that may be a Python of a supported version."""
    folders = [each for each in os.environ.get("PATH", "").split(os.pathsep) if each]
    pyenv = os.environ.get("PYENV_ROOT")
    for place in (*PLACES, *([f"{pyenv}/versions/*/bin"] if pyenv else [])):
        root, star, pattern = os.path.expanduser(place).partition("/*")
        folders += [str(each) for each in Path(root).glob(f"*{pattern}")] if star else [root]
    found = [getattr(sys, "_base_executable", None) or sys.executable]
    for folder in folders:
        if Path(folder).name != "shims" and Path(folder).is_dir():
            found += [str(each) for each in Path(folder).iterdir() if NAME.fullmatch(each.name)]
    return found


def probe(path: str) -> Interpreter | None:
    """Return what the program at ``path`` is, or None if it is no released, supported CPython."""
    try:
        process = subprocess.run(
            [path, "-I", "-S", "-c", PROBE],
            env=clean_surroundings(),
            stdin=subprocess.DEVNULL,
            capture_output=True,
            timeout=PATIENCE,
            check=True,
        )
        name, level, release, version, executable = json.loads(process.stdout)
    except (OSError, subprocess.SubprocessError, ValueError):
        return None
    supported = "{}.{}".format(*release) in PYTHONS
    if name != "cpython" or level != "final" or not supported:
        return None
    return Interpreter(tuple(release), version, executable)
