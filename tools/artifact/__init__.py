"""The steps of ``tools/build.py``, a module each, and what they share."""

from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]


class StepFailed(Exception):
    """A step of the build could not be done: its name, the reason, and what to do about it."""

    def __init__(self, step: str, reason: str) -> None:
        super().__init__(f"{step} failed: {reason}")
