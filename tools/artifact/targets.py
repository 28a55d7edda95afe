"""What an artifact is built for: Pythons, platforms, and the wheels that belong to them."""

from __future__ import annotations

from dataclasses import dataclass

# The supported CPythons, oldest first.
PYTHONS = ("3.10", "3.11", "3.12", "3.13", "3.14")

# The supported platforms, named as the artifact's loader names the host it runs on, with the
# tag that pip is asked for. macOS wheels for older systems than the tag's are found as well.
PLATFORMS = {
    "linux-glibc-x86_64": "manylinux2014_x86_64",
    "linux-glibc-arm64": "manylinux2014_aarch64",
    "linux-musl-x86_64": "musllinux_1_2_x86_64",
    "linux-musl-arm64": "musllinux_1_2_aarch64",
    "macos-x86_64": "macosx_10_13_x86_64",
    "macos-arm64": "macosx_11_0_arm64",
    "windows-x86_64": "win_amd64",
}


@dataclass(frozen=True)
class Target:
    """One CPython on one platform."""

    python: str
    platform: str

    @property
    def tag(self) -> str:
        """The CPython's tag in wheel names: ``cp311``."""
        return "cp" + self.python.replace(".", "")

    @property
    def key(self) -> str:
        """The host's name in the artifact: ``cp311-linux-glibc-x86_64``."""
        return f"{self.tag}-{self.platform}"

    def accepts(self, wheel: str) -> bool:
        """Return whether a wheel of this name was made for this target."""
        _, _, interpreter, _, platforms = wheel.removesuffix(".whl").rsplit("-", 4)
        return interpreter == self.tag and any(
            self._accepts_platform(each) for each in platforms.split(".")
        )

    def _accepts_platform(self, tag: str) -> bool:
        wanted = PLATFORMS[self.platform]
        if not wanted.startswith("macosx_"):
            return tag == wanted
        machine = wanted.split("_", 3)[3]
        return tag.startswith("macosx_") and tag.split("_", 3)[3] == machine


def targets_for(platforms: list[str]) -> list[Target]:
    """Return every supported CPython on each of ``platforms``."""
    return [Target(python, platform) for platform in platforms for python in PYTHONS]
