"""Limits of the host: descriptors, cores, and the CPU quota of control groups."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

import pytest

from store_workers.run import limits
from store_workers.run.limits import affordable_chunks, codec_threads, cpu_quota

if TYPE_CHECKING:
    from pathlib import Path


def groups(folder: Path, own: str, files: dict[str, str]) -> tuple[str, str]:
    """Create the files of the kernel: the list of groups, and the mounted tree."""
    (folder / "own").write_text(own)
    for name, text in files.items():
        path = folder / "mounted" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text + "\n")
    return str(folder / "own"), str(folder / "mounted")


@pytest.mark.parametrize(
    ("own", "files", "cores"),
    [
        ("", {}, None),
        ("0::/\n", {}, None),
        ("0::/\n", {"cpu.max": "max 100000"}, None),
        ("0::/\n", {"cpu.max": "200000 100000"}, 2.0),
        ("0::/a/b\n", {"a/b/cpu.max": "max 100000", "a/cpu.max": "50000 100000"}, 0.5),
        ("0::/a/b\n", {"a/b/cpu.max": "300000 100000", "a/cpu.max": "max 100000"}, 3.0),
        # Inside a container, the path is the host's, and what is mounted is the own group.
        ("0::/host/docker/0123\n", {"cpu.max": "150000 100000"}, 1.5),
        ("0::/../other\n", {"other/cpu.max": "100000 100000"}, 1.0),
        (
            "4:cpu,cpuacct:/a\n1:name=systemd:/a\n0::/\n",
            {
                "cpu,cpuacct/a/cpu.cfs_quota_us": "400000",
                "cpu,cpuacct/a/cpu.cfs_period_us": "100000",
            },
            4.0,
        ),
        (
            "4:cpuset,cpu:/host/path\n",
            {"cpu/cpu.cfs_quota_us": "250000", "cpu/cpu.cfs_period_us": "100000"},
            2.5,
        ),
        ("4:cpu:/\n", {"cpu/cpu.cfs_quota_us": "-1", "cpu/cpu.cfs_period_us": "100000"}, None),
        ("4:cpuset:/\n", {"cpu/cpu.cfs_quota_us": "1", "cpu/cpu.cfs_period_us": "1"}, None),
        ("0::/\n", {"cpu.max": "nonsense"}, None),
    ],
)
def test_quota(tmp_path: Path, own: str, files: dict[str, str], cores: float | None) -> None:
    assert cpu_quota(*groups(tmp_path, own, files)) == cores


def test_no_control_groups() -> None:
    assert cpu_quota("/nonexistent/own", "/nonexistent") is None


@pytest.mark.parametrize(
    ("cores", "quota", "threads"),
    [(64, None, 16), (4, None, 4), (64, 2.0, 2), (64, 1.5, 2), (64, 0.1, 1), (2, 8.0, 2)],
)
def test_threads_by_default(
    monkeypatch: pytest.MonkeyPatch, cores: int, quota: float | None, threads: int
) -> None:
    monkeypatch.setattr(os, "sched_getaffinity", lambda _pid: set(range(cores)), raising=False)
    monkeypatch.setattr(limits, "cpu_quota", lambda _own, _root: quota)
    assert codec_threads() == threads


@pytest.mark.parametrize(("files", "chunks"), [(None, None), (1024, 504), (20, 2), (3, 1)])
def test_chunks_for_which_there_are_descriptors(files: int | None, chunks: int | None) -> None:
    assert affordable_chunks(files) == chunks
