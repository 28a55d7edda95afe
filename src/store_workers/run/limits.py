"""Limits of the host: descriptors and cores."""

from __future__ import annotations

import os

from store_workers.wire.messages import CONCURRENCY_LIMIT, Settings

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import TypeVar

    from store_workers.wire.messages import Common

    M = TypeVar("M", bound=Common)

RESERVED_DESCRIPTORS = 16
"""Descriptors for everything but chunks: the standard streams, the artifact, the file, modules."""

DESCRIPTORS_PER_CHUNK = 2
"""Per chunk: a connection, or a temporary file and its directory, and one for a name lookup."""

MOST_CODEC_THREADS = 16
"""Maximum of threads that compress by default: each takes 6 MiB, and few disks are faster."""

CGROUPS = "/sys/fs/cgroup"
OWN_CGROUPS = "/proc/self/cgroup"


def within_limits(message: M) -> M:
    """Return the message with `concurrency` limited by the available descriptors."""
    settings = message.settings
    most = affordable_chunks(open_files_limit())
    if most is None or settings.concurrency <= most:
        return message
    fewer = Settings(**{**vars(settings), "concurrency": most})
    return type(message)(**{**vars(message), "settings": fewer})


def most_requests() -> int:
    """Return the number of requests that can be in flight with the available descriptors."""
    affordable = affordable_chunks(open_files_limit())
    return CONCURRENCY_LIMIT if affordable is None else min(affordable, CONCURRENCY_LIMIT)


def affordable_chunks(open_files: int | None) -> int | None:
    """Return the chunks that can be in flight with so many descriptors (None: no limit)."""
    if open_files is None:
        return None
    return max(1, (open_files - RESERVED_DESCRIPTORS) // DESCRIPTORS_PER_CHUNK)


def open_files_limit() -> int | None:
    """Return the limit of descriptors of this process; None if there is none or it is not known."""
    try:
        limit = os.sysconf("SC_OPEN_MAX")
    except (AttributeError, ValueError, OSError):
        return None
    return limit if limit > 0 else None


def codec_threads() -> int:
    """Return the default number of threads that compress: the usable cores, with a maximum."""
    if hasattr(os, "sched_getaffinity"):
        cores = len(os.sched_getaffinity(0))
    else:
        cores = os.cpu_count() or 1
    quota = cpu_quota(OWN_CGROUPS, CGROUPS)
    if quota is not None:
        cores = min(cores, max(1, -int(-quota // 1)))  # round up: half a core justifies a thread
    return min(cores, MOST_CODEC_THREADS)


def cpu_quota(own: str, root: str) -> float | None:
    """Return the CPU quota of this process's control groups in cores; None for no limit.

    `own` is the file that lists the groups (cgroups(7)), `root` the folder where they are mounted,
    of version 1 or 2. A group's limit applies to its descendants, so all ancestors are read. In a
    container, the process's group can be mounted at the root, whatever path the file has, so
    missing files are skipped.
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
    """Return the folder of a group and those of its ancestors."""
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
    except (ValueError, ZeroDivisionError):  # "max", or no such file
        return None
    return cores if cores > 0 else None


def _text(path: str) -> str:
    try:
        with open(path, encoding="utf-8") as file:
            return file.read().strip()
    except (OSError, ValueError):
        return ""
