"""The one way a build ends early."""

from __future__ import annotations


class StepFailed(Exception):
    """A step of the build could not be done.

    Attributes:
        step: its name, as shown while it runs.
        reason: what went wrong, and where that is known, what to do about it.
    """

    def __init__(self, step: str, reason: str) -> None:
        super().__init__(f"{step}: {reason}")
        self.step = step
        self.reason = reason
