"""The build, step by step, as it runs inside the private environment."""

from __future__ import annotations

import hashlib
import re
import sys
import tempfile
import zipfile
from dataclasses import dataclass
from pathlib import Path

from . import assemble, bill, compiled, elf, interpreters, targets, tree, wheels
from .alone import alone
from .environment import Environment
from .failure import StepFailed

PRODUCT = "store-workers.pyz"
PACKAGES = ("store_workers", "store_workers_bootstrap")
NATIVE_MODULE = "zstandard.backend_c"
EXECUTABLE = 0o755


@dataclass(frozen=True)
class Plan:
    """What is asked for.

    Attributes:
        root: the project's folder.
        dist: where to write.
        platforms: those of ``targets.PLATFORMS`` to build for.
        sources_only: carry no compiled code.
        interpreters: paths of more CPythons to compile with.
    """

    root: Path
    dist: Path
    platforms: list[str]
    sources_only: bool
    interpreters: list[str]


def build(plan: Plan) -> str:
    """Build and return a line that says what was built.

    Raises:
        StepFailed: a step can't be done.
    """
    with alone(plan.root / "build" / "artifact"):
        return build_alone(plan)


def build_alone(plan: Plan) -> str:
    """Build, while no other build works with the same caches."""
    cache = plan.root / "build" / "artifact"
    pins = plan.root / "tools" / "requirements"
    here = Environment(Path(sys.prefix))
    pure = wheels.fetch_pure(here, pins / "runtime.txt", cache / "wheels")
    wanted = targets.targets_for(plan.platforms)
    native = wheels.fetch_native(here, pins / "zstandard.txt", cache / "wheels", wanted)
    packages = tree.third_party(here, pins / "runtime.txt", pure, native[wanted[0]], cache)
    own = tree.own(plan.root / "src", PACKAGES)
    found = [] if plan.sources_only else interpreters.find_interpreters(plan.interpreters)
    content = assemble.assemble(
        assemble.Parts(
            tree=tree.Tree({**packages.files, **own.files}),
            compiled=compile_both(found, packages, own, cache / "code"),
            libraries={NATIVE_MODULE: {each: library(wheel) for each, wheel in native.items()}},
            licences=bill.licence_text(packages, (plan.root / "LICENSE").read_bytes()),
        )
    )
    bom = bill.bill_of_materials(
        packages,
        version=version_of(own),
        digest=hashlib.sha256(content).hexdigest(),
        wheels=[*pure, *native.values()],
        tools=wheels.read_pins(pins / "build.txt"),
        interpreters=found,
    )
    return written(plan, content, bom, found)


def compile_both(
    found: list[interpreters.Interpreter], packages: tree.Tree, own: tree.Tree, cache: Path
) -> dict[interpreters.Interpreter, dict[str, bytes]]:
    """Return the code of the packages, which seldom change, and of the project's own sources."""
    theirs = compiled.compile_all(found, packages.sources(), cache)
    ours = compiled.compile_all(found, own.sources(), cache)
    return {each: {**theirs[each], **ours[each]} for each in found}


def library(wheel: Path) -> bytes:
    """Return the native library in a wheel, without what is not needed to load it."""
    wanted = NATIVE_MODULE.replace(".", "/") + "."
    with zipfile.ZipFile(wheel) as opened:
        (name,) = (name for name in opened.namelist() if name.startswith(wanted))
        return elf.cut(opened.read(name))


def version_of(own: tree.Tree) -> str:
    """Return the version that the project's package states.

    Raises:
        StepFailed: it states none.
    """
    source = own.files.get("store_workers/__init__.py", b"").decode()
    stated = re.search(r'^__version__(?:: [^=]+)? = "([^"]+)"$', source, re.MULTILINE)
    if not stated:
        raise StepFailed("version", "src/store_workers/__init__.py states no __version__")
    return stated[1]


def written(plan: Plan, content: bytes, bom: str, found: list[interpreters.Interpreter]) -> str:
    """Write the artifact, its checksum and its bill of materials; return what to tell of it."""
    digest = hashlib.sha256(content).hexdigest()
    product = plan.dist / PRODUCT
    with alone(plan.dist):  # the three belong together
        replace(product, content, EXECUTABLE)
        replace(product.with_name(f"{PRODUCT}.sha256"), f"{digest}  {PRODUCT}\n".encode())
        replace(product.with_name("store-workers.cdx.json"), bom.encode())
    compiled_for = ", ".join(each.python for each in found) or "none"
    return (
        f"{product}\n"
        f"  for       {', '.join(plan.platforms)}; CPython {' '.join(targets.PYTHONS)}\n"
        f"  compiled  {compiled_for}\n"
        f"  size      {len(content)} bytes ({len(content) / 2**20:.1f} MiB)\n"
        f"  SHA-256   {digest}\n"
        f"built"
    )


def replace(path: Path, content: bytes, mode: int = 0o644) -> None:
    """Write a file aside and move it, so that a worker that runs keeps the file it began with."""
    handle, aside = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
    try:
        with open(handle, "wb") as stream:
            stream.write(content)
        Path(aside).chmod(mode)
        Path(aside).replace(path)
    except OSError:
        Path(aside).unlink(missing_ok=True)
        raise
