"""The build's own private environment: a venv with shiv, made from pins with hashes."""

from __future__ import annotations

import hashlib
import os
import shutil
import subprocess
import sys
import venv
from typing import TYPE_CHECKING

from .alone import alone
from .failure import StepFailed

if TYPE_CHECKING:
    from pathlib import Path

# Settings of the caller's that would make pip or Python work somewhere else than we ask.
FOREIGN = ("PYTHONPATH", "PYTHONHOME", "PYTHONOPTIMIZE", "PIP_TARGET", "PIP_PREFIX", "PIP_ROOT")
# In the environment's folder once nothing is missing there.
COMPLETE = "complete"


class Environment:
    """A venv with shiv in it, and the one place that starts programs from there."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        scripts = "Scripts" if os.name == "nt" else "bin"
        self.python = folder / scripts / ("python.exe" if os.name == "nt" else "python")

    def run(self, step: str, *arguments: str, extra: dict[str, str] | None = None) -> str:
        """Run the environment's Python with ``arguments`` and return what it wrote to stdout.

        Raises:
            StepFailed: it ended with another status than 0; the reason is its last words.
        """
        process = subprocess.run(
            [str(self.python), *arguments],
            env={**clean_surroundings(), **(extra or {})},
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            errors="replace",
            check=False,
        )
        if process.returncode:
            words = (process.stdout + "\n" + process.stderr).strip().splitlines()
            telling = [line for line in words if line.startswith(("ERROR", "error"))] or words
            raise StepFailed(step, "\n  ".join(telling[-5:]) or f"status {process.returncode}")
        return process.stdout

    def pip(self, step: str, *arguments: str) -> str:
        """Run the environment's pip; the user's own pip configuration says where to look."""
        return self.run(step, "-m", "pip", "--disable-pip-version-check", "-q", *arguments)


def clean_surroundings() -> dict[str, str]:
    """Return the caller's environment without what would lead a build astray."""
    kept = {name: value for name, value in os.environ.items() if name not in FOREIGN}
    return {**kept, "PIP_USER": "0", "PYTHONNOUSERSITE": "1", "PYTHONHASHSEED": "0"}


def make_environment(folder: Path, requirements: Path) -> Environment:
    """Return the environment under ``folder``, made now if it is missing or made from other pins.

    Each building Python and each set of pins has its own folder, so nothing is ever updated.

    Raises:
        StepFailed: it can't be made.
    """
    facts = f"{sys.version}\n{sys.base_prefix}\n".encode() + requirements.read_bytes()
    environment = Environment(folder / f"env-{hashlib.sha256(facts).hexdigest()[:16]}")
    with alone(folder):
        if not (environment.folder / COMPLETE).exists():
            fill(environment, requirements)
    return environment


def fill(environment: Environment, requirements: Path) -> None:
    """Make the environment's folder anew."""
    shutil.rmtree(environment.folder, ignore_errors=True)
    try:
        venv.create(environment.folder, with_pip=True)
    except (OSError, subprocess.SubprocessError) as failure:
        hint = "are pip and venv there (Debian: apt install python3-venv)?"
        raise StepFailed("environment", f"{failure}; {hint}") from failure
    pins = ("--require-hashes", "--no-deps", "--only-binary=:all:", "-r", str(requirements))
    environment.pip("environment", "install", *pins)
    (environment.folder / COMPLETE).touch()
