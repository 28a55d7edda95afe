"""Fetch the pinned wheels, once: what is there already with the right hash is not asked for."""

from __future__ import annotations

import hashlib
import re
import tempfile
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING

from .failure import StepFailed
from .targets import PLATFORMS

if TYPE_CHECKING:
    from .environment import Environment
    from .targets import Target

STEP = "wheels"
# pip spends its time waiting and unpacking: a few at once.
AT_ONCE = 4


@dataclass(frozen=True)
class Pin:
    """One line of a requirements file: a name, its version, and the hashes of its wheels."""

    name: str
    version: str
    hashes: frozenset[str]

    def matches(self, wheel: Path) -> bool:
        """Return whether ``wheel`` is one of the pinned files, by name and by content."""
        name, version, *_ = wheel.name.split("-")
        same = (name.replace("_", "-").lower(), version) == (self.name, self.version)
        return same and sha256(wheel) in self.hashes


def read_pins(requirements: Path) -> list[Pin]:
    """Return the pins of a requirements file in pip's hash-checking form."""
    text = re.sub(r"^#.*\n", "", requirements.read_text(encoding="utf-8"), flags=re.MULTILINE)
    pins = []
    for line in text.replace("\\\n", " ").splitlines():
        if not line.strip():
            continue
        name, version = line.split()[0].split("==")
        pins.append(Pin(name, version, frozenset(re.findall(r"--hash=sha256:(\w{64})", line))))
    return pins


def fetch_pure(environment: Environment, requirements: Path, cache: Path) -> list[Path]:
    """Return the wheels of a requirements file that fit every Python, downloading what is missing.

    Raises:
        StepFailed: a wheel can't be had, or is not the pinned one.
    """
    pins = read_pins(requirements)
    if not all(find(pin, cache) for pin in pins):
        download(environment, requirements, cache, [])
    return [found(pin, find(pin, cache)) for pin in pins]


def fetch_native(
    environment: Environment, requirements: Path, cache: Path, targets: list[Target]
) -> dict[Target, Path]:
    """Return the wheel for each target of the one package that ``requirements`` pins.

    Raises:
        StepFailed: a wheel can't be had, or is not a pinned one.
    """
    (pin,) = read_pins(requirements)
    missing = [target for target in targets if not find(pin, cache, target)]
    with ThreadPoolExecutor(AT_ONCE) as pool:
        list(
            pool.map(
                lambda each: download(environment, requirements, cache, pip_target(each)), missing
            )
        )
    return {target: found(pin, find(pin, cache, target), target) for target in targets}


def pip_target(target: Target) -> list[str]:
    """Return what makes pip choose wheels for ``target`` instead of the running Python."""
    return [
        *("--implementation", "cp", "--python-version", target.python),
        *("--abi", target.tag, "--platform", PLATFORMS[target.platform]),
    ]


def download(environment: Environment, requirements: Path, cache: Path, options: list[str]) -> None:
    """Download the wheels that ``requirements`` pins, aside, and move them into ``cache``."""
    cache.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=cache.parent, prefix="download-") as aside:
        environment.pip(
            *(STEP, "download", "--require-hashes", "--no-deps", "--only-binary=:all:"),
            *(*options, "--dest", aside, "-r", str(requirements)),
        )
        for wheel in Path(aside).iterdir():
            wheel.replace(cache / wheel.name)


def find(pin: Pin, cache: Path, target: Target | None = None) -> Path | None:
    """Return the pinned wheel in ``cache``, for ``target`` if one is given, or None."""
    for wheel in sorted(cache.glob("*.whl")):
        if (target is None or target.accepts(wheel.name)) and pin.matches(wheel):
            return wheel
    return None


def found(pin: Pin, wheel: Path | None, target: Target | None = None) -> Path:
    """Return ``wheel``.

    Raises:
        StepFailed: there is none.
    """
    if wheel is None:
        what = f"{pin.name} {pin.version}" + (f" for {target.key}" if target else "")
        raise StepFailed(STEP, f"pip downloaded no pinned wheel of {what}")
    return wheel


@cache
def sha256(path: Path) -> str:
    """Return the SHA-256 of a file that no longer changes, in hex."""
    return hashlib.sha256(path.read_bytes()).hexdigest()
