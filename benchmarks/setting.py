"""Where figures come from: the machine, the versions, the day. No path of this machine is told."""

from __future__ import annotations

import datetime as dt
import hashlib
import os
import platform
import re
import subprocess
from pathlib import Path
from typing import TYPE_CHECKING, Any

from benchmarks import peers

if TYPE_CHECKING:
    from benchmarks.worker import Artifact


def machine(data: Path) -> dict[str, Any]:
    """Describe this machine, and the file system on which the data lies."""
    return {
        "cpu": cpu_model(),
        "cores": len(os.sched_getaffinity(0)),
        "architecture": platform.machine(),
        "memory_gib": round(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / (1 << 30)),
        "kernel": platform.release().partition("-")[0],
        "file_system": file_system(data),
        "load_before": round(os.getloadavg()[0], 1),
    }


def cpu_model() -> str:
    """Return what the processor calls itself."""
    for line in Path("/proc/cpuinfo").read_text().splitlines():
        name, _, value = line.partition(":")
        if name.strip() == "model name":
            return value.strip()
    return "unknown"


def file_system(folder: Path) -> str:
    """Return the type of the file system that holds a folder."""
    place = folder.resolve()
    mounts = [line.split() for line in Path("/proc/self/mounts").read_text().splitlines()]
    holding = [mount for mount in mounts if place.is_relative_to(mount[1])]
    return max(holding, key=lambda mount: len(mount[1]))[2]


def versions(artifact: Artifact) -> dict[str, Any]:
    """Return the versions of all that ran, and the names of what is absent."""
    found = peers.versions()
    return {
        "artifact": artifact_versions(artifact),
        "artifact_sha256": hashlib.sha256(artifact.path.read_bytes()).hexdigest(),
        "artifact_bytes": artifact.path.stat().st_size,
        "programs": {name: number for name, number in found.items() if number},
        "absent": sorted(name for name, number in found.items() if not number),
    }


def artifact_versions(artifact: Artifact) -> dict[str, str]:
    """Return what `--version` tells, by name: the worker's, its libraries', the interpreter's."""
    command = [artifact.python, str(artifact.path), "--version"]
    told = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    return dict(re.findall(r"([A-Za-z][\w-]*) (\d[\w.]*)", told))


def today() -> str:
    """Return the date, in UTC."""
    return dt.datetime.now(dt.timezone.utc).date().isoformat()
