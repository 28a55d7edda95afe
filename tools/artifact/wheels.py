"""What an artifact is built for, and the pinned wheels of that: fetched once."""

from __future__ import annotations

import hashlib
import re
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, NamedTuple

from .bundle import NATIVE, Native
from .environment import BUILD, filled_by_pip

if TYPE_CHECKING:
    from pathlib import Path

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


class Target(NamedTuple):
    """One CPython on one platform."""

    python: str
    platform: str

    @property
    def tag(self) -> str:
        """The CPython's tag in wheel names: ``cp311``."""
        return tag_of(self.python)

    @property
    def key(self) -> str:
        """The host's name in the artifact: ``cp311-linux-glibc-x86_64``."""
        return f"{self.tag}-{self.platform}"


def tag_of(python: str) -> str:
    """Return a CPython's tag in wheel names, which is also its folder in the artifact."""
    return "cp" + python.replace(".", "")


def targets_for(platforms: list[str]) -> list[Target]:
    """Return every supported CPython on each of ``platforms``."""
    return [Target(python, platform) for platform in platforms for python in PYTHONS]


def fetch(requirements: Path, target: Target | None = None) -> list[Path]:
    """Return the wheels that ``requirements`` pins, for ``target`` or else for any Python.

    Raises:
        StepFailed: a wheel can't be had, or is not the pinned one.
    """
    pins = hashlib.sha256(requirements.read_bytes()).hexdigest()[:16]
    folder = BUILD / "wheels" / f"{requirements.stem}-{pins}-{target.key if target else 'any'}"
    options: list[str] = []
    if target:
        for abi in (target.tag, "abi3", "none"):
            options += ("--abi", abi)
        for platform in (PLATFORMS[target.platform], "any"):
            options += ("--platform", platform)
        options += ("--implementation", "cp", "--python-version", target.python)
    filled_by_pip(folder, "wheels", "download", *options, "-r", str(requirements), "-d")
    return sorted(folder.glob("*.whl"))


def fetch_native(pins: Path, targets: list[Target]) -> dict[tuple[Native, Target], Path]:
    """Return the wheel of each library with native code, for each target that has one.

    ``pins`` is the folder with the pins.
    """
    wanted = [(each, target) for each in NATIVE for target in targets if each.has(target.key)]
    with ThreadPoolExecutor(AT_ONCE) as pool:
        found = pool.map(lambda pair: fetch(pins / f"{pair[0].name}.txt", pair[1])[0], wanted)
        return dict(zip(wanted, found, strict=True))


def pinned(requirements: Path) -> list[tuple[str, str]]:
    """Return the names and versions in a file of pins."""
    pins = requirements.read_text(encoding="utf-8")
    return re.findall(r"^([\w.-]+)==([\w.]+)", pins, re.MULTILINE)
