"""What an artifact is built for, and the pinned wheels of that: downloaded once."""

from __future__ import annotations

import hashlib
import os
import subprocess
import sys
import tempfile
import zipfile
from concurrent.futures import ThreadPoolExecutor
from importlib.machinery import EXTENSION_SUFFIXES
from typing import TYPE_CHECKING

from . import ROOT, StepFailed
from .bundle import NATIVE, Native

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path

PINS = ROOT / "tools" / "requirements"
# What one build leaves for the next.
DOWNLOADED = ROOT / "build" / "artifact" / "wheels"

# The supported CPythons, oldest first.
PYTHONS = ("3.10", "3.11", "3.12", "3.13", "3.14", "3.15")

# The supported platforms, named as ``native.py`` names the host it runs on, with the tag that pip
# is asked for. pip takes macOS wheels for older systems than the tag's as well.
PLATFORMS = {
    "linux-glibc-x86_64": "manylinux2014_x86_64",
    "linux-glibc-arm64": "manylinux2014_aarch64",
    "linux-musl-x86_64": "musllinux_1_2_x86_64",
    "linux-musl-arm64": "musllinux_1_2_aarch64",
    "macos-x86_64": "macosx_10_13_x86_64",
    "macos-arm64": "macosx_11_0_arm64",
    "windows-x86_64": "win_amd64",
    "windows-arm64": "win_arm64",
}
# pip spends its time waiting and unpacking: a few at once.
AT_ONCE = 4


def tag_of(python: str) -> str:
    """Return a CPython's tag in wheel names, "cp311", which is its folder in the artifact too."""
    return "cp" + python.replace(".", "")


def hosts(platforms: Iterable[str]) -> list[str]:
    """Return the names of all hosts on ``platforms``, such as "cp311-linux-glibc-x86_64"."""
    return [f"{tag_of(python)}-{platform}" for platform in platforms for python in PYTHONS]


def fetch_native(platforms: Iterable[str]) -> dict[tuple[Native, str], Path]:
    """Return the wheel of each library with native code, for each host that has one."""
    wanted = [(each, host) for each in NATIVE for host in hosts(platforms) if each.has(host)]
    with ThreadPoolExecutor(AT_ONCE) as pool:
        found = pool.map(lambda pair: fetch(pair[0].name, pair[1], pip_options(pair[1])), wanted)
        return {pair: wheel for pair, (wheel,) in zip(wanted, found, strict=True)}


def pip_options(host: str) -> list[str]:
    """Return how pip is asked for a wheel with native code for a host."""
    tag, _, platform = host.partition("-")
    version = ["--implementation", "cp", "--python-version", tag.removeprefix("cp"), "--abi", tag]
    return [*version, "--platform", PLATFORMS[platform]]


def fetch(library: str, host: str = "any", options: Iterable[str] = ()) -> list[Path]:
    """Return the wheels that ``requirements/<library>.txt`` pins, from an earlier build or by pip.

    ``options`` are those that make pip choose for ``host``.
    """
    requirements = PINS / f"{library}.txt"
    pins = hashlib.sha256(requirements.read_bytes()).hexdigest()[:16]
    folder = DOWNLOADED / f"{library}-{pins}-{host}"
    if not folder.exists():
        DOWNLOADED.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=DOWNLOADED, prefix="download-") as aside:
            download(requirements, *options, "-d", f"{aside}/made")
            try:
                os.rename(f"{aside}/made", folder)
            except OSError:
                if not folder.exists():  # else another build was faster
                    raise
    return sorted(folder.glob("*.whl"))


def download(requirements: Path, *options: str) -> None:
    """Let pip download what is pinned, exactly and with hashes, which it checks.

    Where it looks for that, the user's own configuration says.

    Raises:
        StepFailed: a wheel can't be had, or is not the pinned one.
    """
    pip = (sys.executable, "-I", "-m", "pip", "-qq", "--disable-pip-version-check", "download")
    exact = ("--require-hashes", "--no-deps", "--only-binary=:all:", "-r", str(requirements))
    done = subprocess.run(
        [*pip, *exact, *options],
        stdin=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
        errors="replace",
        check=False,
    )
    if done.returncode:
        raise StepFailed("wheels", done.stderr.strip() or f"status {done.returncode}")


def provide_tools(folder: str) -> list[Path]:
    """Make what ``build.txt`` pins importable for the Python that builds; return its wheels."""
    wheels = fetch("build", EXTENSION_SUFFIXES[0].strip("."))
    for wheel in wheels:
        with zipfile.ZipFile(wheel) as opened:
            opened.extractall(folder)
    sys.path.insert(0, folder)
    return wheels
