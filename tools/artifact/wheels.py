"""Fetch the pinned wheels, once: what is there already is not asked for again."""

from __future__ import annotations

import hashlib
import os
import re
import tempfile
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING

from .bundle import NATIVE
from .environment import EXACT, pip

if TYPE_CHECKING:
    from .bundle import Native
    from .targets import Target

STEP = "wheels"
# pip spends its time waiting and unpacking: a few at once.
AT_ONCE = 4


def fetch(requirements: Path, cache: Path, target: Target | None = None) -> list[Path]:
    """Return the wheels that ``requirements`` pins, for ``target`` or else for any Python.

    pip checks their hashes. They are kept in a folder that is named by the pins.

    Raises:
        StepFailed: a wheel can't be had, or is not the pinned one.
    """
    pins = hashlib.sha256(requirements.read_bytes()).hexdigest()[:16]
    kept = cache / f"{requirements.stem}-{pins}-{target.key if target else 'any'}"
    if not kept.exists():
        cache.mkdir(parents=True, exist_ok=True)
        options = target.pip_options if target else ()
        with tempfile.TemporaryDirectory(dir=cache, prefix="download-") as folder:
            aside = Path(folder, "wheels")
            pip(STEP, "download", *EXACT, *options, "-d", str(aside), "-r", str(requirements))
            os.replace(aside, kept)
    return sorted(kept.glob("*.whl"))


def fetch_native(
    requirements: Path, cache: Path, targets: list[Target]
) -> dict[Native, dict[Target, Path]]:
    """Return the wheel of each library with native code, for each target that it is there for.

    ``requirements`` is the folder with the pins.
    """
    wanted = [(each, target) for each in NATIVE for target in targets if each.has(target.key)]
    with ThreadPoolExecutor(AT_ONCE) as pool:
        found = pool.map(
            lambda pair: fetch(requirements / f"{pair[0].name}.txt", cache, pair[1])[0], wanted
        )
        wheels: dict[Native, dict[Target, Path]] = {each: {} for each in NATIVE}
        for (each, target), wheel in zip(wanted, found, strict=True):
            wheels[each][target] = wheel
    return wheels


def pinned(requirements: Path) -> list[tuple[str, str]]:
    """Return the names and versions in a file of pins."""
    return re.findall(
        r"^([\w.-]+)==([\w.]+)", requirements.read_text(encoding="utf-8"), re.MULTILINE
    )
