"""What the artifact carries, by path: the packages, the project's own, the native libraries."""

from __future__ import annotations

import zipfile
from typing import TYPE_CHECKING

import store_workers

from . import ROOT
from .bundle import LAZY, LAZY_INIT, Native, is_carried, matches
from .elf import cut
from .sbom import NAME

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path


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


def libraries(native: dict[tuple[Native, str], Path]) -> dict[str, bytes]:
    """Return the native libraries by their paths in the artifact: a folder for each host."""
    found = {}
    for (library, host), wheel in native.items():
        with zipfile.ZipFile(wheel) as opened:
            for name in opened.namelist():
                if matches(name, library.members):
                    found[f"native/{host}/{name}"] = cut(opened.read(name))
    return found


def own() -> dict[str, bytes]:
    """Return the project's own sources, and the page that ``--help protocol`` prints."""
    source = ROOT / "src"
    page = {"store_workers/protocol.md": (ROOT / "docs" / "protocol.md").read_bytes()}
    return page | {
        path.relative_to(source).as_posix(): path.read_bytes()
        for package in ("store_workers", "store_workers_bootstrap")
        for path in (source / package).rglob("*")
        if path.is_file() and "__pycache__" not in path.parts
    }


def own_metadata(sbom: bytes) -> dict[str, bytes]:
    """Return the project's own metadata, licence and SBOM, where a package's are (PEP 770)."""
    folder = f"store_workers-{store_workers.__version__}.dist-info"
    metadata = (
        f"Metadata-Version: 2.4\nName: {NAME}\nVersion: {store_workers.__version__}\n"
        "License-Expression: MIT\nLicense-File: LICENSE\nRequires-Python: >=3.10\n"
    )
    return {
        f"{folder}/METADATA": metadata.encode(),
        f"{folder}/licenses/LICENSE": (ROOT / "LICENSE").read_bytes(),
        f"{folder}/sboms/{NAME}.cdx.json": sbom,
    }
