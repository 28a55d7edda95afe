"""The Pythons of this machine, and ways to start the artifact with them."""

from __future__ import annotations

import functools
import hashlib
import json
import os
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tests.support.worker import ARTIFACT, clean_environ

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

SUPPORTED = ("3.10", "3.11", "3.12", "3.13", "3.14", "3.15")
TOO_OLD = ("2.7", "3.6", "3.7", "3.8", "3.9")
# What the artifact's first lines do, given ``__loader__``, but for their word on a damaged copy.
FIRST_LINES = """
exec(__loader__.get_data("__main__.py").partition(b"if not bad")[0])
exec(code)
"""
# Before the artifact's own main: runs its first lines and stops short of the worker, so that a
# test can look at what is importable then. sys.argv[1] is the artifact.
INSIDE = f"""
import sys, types, zipimport
stand_in = types.ModuleType("store_workers.__main__")
stand_in.main = lambda: None
sys.modules[stand_in.__name__] = stand_in
__loader__ = zipimport.zipimporter(sys.argv[1])
{FIRST_LINES}
del sys.modules[stand_in.__name__]
"""


@functools.cache
def pythons() -> dict[str, str]:
    """Return every CPython found here, by a name that tells its version and where it is from."""
    found = {}
    pyenv = Path(os.environ.get("PYENV_ROOT") or Path.home() / ".pyenv")
    for path in sorted(pyenv.glob("versions/*/bin/python")):
        found[f"pyenv-{path.parent.parent.name}"] = str(path)
    for number in (*TOO_OLD, *SUPPORTED):
        path = Path(f"/usr/bin/python{number}")
        if path.exists():
            found[f"system-{number}"] = str(path)
    base = getattr(sys, "_base_executable", sys.executable)
    found[f"running-{sys.version_info[0]}.{sys.version_info[1]}"] = base
    return found


def supported_pythons() -> list[str]:
    """Return the names of those that the artifact must run on, each once."""
    found = {os.path.realpath(path): name for name, path in reversed(pythons().items())}
    return [name for name in pythons() if name in found.values() and version(name) in SUPPORTED]


def too_old_pythons() -> list[str]:
    """Return the names of those that must be told why not."""
    return [name for name in pythons() if version(name) in TOO_OLD]


def version(name: str) -> str:
    """Return "3.11" for "pyenv-3.11.7"."""
    return ".".join(name.rpartition("-")[2].split(".")[:2])


@dataclass
class Answer:
    """How a start of the artifact ended."""

    status: int
    lines: list[dict[str, Any]]
    stdout: str
    stderr: str

    @property
    def last(self) -> dict[str, Any]:
        """The terminal event."""
        assert self.lines, self
        return self.lines[-1]


def start(
    command: Sequence[str],
    message: Mapping[str, object] | None = None,
    *,
    environ: Mapping[str, str | None] | None = None,
    cwd: Path | str | None = None,
    preexec: Callable[[], None] | None = None,
) -> Answer:
    """Start ``command``, hand it ``message``, and wait for its end."""
    process = subprocess.run(
        command,
        input=b"" if message is None else json.dumps(message).encode() + b"\n",
        capture_output=True,
        env=clean_environ(environ),
        cwd=cwd,
        preexec_fn=preexec,
        timeout=120,
        check=False,
    )
    stdout = process.stdout.decode(errors="replace")
    lines = [json.loads(line) for line in stdout.splitlines() if line.startswith("{")]
    return Answer(process.returncode, lines, stdout, process.stderr.decode(errors="replace"))


def inside(python: str, code: str, *arguments: str, artifact: Path = ARTIFACT) -> str:
    """Run ``code`` where the worker would run, and return what it prints."""
    process = subprocess.run(
        [python, "-c", INSIDE + code, str(artifact), *arguments],
        capture_output=True,
        text=True,
        env=clean_environ(),
        timeout=120,
        check=False,
    )
    assert process.returncode == 0, process.stdout + process.stderr
    return process.stdout


@dataclass
class RoundTrip:
    """A file, a store beside it, and the messages that take it there and back."""

    folder: Path

    def __post_init__(self) -> None:
        self.folder.mkdir(parents=True, exist_ok=True)
        self.content = b"".join(hashlib.sha256(b"%d" % n).digest() + bytes(64) for n in range(3000))
        self.source = self.folder / "source"
        self.source.write_bytes(self.content)
        self.store = self.folder / "store"
        self.target = self.folder / "target"

    def upload(self) -> dict[str, object]:
        """The message that uploads the file."""
        return {"type": "UPLOAD_START", "path": str(self.source), "store": str(self.store)}

    def download(self, hashes: object) -> dict[str, object]:
        """The message that gets it back."""
        return {
            "type": "DOWNLOAD_START",
            "path": str(self.target),
            "store": str(self.store),
            "hashes": hashes,
        }

    def run(self, command: Sequence[str], **how: Any) -> list[str]:
        """Upload and download with ``command``; return the hashes."""
        up = start(command, self.upload(), **how)
        assert up.status == 0, up
        assert up.stderr == "", up
        down = start(command, self.download(up.last["hashes"]), **how)
        assert down.status == 0, down
        assert down.stderr == "", down
        assert self.target.read_bytes() == self.content
        hashes = up.last["hashes"]
        assert isinstance(hashes, list)
        return hashes


def copy_artifact(folder: Path, name: str = "store-workers.pyz") -> Path:
    """Return a copy of the artifact in ``folder``."""
    folder.mkdir(parents=True, exist_ok=True)
    return Path(shutil.copy(ARTIFACT, folder / name))
