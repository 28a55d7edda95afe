"""What the host lets this process have: descriptors and cores."""

from __future__ import annotations

import os

from store_workers.wire.messages import CONCURRENCY_LIMIT, Settings

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import TypeVar

    from store_workers.wire.messages import Common

    M = TypeVar("M", bound=Common)

RESERVED_DESCRIPTORS = 16
"""Descriptors for all but the chunks: the standard streams, the artifact, the file, modules."""

DESCRIPTORS_PER_CHUNK = 2
"""A connection, or a temporary file and its directory; and one more while a host is looked up."""

MOST_CODEC_THREADS = 16
"""Threads that compress by default: each holds some 6 MiB, and few disks feed more."""

CGROUPS = "/sys/fs/cgroup"
OWN_CGROUPS = "/proc/self/cgroup"


def within_limits(message: M) -> M:
    """The message, with no more chunks in flight than there are descriptors for."""
    settings = message.settings
    most = affordable_chunks(open_files_limit())
    if most is None or settings.concurrency <= most:
        return message
    fewer = Settings(**{**vars(settings), "concurrency": most})
    return type(message)(**{**vars(message), "settings": fewer})


def most_requests() -> int:
    """How many requests can be in flight with the descriptors that there are."""
    affordable = affordable_chunks(open_files_limit())
    return CONCURRENCY_LIMIT if affordable is None else min(affordable, CONCURRENCY_LIMIT)


def affordable_chunks(open_files: int | None) -> int | None:
    """How many chunks can be in flight with so many descriptors; None for no limit."""
    if open_files is None:
        return None
    return max(1, (open_files - RESERVED_DESCRIPTORS) // DESCRIPTORS_PER_CHUNK)


def open_files_limit() -> int | None:
    """How many descriptors this process may have; None where that is not limited or not known."""
    try:
        limit = os.sysconf("SC_OPEN_MAX")
    except (AttributeError, ValueError, OSError):
        return None
    return limit if limit > 0 else None


def codec_threads() -> int:
    """How many threads compress by default: the usable cores, up to `MOST_CODEC_THREADS`."""
    if hasattr(os, "sched_getaffinity"):
        cores = len(os.sched_getaffinity(0))
    else:
        cores = os.cpu_count() or 1
    quota = cpu_quota(OWN_CGROUPS, CGROUPS)
    if quota is not None:
        cores = min(cores, max(1, -int(-quota // 1)))  # half a core more is a thread more
    return min(cores, MOST_CODEC_THREADS)


def cpu_quota(own: str, root: str) -> float | None:
    """The cores that the control groups of this process leave it; None for no limit.

    `own` is the file that lists the groups (cgroups(7)), `root` the folder where they are mounted,
    of version 1 or 2. A group's limit holds for all below it, so each is asked. A container may
    see its own group at the root, under whatever path the file has it: what is not there is
    passed over.
    """
    limits = []
    for line in _text(own).splitlines():
        _, controllers, path = line.split(":", 2)
        if not controllers:
            limits += [_quota_v2(folder) for folder in _up(root, path)]
        elif "cpu" in controllers.split(","):
            mounts = (f"{root}/{name}" for name in (controllers, "cpu"))
            limits += [_quota_v1(folder) for mount in mounts for folder in _up(mount, path)]
    return min((limit for limit in limits if limit is not None), default=None)


def _up(mount: str, path: str) -> list[str]:
    """The folder of a group and those above it."""
    parts = [part for part in path.split("/") if part and part != ".."]
    return ["/".join([mount, *parts[:count]]) for count in range(len(parts) + 1)]


def _quota_v2(folder: str) -> float | None:
    quota, _, period = _text(f"{folder}/cpu.max").partition(" ")
    return _cores(quota, period)


def _quota_v1(folder: str) -> float | None:
    return _cores(_text(f"{folder}/cpu.cfs_quota_us"), _text(f"{folder}/cpu.cfs_period_us"))


def _cores(quota: str, period: str) -> float | None:
    try:
        cores = int(quota) / int(period)
    except (ValueError, ZeroDivisionError):  # "max", or there is no such file
        return None
    return cores if cores > 0 else None


def _text(path: str) -> str:
    try:
        with open(path, encoding="ascii") as file:
            return file.read().strip()
    except (OSError, ValueError):
        return ""
