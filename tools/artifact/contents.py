"""What the artifact carries, by path: the packages, the project's own, the native libraries."""

from __future__ import annotations

import re
import zipfile
from typing import TYPE_CHECKING

from .bundle import LAZY, LAZY_INIT, is_carried, matches
from .elf import cut
from .failure import StepFailed

if TYPE_CHECKING:
    from pathlib import Path

    from .bundle import Native
    from .targets import Target

NAME = "store-workers"
PACKAGES = ("store_workers", "store_workers_bootstrap")


def unpacked(wheels: list[Path]) -> dict[str, bytes]:
    """Return what is carried of the wheels, by path: all but the native libraries."""
    files: dict[str, bytes] = {}
    for wheel in wheels:
        with zipfile.ZipFile(wheel) as opened:
            names = (name for name in opened.namelist() if not name.endswith("/"))
            files.update({name: opened.read(name) for name in names if is_carried(name)})
    for package in LAZY:
        files[f"{package}/_init.py"] = files[f"{package}/__init__.py"]
        files[f"{package}/__init__.py"] = LAZY_INIT.encode()
    return files


def libraries(native: dict[Native, dict[Target, Path]]) -> dict[str, bytes]:
    """Return the native libraries by their paths in the artifact: a folder for each host."""
    found = {}
    for each, wheels in native.items():
        for target, wheel in wheels.items():
            with zipfile.ZipFile(wheel) as opened:
                for name in (name for name in opened.namelist() if matches(name, each.members)):
                    content = opened.read(name)
                    found[f"native/{target.key}/{name}"] = cut(content) if each.cut else content
    return found


def own(root: Path) -> dict[str, bytes]:
    """Return the project's own sources, and the page that ``--help protocol`` prints."""
    source = root / "src"
    page = {f"{PACKAGES[0]}/protocol.md": (root / "docs" / "protocol.md").read_bytes()}
    return page | {
        path.relative_to(source).as_posix(): path.read_bytes()
        for package in PACKAGES
        for path in (source / package).rglob("*")
        if path.is_file() and "__pycache__" not in path.parts
    }


def own_metadata(root: Path, version: str, sbom: bytes) -> dict[str, bytes]:
    """Return the project's own metadata, licence and SBOM, where a package's are (PEP 770)."""
    folder = f"{NAME.replace('-', '_')}-{version}.dist-info"
    metadata = (
        f"Metadata-Version: 2.4\nName: {NAME}\nVersion: {version}\n"
        "License-Expression: MIT\nLicense-File: LICENSE\nRequires-Python: >=3.10\n"
    )
    return {
        f"{folder}/METADATA": metadata.encode(),
        f"{folder}/licenses/LICENSE": (root / "LICENSE").read_bytes(),
        f"{folder}/sboms/{NAME}.cdx.json": sbom,
    }


def own_version(files: dict[str, bytes]) -> str:
    """Return the version that the project's package states.

    Raises:
        StepFailed: it states none.
    """
    source = files.get("store_workers/__init__.py", b"").decode()
    stated = re.search(r'^__version__(?:: [^=]+)? = "([^"]+)"$', source, re.MULTILINE)
    if not stated:
        raise StepFailed("version", "src/store_workers/__init__.py states no __version__")
    return stated[1]
