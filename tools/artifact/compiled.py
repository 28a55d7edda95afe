"""Compile the sources with each CPython that was found."""

from __future__ import annotations

import hashlib
import json
import os
import subprocess
import tempfile
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING

from .environment import clean_surroundings
from .failure import StepFailed

if TYPE_CHECKING:
    from .interpreters import Interpreter

STEP = "compile"
WORKER = Path(__file__).with_name("compile_worker.py")
# The order of a set in a constant hangs on the seed. Column numbers, which only tracebacks show,
# would make the code a quarter larger.
SURROUNDINGS = {"PYTHONHASHSEED": "0", "PYTHONNODEBUGRANGES": "1", "PYTHONWARNINGS": "ignore"}


def compile_all(
    interpreters: list[Interpreter], sources: dict[str, bytes], cache: Path
) -> dict[str, bytes]:
    """Return every source compiled by every interpreter, by the path in the artifact.

    Raises:
        StepFailed: a source does not compile.
    """
    cache.mkdir(parents=True, exist_ok=True)
    with ThreadPoolExecutor(os.cpu_count() or 1) as pool:
        done = list(pool.map(lambda each: compile_cached(each, sources, cache), interpreters))
    return {path: code for compiled in done for path, code in compiled.items()}


def compile_cached(
    interpreter: Interpreter, sources: dict[str, bytes], cache: Path
) -> dict[str, bytes]:
    """Return what ``interpreter`` makes of the sources; ``cache`` keeps it for the next build."""
    folder = cache / hashlib.sha256(interpreter.version.encode() + WORKER.read_bytes()).hexdigest()
    folder.mkdir(exist_ok=True)
    kept = {
        path: folder / hashlib.sha256(f"{path}\n".encode() + source).hexdigest()
        for path, source in sources.items()
    }
    missing = [path for path in sources if not kept[path].exists()]
    if missing:
        with tempfile.TemporaryDirectory(dir=cache) as aside:
            names = [(path, f"{aside}/{number}") for number, path in enumerate(missing)]
            for path, name in names:
                Path(name).write_bytes(sources[path])
            run_worker(interpreter, names)
            for path, name in names:
                Path(f"{name}.pyc").replace(kept[path])
    tag = "cp{}{}".format(*interpreter.release)
    return {f"{tag}/{path}c": kept[path].read_bytes() for path in sources}


def run_worker(interpreter: Interpreter, names: list[tuple[str, str]]) -> None:
    """Have ``interpreter`` compile files in surroundings without influence."""
    process = subprocess.run(
        [interpreter.path, "-S", "-s", "-B", str(WORKER)],
        env={**clean_surroundings(), **SURROUNDINGS},  # -I would ignore the seed
        input=json.dumps(names).encode(),
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        check=False,
    )
    if process.returncode:
        last = process.stderr.decode(errors="replace").strip().splitlines()[-3:]
        raise StepFailed(STEP, f"CPython {interpreter.python}: " + " ".join(last))
