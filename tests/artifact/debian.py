"""Pythons of other architectures and releases, from Debian's packages unpacked into a folder.

Nothing is installed: apt works in a folder of its own, with the system's own sources.
"""

from __future__ import annotations

import fcntl
import re
import shutil
import subprocess
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence

SOURCES = Path("/etc/apt")


def unpack(folder: Path, suite: str, architecture: str, *packages: str) -> Path:
    """Unpack ``packages`` of a Debian suite, with all they depend on; return the root folder.

    Only the first test that asks unpacks them: the other processes of a run wait for it.
    """
    folder.mkdir(parents=True, exist_ok=True)
    root = folder / "root"
    with (folder / "unpacking.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not root.exists():
            download(folder, suite, architecture, packages)
            aside = folder / "unpacking"
            shutil.rmtree(aside, ignore_errors=True)  # what a run that was killed has left
            for package in sorted((folder / "cache/archives").glob("*.deb")):
                subprocess.run(["dpkg", "-x", str(package), str(aside)], check=True)
            aside.rename(root)
    return root


def download(folder: Path, suite: str, architecture: str, packages: Sequence[str]) -> None:
    """Download ``packages`` and all they depend on into the folder's cache."""
    for each in ("lists/partial", "cache/archives/partial", "parts"):
        (folder / each).mkdir(parents=True, exist_ok=True)
    (folder / "status").touch()
    write_sources(folder, suite)
    options = [
        f"APT::Architecture={architecture}",
        f"APT::Architectures={architecture}",
        "APT::Sandbox::User=root",
        f"Dir::State={folder}",
        f"Dir::State::lists={folder}/lists",
        f"Dir::State::status={folder}/status",
        f"Dir::Cache={folder}/cache",
        f"Dir::Etc::sourcelist={folder}/sources.list",
        f"Dir::Etc::sourceparts={folder}/parts",
        "Acquire::Languages=none",
    ]
    apt = ["apt-get", "-qq", *(part for option in options for part in ("-o", option))]
    subprocess.run([*apt, "update"], check=True)
    install = ["install", "-y", "--download-only", "--no-install-recommends"]
    subprocess.run([*apt, *install, *packages], check=True, stdout=subprocess.DEVNULL)


def write_sources(folder: Path, suite: str) -> None:
    """Write the system's own main sources for another suite."""
    lines, stanzas = [], []
    for file in sorted([SOURCES / "sources.list", *SOURCES.glob("sources.list.d/*")]):
        if file.is_file() and file.suffix == ".list":
            lines += file.read_text(encoding="utf-8").splitlines()
        elif file.is_file() and file.suffix == ".sources":
            stanzas += file.read_text(encoding="utf-8").split("\n\n")
    wanted = [line for line in lines if line.startswith("deb ") and is_main(line)]
    lines = [re.sub(r"(\S+://\S+)\s+\S+\s+.*", rf"\1 {suite} main", line) for line in wanted]
    (folder / "sources.list").write_text("\n".join(lines) + "\n", encoding="utf-8")
    stanzas = [
        re.sub(r"(?m)^Suites:.*$", f"Suites: {suite}", stanza)
        for stanza in stanzas
        if "URIs:" in stanza and is_main(stanza)
    ]
    (folder / "parts/system.sources").write_text("\n\n".join(stanzas) + "\n", encoding="utf-8")


def is_main(source: str) -> bool:
    """Return whether a source is the distribution itself, not its updates."""
    return not re.search(r"security|-updates\s*$|backports", source, re.MULTILINE) or bool(
        re.search(r"(?m)^Suites: \w+ \w+-updates$", source) and "security" not in source
    )
