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
LENGTH_BYTES = 8
# Without docstrings, as with -OO: they are a fifth of the code. The messages' own ones stay: the
# JSON Schema quotes them. ``loader.py`` compiles sources by the same rule.
WITH_DOCSTRINGS = frozenset({"store_workers/wire/messages.py", "store_workers/wire/events.py"})
WORKER_SURROUNDINGS = {
    "PYTHONHASHSEED": "0",
    "PYTHONNODEBUGRANGES": "1",
    "PYTHONWARNINGS": "ignore",
}


def compile_all(
    interpreters: list[Interpreter], sources: dict[str, bytes], cache: Path
) -> dict[Interpreter, dict[str, bytes]]:
    """Return each interpreter's marshalled code for each of ``sources``, by path.

    Raises:
        StepFailed: a source does not compile.
    """
    if not sources:
        return {each: {} for each in interpreters}
    cache.mkdir(parents=True, exist_ok=True)
    with ThreadPoolExecutor(os.cpu_count() or 1) as pool:
        compiled = pool.map(lambda each: compile_cached(each, sources, cache), interpreters)
        return dict(zip(interpreters, compiled, strict=True))


def compile_cached(
    interpreter: Interpreter, sources: dict[str, bytes], cache: Path
) -> dict[str, bytes]:
    """Return the marshalled code of ``sources``, kept in ``cache`` for the next build."""
    digest = hashlib.sha256(WORKER.read_bytes() + Path(__file__).read_bytes())
    digest.update(f"{interpreter.version}\n{interpreter.magic}\n".encode())
    for path, source in sources.items():
        digest.update(f"{path}\n{len(source)}\n".encode() + source)
    kept = cache / f"{digest.hexdigest()[:32]}.code"
    if not kept.exists():
        content = run_worker(interpreter, sources)
        aside = kept.with_suffix(f".{os.getpid()}")
        aside.write_bytes(content)
        aside.replace(kept)
    return dict(zip(sources, split(kept.read_bytes()), strict=True))


def run_worker(interpreter: Interpreter, sources: dict[str, bytes]) -> bytes:
    """Return what the worker writes, run by ``interpreter`` in surroundings without influence."""
    with tempfile.TemporaryDirectory() as folder:
        named = []
        for number, (path, source) in enumerate(sources.items()):
            copy = Path(folder, f"{number}.py")
            copy.write_bytes(source)
            level = 0 if path in WITH_DOCSTRINGS else 2
            named.append((path, str(copy), level))
        # The hash seed is set (-I would ignore it): the order of a set in a constant hangs on it.
        # Column numbers, which only tracebacks show, would make the code a quarter larger.
        process = subprocess.run(
            [interpreter.path, "-S", "-s", "-B", str(WORKER)],
            env={**clean_surroundings(), **WORKER_SURROUNDINGS},
            input=json.dumps(named).encode(),
            capture_output=True,
            check=False,
        )
    if process.returncode:
        last = process.stderr.decode(errors="replace").strip().splitlines()[-3:]
        raise StepFailed(STEP, f"CPython {interpreter.python}: " + " ".join(last))
    return process.stdout


def split(content: bytes) -> list[bytes]:
    """Return the pieces that the worker wrote one after another."""
    pieces = []
    start = 0
    while start < len(content):
        size = int.from_bytes(content[start : start + LENGTH_BYTES], "little")
        start += LENGTH_BYTES
        pieces.append(content[start : start + size])
        start += size
    return pieces
