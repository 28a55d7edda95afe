"""What the build itself works with: a folder of its own, pip, and what pip installs there."""

from __future__ import annotations

import contextlib
import hashlib
import os
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator

# Settings of the caller's that would make pip or Python work somewhere else than we ask.
FOREIGN = ("PYTHONPATH", "PYTHONHOME", "PYTHONOPTIMIZE", "PIP_TARGET", "PIP_PREFIX", "PIP_ROOT")
# What one build leaves for the next.
BUILD = Path(__file__).resolve().parents[2] / "build" / "artifact"


class StepFailed(Exception):
    """A step of the build could not be done: its name, the reason, and what to do about it."""

    def __init__(self, step: str, reason: str) -> None:
        super().__init__(f"{step} failed: {reason}")


@contextlib.contextmanager
def lock(folder: Path) -> Iterator[None]:
    """Make ``folder`` if it is missing, and hold it: whoever else asks for it waits.

    The folder itself is locked, so nothing is left behind. On Windows, where that can't be done,
    nothing is held; there files have names of their own until they are moved into place.
    """
    folder.mkdir(parents=True, exist_ok=True)
    with contextlib.ExitStack() as stack:
        with contextlib.suppress(ImportError):
            import fcntl

            held = os.open(folder, os.O_RDONLY)
            stack.callback(os.close, held)
            fcntl.flock(held, fcntl.LOCK_EX)
        yield


def clean_surroundings() -> dict[str, str]:
    """Return the caller's environment without what would lead a build astray."""
    kept = {name: value for name, value in os.environ.items() if name not in FOREIGN}
    return {**kept, "PIP_USER": "0", "PYTHONNOUSERSITE": "1", "PYTHONHASHSEED": "0"}


def filled_by_pip(folder: Path, step: str, *arguments: str) -> Path:
    """Return ``folder`` as pip fills it, in this build or in an earlier one.

    ``arguments`` end with the option that names the folder. The pins are exact and have hashes,
    which pip checks; where it looks for them, the user's own configuration says.

    Raises:
        StepFailed: pip failed; the reason is its last words.
    """
    if folder.exists():
        return folder
    folder.parent.mkdir(parents=True, exist_ok=True)
    pip = (sys.executable, "-m", "pip", "--disable-pip-version-check", "-q")
    exact = ("--require-hashes", "--no-deps", "--only-binary=:all:")
    with tempfile.TemporaryDirectory(dir=folder.parent, prefix="download-") as aside:
        done = subprocess.run(
            [*pip, arguments[0], *exact, *arguments[1:], f"{aside}/made"],
            env=clean_surroundings(),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            errors="replace",
            check=False,
        )
        if done.returncode:
            words = done.stdout.strip().splitlines()
            telling = [line for line in words if line.startswith(("ERROR", "error"))] or words
            raise StepFailed(step, "\n  ".join(telling[-5:]) or f"status {done.returncode}")
        os.replace(f"{aside}/made", folder)
    return folder


def provide_tools(requirements: Path) -> None:
    """Make what ``requirements`` pins importable, from a folder for these pins and this Python."""
    facts = sys.version + requirements.read_text(encoding="utf-8")
    folder = BUILD / f"tools-{hashlib.sha256(facts.encode()).hexdigest()[:16]}"
    filled_by_pip(folder, "environment", "install", "-r", str(requirements), "-t")
    sys.path.insert(0, str(folder))
