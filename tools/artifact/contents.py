"""What the artifact carries, by path: the packages, the project's own, the native libraries."""

from __future__ import annotations

import zipfile
from typing import TYPE_CHECKING

from .bundle import LAZY, LAZY_INIT, Native, is_carried, matches
from .elf import cut

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path

    from .wheels import Target

NAME = "store-workers"
PACKAGES = ("store_workers", "store_workers_bootstrap")


def unpacked(wheels: Iterable[Path]) -> dict[str, bytes]:
    """Return what is carried of the wheels, by path: all but the native libraries."""
    files: dict[str, bytes] = {}
    for wheel in wheels:
        with zipfile.ZipFile(wheel) as opened:
            names = (name for name in opened.namelist() if not name.endswith("/"))
            files.update({name: opened.read(name) for name in names if is_carried(name)})
    if f"{LAZY}/__init__.py" in files:
        files[f"{LAZY}/_init.py"] = files[f"{LAZY}/__init__.py"]
        files[f"{LAZY}/__init__.py"] = LAZY_INIT.encode()
    return files


def libraries(native: dict[tuple[Native, Target], Path]) -> dict[str, bytes]:
    """Return the native libraries by their paths in the artifact: a folder for each host."""
    found = {}
    for (library, target), wheel in native.items():
        with zipfile.ZipFile(wheel) as opened:
            for name in opened.namelist():
                if matches(name, library.members):
                    found[f"native/{target.key}/{name}"] = cut(opened.read(name))
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
