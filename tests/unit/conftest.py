"""Settings of the host for the unit tests."""

from __future__ import annotations

import resource

from hypothesis import HealthCheck, settings

# A busy machine is not a fault of the code.
settings.register_profile(
    "unit", deadline=None, max_examples=50, suppress_health_check=[HealthCheck.too_slow]
)
settings.load_profile("unit")


def pytest_configure() -> None:
    """Allow many runs in one process, although a failed run closes its files only at exit."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = 16384 if hard == resource.RLIM_INFINITY else min(16384, hard)
    if soft < wanted:
        resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))
