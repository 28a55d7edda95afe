"""What the build itself works with: a folder of its own, pip, and what pip installs there."""

from __future__ import annotations

import contextlib
import hashlib
import os
import subprocess
import sys
import tempfile
import venv
from functools import cache
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING

from .failure import StepFailed

if TYPE_CHECKING:
    from collections.abc import Iterator

# Settings of the caller's that would make pip or Python work somewhere else than we ask.
FOREIGN = ("PYTHONPATH", "PYTHONHOME", "PYTHONOPTIMIZE", "PIP_TARGET", "PIP_PREFIX", "PIP_ROOT")
# What one build leaves for the next.
BUILD = Path(__file__).resolve().parents[2] / "build" / "artifact"
EXACT = ("--require-hashes", "--no-deps", "--only-binary=:all:")


@contextlib.contextmanager
def lock(folder: Path) -> Iterator[None]:
    """Make ``folder`` if it is missing, and hold it: whoever else asks for it waits.

    The folder itself is locked, so nothing is left behind. On Windows, where that can't be done,
    nothing is held; there files have names of their own until they are moved into place.
    """
    folder.mkdir(parents=True, exist_ok=True)
    try:
        import fcntl
    except ImportError:
        yield
        return
    held = os.open(folder, os.O_RDONLY)
    try:
        fcntl.flock(held, fcntl.LOCK_EX)
        yield
    finally:
        os.close(held)


def clean_surroundings() -> dict[str, str]:
    """Return the caller's environment without what would lead a build astray."""
    kept = {name: value for name, value in os.environ.items() if name not in FOREIGN}
    return {**kept, "PIP_USER": "0", "PYTHONNOUSERSITE": "1", "PYTHONHASHSEED": "0"}


def pip(step: str, *arguments: str) -> None:
    """Run pip; the user's own pip configuration says where to look.

    Raises:
        StepFailed: it failed; the reason is its last words.
    """
    process = subprocess.run(
        [python_with_pip(), "-m", "pip", "--disable-pip-version-check", "-q", *arguments],
        env=clean_surroundings(),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        errors="replace",
        check=False,
    )
    if process.returncode:
        words = process.stdout.strip().splitlines()
        telling = [line for line in words if line.startswith(("ERROR", "error"))] or words
        raise StepFailed(step, "\n  ".join(telling[-5:]) or f"status {process.returncode}")


@cache
def python_with_pip() -> str:
    """Return the running Python, or that of a virtual environment, made once, where it has no pip.

    Raises:
        StepFailed: none can be made.
    """
    if find_spec("pip"):
        return sys.executable
    made = BUILD / f"pip-{named(sys.base_prefix)}"
    if not made.exists():
        with tempfile.TemporaryDirectory(dir=BUILD) as aside:
            try:
                venv.create(Path(aside, "venv"), with_pip=True)
            except (OSError, subprocess.SubprocessError) as failure:
                hint = "are pip and venv there (Debian: apt install python3-venv)?"
                raise StepFailed("environment", f"{failure}; {hint}") from failure
            Path(aside, "venv").replace(made)
    return str(made / ("Scripts/python.exe" if os.name == "nt" else "bin/python"))


def provide_tools(requirements: Path) -> None:
    """Make what ``requirements`` pins importable, from a folder of this project's own.

    Each building Python and each set of pins has its own folder, so nothing is ever updated.
    """
    folder = BUILD / f"tools-{named(requirements.read_text(encoding='utf-8'))}"
    if not folder.exists():
        with tempfile.TemporaryDirectory(dir=BUILD) as aside:
            installed = Path(aside, "installed")
            pip("environment", "install", *EXACT, "-t", str(installed), "-r", str(requirements))
            installed.replace(folder)
    sys.path.insert(0, str(folder))


def named(facts: str) -> str:
    """Return what tells apart what different Pythons make of different facts."""
    return hashlib.sha256(f"{sys.version}\n{facts}".encode()).hexdigest()[:16]
