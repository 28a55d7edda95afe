"""What an artifact is built for: Pythons and platforms."""

from __future__ import annotations

from dataclasses import dataclass

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

    @property
    def pip_options(self) -> tuple[str, ...]:
        """What makes pip choose wheels for this target instead of the running Python."""
        return (
            *("--implementation", "cp", "--python-version", self.python, "--abi", self.tag),
            *("--abi", "abi3", "--abi", "none"),
            *("--platform", PLATFORMS[self.platform], "--platform", "any"),
        )


def targets_for(platforms: list[str]) -> list[Target]:
    """Return every supported CPython on each of ``platforms``."""
    return [Target(python, platform) for platform in platforms for python in PYTHONS]
