"""What the unit tests need of the host."""

from __future__ import annotations

import resource

from hypothesis import HealthCheck, settings

# A machine that is busy with other things is no fault of the code.
settings.register_profile("unit", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("unit")


def pytest_configure() -> None:
    """Let many runs share one process: a failed run leaves its files to the process's exit."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = 16384 if hard == resource.RLIM_INFINITY else min(16384, hard)
    if soft < wanted:
        resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))
