"""The build's own private environment: a venv with what the build needs, pinned by hash."""

from __future__ import annotations

import contextlib
import hashlib
import os
import shutil
import subprocess
import sys
import venv
from typing import TYPE_CHECKING

from .failure import StepFailed

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

# Settings of the caller's that would make pip or Python work somewhere else than we ask.
FOREIGN = ("PYTHONPATH", "PYTHONHOME", "PYTHONOPTIMIZE", "PIP_TARGET", "PIP_PREFIX", "PIP_ROOT")
# In the environment's folder once nothing is missing there.
COMPLETE = "complete"
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


def pip(step: str, *arguments: str, python: str = sys.executable) -> None:
    """Run pip; the user's own pip configuration says where to look.

    Raises:
        StepFailed: it failed; the reason is its last words.
    """
    process = subprocess.run(
        [python, "-m", "pip", "--disable-pip-version-check", "-q", *arguments],
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


def make_environment(folder: Path, requirements: Path) -> Path:
    """Return the Python of the environment under ``folder``, made now if it is missing.

    Each building Python and each set of pins has its own folder, so nothing is ever updated.

    Raises:
        StepFailed: it can't be made.
    """
    facts = f"{sys.version}\n{sys.base_prefix}\n".encode() + requirements.read_bytes()
    made = folder / f"env-{hashlib.sha256(facts).hexdigest()[:16]}"
    python = made / ("Scripts/python.exe" if os.name == "nt" else "bin/python")
    with lock(folder):
        if not (made / COMPLETE).exists():
            shutil.rmtree(made, ignore_errors=True)
            try:
                venv.create(made, with_pip=True)
            except (OSError, subprocess.SubprocessError) as failure:
                hint = "are pip and venv there (Debian: apt install python3-venv)?"
                raise StepFailed("environment", f"{failure}; {hint}") from failure
            pip("environment", "install", *EXACT, "-r", str(requirements), python=str(python))
            (made / COMPLETE).touch()
    return python
