"""Pythons of other architectures and releases, from Debian's packages unpacked into a folder.

Nothing is installed: apt works in a folder of its own, with the system's own sources.
"""

from __future__ import annotations

import re
import subprocess
from pathlib import Path

SOURCES = Path("/etc/apt")


def unpack(folder: Path, suite: str, architecture: str, *packages: str) -> Path:
    """Unpack ``packages`` of a Debian suite, with all they depend on; return the root folder."""
    root = folder / "root"
    if root.exists():
        return root
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
    ]
    apt = ["apt-get", "-qq", *(part for option in options for part in ("-o", option))]
    subprocess.run([*apt, "update"], check=True)
    download = ["install", "-y", "--download-only", "--no-install-recommends"]
    subprocess.run([*apt, *download, *packages], check=True, stdout=subprocess.DEVNULL)
    aside = folder / "unpacking"
    for package in sorted((folder / "cache/archives").glob("*.deb")):
        subprocess.run(["dpkg", "-x", str(package), str(aside)], check=True)
    return aside.rename(root)


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
