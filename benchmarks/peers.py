"""Other tools that are given the same bytes, as they come from a distribution."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sysconfig
from dataclasses import dataclass
from typing import TYPE_CHECKING

from benchmarks.measuring import Work

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from pathlib import Path

    from benchmarks.measuring import Bench

VERSIONS = {
    "zstd": ("zstd", "--version"),
    "openssl": ("openssl", "version"),
    "nginx": ("nginx", "-v"),
    "restic": ("restic", "version"),
    "borg": ("borg", "--version"),
    "casync": ("casync", "--version"),
    "rclone": ("rclone", "version"),
}
"""How each says which version it is. No other tool is asked for."""

NUMBERS = (re.compile(r"\d+(?:\.\d+)+"), re.compile(r"\d+"))


def find(name: str) -> str | None:
    """Return the path of a program: the private environment's, or one on the PATH."""
    places = [sysconfig.get_path("scripts"), os.environ["PATH"], "/usr/sbin", "/usr/local/sbin"]
    return shutil.which(name, path=os.pathsep.join(places))


def versions() -> dict[str, str | None]:
    """Return the version of each program, None for one that is absent."""
    return {name: version(find(command[0]), *command[1:]) for name, command in VERSIONS.items()}


def version(program: str | None, *arguments: str) -> str | None:
    """Return the number that a program gives itself, None where there is no program."""
    if program is None:
        return None
    done = subprocess.run([program, *arguments], capture_output=True, text=True, check=True)
    return first_number(done.stdout + done.stderr)


def first_number(told: str) -> str:
    """Return the first number with dots in a text, or else the first one."""
    found = [match[0] for number in NUMBERS if (match := number.search(told))]
    return found[0] if found else "unknown"


def zstd(source: Path, name: str = "zstd -3 -T0") -> Work:
    """Compress on all cores, and throw away what comes out."""
    return Work(name, [needed("zstd"), "-q", "-3", "-T0", "-c", str(source)])


def zstd_decompress(stream: Path, target: Path, name: str = "zstd -d") -> Work:
    """Decompress a local file to a file."""
    command = [needed("zstd"), "-q", "-d", str(stream), "-o", str(target)]
    return Work(name, command, prepare=lambda: target.unlink(missing_ok=True))


def openssl(source: Path, name: str = "openssl dgst -sha256") -> Work:
    """Hash a file on one core."""
    return Work(name, [needed("openssl"), "dgst", "-sha256", str(source)])


@dataclass(frozen=True)
class Repository:
    """A peer's own store in a folder: made anew before each run, outside the time."""

    bench: Bench
    folder: Path
    environ: Mapping[str, str]

    def work(self, name: str, init: list[str], command: list[str]) -> Work:
        """Return a run that begins with an empty repository."""

        def prepare() -> None:
            shutil.rmtree(self.folder, ignore_errors=True)
            self.folder.mkdir()
            if init:
                subprocess.run(
                    init, check=True, env=self.bench.environ(self.environ), capture_output=True
                )

        return Work(name, command, environ=self.environ, prepare=prepare)


def restic(bench: Bench, folder: Path, source: Path) -> Work:
    """`restic backup` into a local repository: always encrypted, compression "auto"."""
    repository = str(folder / "restic" / "repository")
    environ = {"RESTIC_PASSWORD": "benchmark", "RESTIC_REPOSITORY": repository}
    program = needed("restic")
    return Repository(bench, folder / "restic", environ).work(
        "restic backup",
        [program, "init", "-q", "--no-cache"],
        [program, "backup", "-q", "--no-cache", str(source)],
    )


def borg(bench: Bench, folder: Path, source: Path) -> Work:
    """`borg create` into a local repository, without encryption, compression "zstd,3"."""
    place = folder / "borg"
    environ = {
        "BORG_BASE_DIR": str(place / "base"),
        "BORG_UNKNOWN_UNENCRYPTED_REPO_ACCESS_IS_OK": "yes",
    }
    program, repository = needed("borg"), str(place / "repository")
    return Repository(bench, place, environ).work(
        "borg create",
        [program, "init", "-e", "none", repository],
        [program, "create", "--compression", "zstd,3", f"{repository}::one", str(source)],
    )


def casync(bench: Bench, folder: Path, source: Path) -> Work:
    """`casync make` into a local store, compression "zstd"."""
    place = folder / "casync"
    store, index = f"--store={place / 'store'}", str(place / "index.caibx")
    command = [needed("casync"), "make", "--compression=zstd", store, index, str(source)]
    return Repository(bench, place, {}).work("casync make", [], command)


def rclone(bench: Bench, folder: Path, source: Path) -> Work:
    """`rclone copy` into a folder: neither compressed nor cut, but hashed and compared."""
    place = folder / "rclone"
    command = [needed("rclone"), "copy", "-q", "--config", os.devnull, str(source), str(place)]
    return Repository(bench, place, {}).work("rclone copy", [], command)


KEEPERS: dict[str, Callable[[Bench, Path, Path], Work]] = {
    "rclone": rclone,
    "restic": restic,
    "borg": borg,
    "casync": casync,
}
"""Those that keep a file somewhere, by their program's name."""


def keepers(bench: Bench, folder: Path, source: Path) -> list[Work]:
    """Return a run of each keeper that is installed."""
    return [make(bench, folder, source) for name, make in KEEPERS.items() if find(name)]


def needed(name: str) -> str:
    """Return the path of a program that is there.

    Raises:
        FileNotFoundError: it is not.
    """
    found = find(name)
    if found is None:
        raise FileNotFoundError(f"{name} is not installed: benchmarks/README.md says how")
    return found
