"""The build, step by step."""

from __future__ import annotations

import hashlib
import tempfile
from pathlib import Path

import store_workers

from . import bundle, compiled, contents, environment, sbom, wheels

PRODUCT = "store-workers.pyz"
SBOM = "store-workers.cdx.json"


def build(
    root: Path, dist: Path, platforms: list[str], named: list[str], *, sources_only: bool = False
) -> str:
    """Build the project in ``root``, and return what to tell of it.

    Args:
        root: the project's folder.
        dist: where to write.
        platforms: those of ``wheels.PLATFORMS`` to build for.
        named: paths of more CPythons to compile with.
        sources_only: carry no compiled code.

    Raises:
        StepFailed: a step can't be done.
    """
    pins = root / "tools" / "requirements"
    with environment.lock(environment.BUILD):
        environment.provide_tools(pins / "build.txt")
        from . import zip_file  # needs the tools

        pure = wheels.fetch(pins / "runtime.txt")
        native = wheels.fetch_native(pins, wheels.targets_for(platforms))
        # Any wheel of a library with native code has its Python sources.
        one_of_each = {library: wheel for (library, _), wheel in native.items()}
        files = contents.unpacked([*pure, *one_of_each.values()])
        found = [] if sources_only else compiled.find_interpreters(named)
        tools = wheels.pinned(pins / "build.txt")
        version = store_workers.__version__
        document = sbom.document(files, version, [*pure, *native.values()], tools, found)
        files |= contents.own(root)
        sources = {
            path: source for path, source in files.items() if bundle.is_compiled(path, source)
        }
        files |= contents.own_metadata(root, version, sbom.text(document))
        files |= compiled.compile_all(found, sources)
        content = zip_file.assemble({**files, **contents.libraries(native)})
    digest = hashlib.sha256(content).hexdigest()
    with environment.lock(dist):  # the three belong together
        replace(dist / PRODUCT, content, 0o755)
        replace(dist / f"{PRODUCT}.sha256", f"{digest}  {PRODUCT}\n".encode())
        replace(dist / SBOM, sbom.text(document, digest))
    return (
        f"{dist / PRODUCT}\n"
        f"  for       {', '.join(platforms)}; CPython {' '.join(wheels.PYTHONS)}\n"
        f"  compiled  {', '.join(each.python for each in found) or 'none'}\n"
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
