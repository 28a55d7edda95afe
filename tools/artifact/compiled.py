"""Compile the sources with each CPython that this machine has."""

from __future__ import annotations

import glob
import marshal
import os
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from typing import NamedTuple

from . import StepFailed
from .wheels import AT_ONCE, PYTHONS, tag_of

# Where CPythons lie beside the PATH: those of the system, of Homebrew, pyenv and uv.
PLACES = (
    *("/usr/bin", "/usr/local/bin", "/opt/homebrew/bin"),
    *("~/.pyenv/versions/*/bin", "~/.pyenv/pyenv-win/versions/*"),
    "~/.local/share/uv/python/*/bin",
)
NAMES = ("python3.1[0-9]", "python3", "python.exe")
PATIENCE = 60.0  # seconds: a probe that hangs is no interpreter for us
PROBE = "import sys; v = sys.version_info; print(sys.implementation.name, v.releaselevel, *v[:3])"

# Reads and writes the sources and their code by path, as ``marshal`` does in every version. Code is
# without docstrings, as with -OO: they are a fifth of it. Those of the messages stay: the JSON
# Schema quotes them. It is never compared with its source (PEP 552).
COMPILE = """
import importlib.util, marshal, sys
def made(path, source):
    level = 0 if path.startswith("store_workers/wire/") else 2
    code = compile(source, path, "exec", dont_inherit=True, optimize=level)
    head = importlib.util.MAGIC_NUMBER + b"\\1\\0\\0\\0" + importlib.util.source_hash(source)
    return head + marshal.dumps(code)
sources = sorted(marshal.load(sys.stdin.buffer).items())
sys.stdout.buffer.write(marshal.dumps({path: made(path, source) for path, source in sources}, 2))
"""
# The order of a set in a constant hangs on the seed. Column numbers, which only tracebacks show,
# would make the code a quarter larger.
SURROUNDINGS = {"PYTHONHASHSEED": "0", "PYTHONNODEBUGRANGES": "1", "PYTHONWARNINGS": "ignore"}


class Interpreter(NamedTuple):
    """A CPython that compiles: its version and its path."""

    release: tuple[int, ...]
    path: str

    @property
    def python(self) -> str:
        """The version that is supported: "3.11"."""
        return "{}.{}".format(*self.release)


def find_interpreters() -> list[Interpreter]:
    """Return one interpreter for each supported CPython found, oldest first.

    Which Python runs the build must not matter, so all that the machine has are looked at. Of
    several for one version the latest is taken.
    """
    places = [place for place in os.get_exec_path() if os.path.basename(place) != "shims"]
    found = [getattr(sys, "_base_executable", None) or sys.executable]
    for place in [*places, *map(os.path.expanduser, PLACES)]:
        for name in NAMES:
            found += glob.glob(os.path.join(place, name))
    with ThreadPoolExecutor(AT_ONCE) as pool:
        known = pool.map(probe, set(map(os.path.realpath, found)))
        best = {each.python: each for each in sorted(filter(None, known))}
    return [best[python] for python in PYTHONS if python in best]


def probe(path: str) -> Interpreter | None:
    """Return what the program at ``path`` is, or None if it is no released CPython."""
    command = [path, "-I", "-S", "-c", PROBE]
    nothing = subprocess.DEVNULL
    try:
        said = subprocess.check_output(command, stdin=nothing, stderr=nothing, timeout=PATIENCE)
    except (OSError, subprocess.SubprocessError):
        return None
    words = said.decode(errors="replace").split()
    is_released = words[:2] == ["cpython", "final"]
    return Interpreter(tuple(map(int, words[2:])), path) if is_released else None


def compile_all(interpreters: list[Interpreter], sources: dict[str, bytes]) -> dict[str, bytes]:
    """Return every source compiled by every interpreter, by the path in the artifact.

    Raises:
        StepFailed: a source does not compile.
    """
    with ThreadPoolExecutor(AT_ONCE) as pool:
        done = pool.map(lambda each: compiled_by(each, sources), interpreters)
        return {path: code for compiled in done for path, code in compiled.items()}


def compiled_by(interpreter: Interpreter, sources: dict[str, bytes]) -> dict[str, bytes]:
    """Return what one interpreter makes of the sources, in surroundings without influence."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith("PYTHON")}
    done = subprocess.run(
        [interpreter.path, "-S", "-s", "-B", "-c", COMPILE],
        env=kept | SURROUNDINGS,  # -I would ignore the seed
        input=marshal.dumps(sources, 2),
        capture_output=True,
        check=False,
    )
    if done.returncode:
        last = done.stderr.decode(errors="replace").strip().splitlines()[-3:]
        raise StepFailed("compile", f"CPython {interpreter.python}: " + " ".join(last))
    folder = tag_of(interpreter.python)
    return {f"{folder}/{path}c": code for path, code in marshal.loads(done.stdout).items()}
