"""What the unit tests need of the host."""

from __future__ import annotations

import resource


def pytest_configure() -> None:
    """Let many runs share one process: a failed run leaves its files to the process's exit."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = 16384 if hard == resource.RLIM_INFINITY else min(16384, hard)
    if soft < wanted:
        resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))
