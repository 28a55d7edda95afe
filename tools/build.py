#!/usr/bin/env python3
"""Build ``dist/store-workers.pyz``, the one file that runs on every host.

Needs nothing but a CPython of a supported version with pip:

    python3 tools/build.py                  for this platform, every supported CPython
    python3 tools/build.py --universal      for every supported platform
    python3 tools/build.py --platform NAME  for that one

What it needs beyond that it downloads to a folder under ``build/``, in exact versions with hashes
(``tools/requirements``), from where the user's pip configuration says. The second run finds
everything there and needs no network. The same sources give the same bytes; see
``docs/platforms.md`` for what that takes.
"""

from __future__ import annotations

import argparse
import hashlib
import os
import sys
import tempfile
import time
from pathlib import Path

if sys.version_info < (3, 10):
    sys.exit("build: start failed: needs CPython 3.10 or newer")
ROOT = Path(__file__).resolve().parent.parent
sys.path[:0] = [str(ROOT / "tools"), str(ROOT / "src")]

from artifact import StepFailed, bundle, compiled, contents, sbom, wheels  # noqa: E402

from store_workers_bootstrap.native import host_key  # noqa: E402

PRODUCT = "store-workers.pyz"


def main(arguments: list[str]) -> int:
    """Build; return 0, or 1 with a line on stderr that says which step failed and why."""
    options = parse(arguments)
    started = time.monotonic()
    try:
        built = build(options.dist, options.platform, sources_only=options.sources_only)
    except (StepFailed, OSError) as failure:
        step = "" if isinstance(failure, StepFailed) else "files failed: "
        print(f"build: {step}{failure}", file=sys.stderr)
        return 1
    print(f"{built}built in {time.monotonic() - started:.1f} s")
    return 0


def parse(arguments: list[str]) -> argparse.Namespace:
    """Return the options."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    add = parser.add_argument
    names = list(wheels.PLATFORMS)
    add("--platform", action="append", choices=names, help="build for this one (repeatable)")
    add("--universal", dest="platform", action="store_const", const=names, help="build for all")
    add(
        "--sources-only",
        action="store_true",
        help="carry no compiled code: slower to start, but the same bytes on every machine",
    )
    add("--dist", type=Path, default=ROOT / "dist", help="where to write")
    return parser.parse_args(arguments)


def build(dist: Path, named: list[str] | None, *, sources_only: bool) -> str:
    """Build into the folder ``dist``, for this platform or those ``named``; return what to tell.

    Raises:
        StepFailed: a step can't be done.
    """
    platforms = named or [host_key().partition("-")[2]]
    if not wheels.PLATFORMS.keys() >= set(platforms):
        names = ", ".join(wheels.PLATFORMS)
        raise StepFailed("start", f"{platforms[0]} is not supported; --platform builds for {names}")
    pure = wheels.fetch("runtime")
    native = wheels.fetch_native(platforms)
    # Any wheel of a library with native code has its Python sources.
    one_of_each = {library: wheel for (library, _), wheel in native.items()}
    files = contents.unpacked([*pure, *one_of_each.values()]) | contents.own()
    found = [] if sources_only else compiled.find_interpreters()
    sources = {path: files[path] for path in files if bundle.is_compiled(path, files[path])}
    files |= compiled.compile_all(found, sources) | contents.libraries(native)
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as folder:
        tools = wheels.provide_tools(folder)
        from artifact import zip_file

        document = sbom.document([*pure, *native.values()], tools, found)
        content = zip_file.assemble(files | contents.own_metadata(sbom.text(document)))
    digest = hashlib.sha256(content).hexdigest()
    dist.mkdir(parents=True, exist_ok=True)
    replace(dist / PRODUCT, content, 0o755)
    replace(dist / f"{PRODUCT}.sha256", f"{digest}  {PRODUCT}\n".encode())
    replace(dist / "store-workers.cdx.json", sbom.text(document, content))
    return (
        f"{dist / PRODUCT}\n"
        f"  for       {', '.join(platforms)}; CPython {' '.join(wheels.PYTHONS)}\n"
        f"  compiled  {', '.join(each.python for each in found) or 'none'}\n"
        f"  size      {len(content)} bytes ({len(content) / 2**20:.1f} MiB)\n"
        f"  SHA-256   {digest}\n"
    )


def replace(path: Path, content: bytes, mode: int = 0o644) -> None:
    """Write a file aside and move it, so that a worker that runs keeps the file it began with."""
    aside = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        aside.write_bytes(content)
        aside.chmod(mode)
        aside.replace(path)
    finally:
        aside.unlink(missing_ok=True)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
