"""Makes the input: a tar of files of this machine, random bytes, and a small file.

The tar differs between machines, as the checksum in the results shows; within one run all programs
get the same bytes.
"""

from __future__ import annotations

import hashlib
import io
import os
import stat
import sysconfig
import tarfile
from dataclasses import dataclass
from pathlib import Path
from typing import IO, TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator

MIB = 1 << 20
KIB = 1 << 10
LIBRARIES = Path("/usr/lib", sysconfig.get_config_var("MULTIARCH") or "")
SOURCES = (LIBRARIES, Path("/usr/share"))
"""System libraries and shared files; each gives half of the tar, in the order of their names."""

LARGEST_MEMBER = 64 * MIB  # one huge file should not make half of the data


class TooLittle(Exception):
    """This machine does not have enough files to fill the tar."""


@dataclass(frozen=True)
class Inputs:
    """The input files."""

    tar: Path
    noise: Path
    small: Path

    @property
    def size(self) -> int:
        """Bytes of the tar, and of the noise."""
        return self.tar.stat().st_size

    def tar_digest(self) -> str:
        """Return the tar's SHA-256 in hex."""
        digest = hashlib.sha256()
        with self.tar.open("rb") as file:
            while block := file.read(MIB):
                digest.update(block)
        return digest.hexdigest()


def make_inputs(folder: Path, size: int) -> Inputs:
    """Make all inputs in a folder.

    Args:
        folder: where they are written.
        size: bytes of the tar and of the noise, a multiple of 1 MiB.

    Raises:
        TooLittle: the machine's files do not fill the tar.
    """
    inputs = Inputs(folder / "files.tar", folder / "noise", folder / "small")
    with inputs.tar.open("wb") as file:
        for source in SOURCES:
            write_tar(file, source, size // len(SOURCES))
    with inputs.noise.open("wb") as file:
        for _ in range(size // MIB):
            file.write(os.urandom(MIB))
    with inputs.tar.open("rb") as file:
        file.seek(size // 2)
        inputs.small.write_bytes(file.read(4 * KIB))
    return inputs


def write_tar(file: IO[bytes], source: Path, size: int) -> None:
    """Write exactly `size` bytes of a tar of the regular files below a folder.

    Raises:
        TooLittle: there are fewer.
    """
    start = file.tell()
    with tarfile.open(fileobj=file, mode="w", format=tarfile.PAX_FORMAT) as archive:
        for path in regular_files(source):
            add(archive, path)
            if file.tell() - start >= size:
                break
        else:
            raise TooLittle(f"{source} holds less than {size} bytes")
    file.truncate(start + size)
    file.seek(start + size)


def regular_files(folder: Path) -> Iterator[Path]:
    """Walk a folder by name; leave out links, and what is very large."""
    for parent, folders, names in os.walk(folder):
        folders.sort()
        for name in sorted(names):
            path = Path(parent, name)
            try:
                found = path.lstat()
            except OSError:
                continue
            if stat.S_ISREG(found.st_mode) and found.st_size <= LARGEST_MEMBER:
                yield path


def add(archive: tarfile.TarFile, path: Path) -> None:
    """Append a file with its content alone; one that may not be read is left out."""
    try:
        content = path.read_bytes()
    except OSError:
        return
    member = tarfile.TarInfo(str(path).lstrip("/"))
    member.size = len(content)
    archive.addfile(member, io.BytesIO(content))
