"""The build, step by step."""

from __future__ import annotations

import hashlib
import tempfile
from dataclasses import dataclass
from pathlib import Path

from . import bundle, compiled, contents, environment, interpreters, sbom, targets, wheels

PRODUCT = "store-workers.pyz"
SBOM = "store-workers.cdx.json"


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
    cache = environment.BUILD
    pins = plan.root / "tools" / "requirements"
    with environment.lock(cache):
        environment.provide_tools(pins / "build.txt")
        from . import zip_file  # needs the tools

        pure = wheels.fetch(pins / "runtime.txt", cache / "wheels")
        wanted = targets.targets_for(plan.platforms)
        native = wheels.fetch_native(pins, cache / "wheels", wanted)
        files = contents.unpacked([*pure, *(next(iter(each.values())) for each in native.values())])
        own = contents.own(plan.root)
        version = contents.own_version(own)
        found = [] if plan.sources_only else interpreters.find_interpreters(plan.interpreters)
        taken = [*pure, *(wheel for each in native.values() for wheel in each.values())]
        tools = wheels.pinned(pins / "build.txt")
        document = sbom.document(files, version, taken, tools, found)
        metadata = contents.own_metadata(plan.root, version, sbom.text(document))
        sources = {**files, **own}
        sources = {
            path: sources[path] for path in sources if bundle.is_compiled(path, sources[path])
        }
        code = compiled.compile_all(found, sources, cache / "code")
        libraries = contents.libraries(native)
        content = zip_file.assemble({**files, **own, **metadata, **code, **libraries})
    return written(plan, content, sbom.text(document, content), found)


def written(plan: Plan, content: bytes, bom: bytes, found: list[interpreters.Interpreter]) -> str:
    """Write the artifact, its checksum and its SBOM; return what to tell of it."""
    digest = hashlib.sha256(content).hexdigest()
    product = plan.dist / PRODUCT
    with environment.lock(plan.dist):  # the three belong together
        replace(product, content, 0o755)
        replace(plan.dist / f"{PRODUCT}.sha256", f"{digest}  {PRODUCT}\n".encode())
        replace(plan.dist / SBOM, bom)
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
