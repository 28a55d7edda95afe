#!/usr/bin/env python3
"""Run every check of the project: build the artifact, lint, check types, test.

Needs nothing but a CPython of a supported version with pip and venv:

    python3 tools/test.py                   everything
    python3 tools/test.py -k upload -x      arguments are handed on to pytest

The environment is made under ``build/`` from ``tools/requirements`` (exact versions, with hashes)
and kept until these files or the interpreter change.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import shutil
import subprocess
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, NoReturn

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

ROOT = Path(__file__).resolve().parent.parent
BUILD = ROOT / "build"
PINS = ROOT / "tools" / "requirements"
# The tools, and what the worker bundles: the unit tests import it from source.
BUNDLED = ("runtime.txt", "zstandard.txt", "pyfastcdc.txt")
REQUIREMENTS = [PINS / name for name in ("dev.txt", *BUNDLED)]
OLDEST = (3, 10)
# Two tests at a time for each processor: half of a test's time is spent waiting for a process or a
# server. tests/conftest.py names the files that one process runs from end to end, and first.
AT_ONCE = min(8, 2 * (os.cpu_count() or 1))
PYTEST = ("pytest", f"--numprocesses={AT_ONCE}", "-q")


def main(arguments: Sequence[str]) -> int:
    """Run the steps in order and stop at the first that fails."""
    if sys.version_info < OLDEST:
        give_up("start", f"needs CPython {OLDEST[0]}.{OLDEST[1]} or newer, not {sys.version}")
    os.chdir(ROOT)
    python = environment()
    environment("site", [PINS / "site.txt"])
    bare_environment()
    run("build", sys.executable, "tools/build.py")
    run("lint", python, "-m", "ruff", "check", "--quiet")
    run("format", python, "-m", "ruff", "format", "--check", "--quiet")
    run("types", python, "-m", "mypy", "--strict", "--no-error-summary")
    if not list(ROOT.glob("tests/unit/__pycache__/*pytest*")):
        # Otherwise each process of a first run would compile all tests, at the same time.
        run("compile", python, "-m", "pytest", "--collect-only", "-q", quiet=True)
    run("tests", python, "-m", *PYTEST, *arguments)
    say("everything passed")
    return 0


def environment(name: str = "test", requirements: Sequence[Path] = REQUIREMENTS) -> str:
    """Make an environment of pinned packages, or find it made; return its interpreter."""
    folder = BUILD / f"{name}-env-{tag()}"
    contents = b"".join(pins.read_bytes() for pins in requirements)
    with made_once(folder, contents) as missing:
        if missing:
            say("environment: installing the pinned tools, once")
            run("environment", sys.executable, "-m", "venv", str(folder), quiet=True)
            pip = (interpreter(folder), "-m", "pip", "--disable-pip-version-check", "install")
            pins = [argument for file in requirements for argument in ("-r", str(file))]
            exact = ("--require-hashes", "--only-binary=:all:")
            run("environment", *pip, *exact, *pins, quiet=True)
    return interpreter(folder)


def bare_environment() -> None:
    """Make an interpreter without libraries, with which the tests start the artifact."""
    folder = BUILD / f"bare-env-{tag()}"
    with made_once(folder, b"") as missing:
        if missing:
            run("environment", sys.executable, "-m", "venv", "--without-pip", str(folder))


@contextlib.contextmanager
def made_once(folder: Path, contents: bytes) -> Iterator[bool]:
    """Yield whether ``folder`` has to be made, under a lock; mark it as made on success."""
    BUILD.mkdir(exist_ok=True)
    stamp = folder / "made-from.sha256"
    facts = f"{sys.version}\n{sys.base_prefix}\n{folder}\n".encode()
    wanted = hashlib.sha256(facts + contents).hexdigest()
    with folder.with_suffix(".lock").open("w") as lock:
        with contextlib.suppress(ImportError):  # Windows
            import fcntl

            fcntl.flock(lock, fcntl.LOCK_EX)
        missing = not stamp.is_file() or stamp.read_text() != wanted
        if missing:
            shutil.rmtree(folder, ignore_errors=True)
        yield missing
        stamp.write_text(wanted)


def run(step: str, *command: str, quiet: bool = False) -> None:
    """Run one step; end the whole run, naming the step, when it fails.

    Args:
        step: what the failure is reported under.
        command: program and arguments.
        quiet: show the output only when the command fails.
    """
    started = time.monotonic()
    hidden = subprocess.PIPE if quiet else None
    try:
        done = subprocess.run(
            command,
            check=False,
            env=clean_environ(),
            stdin=subprocess.DEVNULL,
            stdout=hidden,
            stderr=subprocess.STDOUT if quiet else None,
        )
    except OSError as error:
        give_up(step, f"{command[0]}: {error}")
    except KeyboardInterrupt:
        give_up(step, "interrupted")
    if done.returncode:
        if quiet:
            sys.stderr.write(done.stdout.decode(errors="replace"))
        give_up(step, f"exit status {done.returncode} of: {' '.join(command)}")
    if not quiet:
        say(f"{step}: ok, {time.monotonic() - started:.1f} s")


def clean_environ() -> dict[str, str]:
    """Return the environment without variables that change which code Python runs."""
    return {name: value for name, value in os.environ.items() if not name.startswith("PYTHON")}


def interpreter(folder: Path) -> str:
    """Return the path of a virtual environment's interpreter."""
    name = "Scripts/python.exe" if os.name == "nt" else "bin/python"
    return str(folder / name)


def tag() -> str:
    """Return a name that distinguishes this interpreter's environments."""
    return f"{sys.implementation.cache_tag}-{sys.platform}"


def say(text: str) -> None:
    """Print one line about the run, in order with the output of the steps."""
    print(f"tools/test.py: {text}", flush=True)


def give_up(step: str, why: str) -> NoReturn:
    """Print the one line that says which step failed, and end with status 1."""
    say(f"FAILED at step '{step}': {why}")
    raise SystemExit(1)


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1:]))
