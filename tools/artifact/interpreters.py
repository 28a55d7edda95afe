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

PROBE = """
import json, sys
print(json.dumps([sys.implementation.name, sys.version_info[:5], sys.version, sys.executable]))
"""
PATIENCE = 60.0  # seconds: a probe that hangs is no interpreter for us


@dataclass(frozen=True, order=True)
class Interpreter:
    """A CPython that compiles: its version and where it is.

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

    Which Python runs the build must not matter, so all that the machine has are looked at: those
    on the PATH, in the usual folders, pyenv's and uv's, the running one, and those that were
    ``named``. Of several for one version the latest is taken.
    """
    paths = sorted({str(Path(each).absolute()) for each in [*named, *candidates()]})
    with ThreadPoolExecutor(4) as pool:
        known = [each for each in pool.map(probe, paths) if each]
    best: dict[str, Interpreter] = {}
    for each in sorted(known, key=lambda each: (each.release, each.version, each.path)):
        best[each.python] = each
    return [best[python] for python in PYTHONS if python in best]


def candidates() -> list[str]:
    """Return the paths that may be a Python of a supported version."""
    name = re.compile(r"python(3(\.1[0-9])?)?(\.exe)?")
    folders = [Path(each) for each in os.environ.get("PATH", "").split(os.pathsep) if each]
    folders += [Path(each) for each in ("/usr/bin", "/usr/local/bin", "/opt/homebrew/bin")]
    for home in homes():
        pyenv = Path(os.environ.get("PYENV_ROOT") or home / ".pyenv")
        folders += pyenv.glob("versions/*/bin")
        folders += pyenv.glob("pyenv-win/versions/*")
        folders += (home / ".local/share/uv/python").glob("*/bin")
    running = getattr(sys, "_base_executable", None) or sys.executable
    found = {running}
    for folder in folders:
        if folder.name != "shims" and folder.is_dir():
            found |= {str(each) for each in folder.iterdir() if name.fullmatch(each.name)}
    return sorted({os.path.realpath(each) for each in found})


def homes() -> set[Path]:
    """Return the user's home, as the environment and as the system's user table have it."""
    found = {Path(os.path.expanduser("~"))}
    try:
        import pwd

        found.add(Path(pwd.getpwuid(os.getuid()).pw_dir))
    except (ImportError, KeyError):
        pass  # Windows, or a user without an entry
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
        name, release, version, executable = json.loads(process.stdout)
    except (OSError, subprocess.SubprocessError, ValueError):
        return None
    if name != "cpython" or release[3] != "final":
        return None
    major, minor, micro = release[:3]
    if f"{major}.{minor}" not in PYTHONS:
        return None
    return Interpreter((major, minor, micro), version, executable)
