"""Finds native libraries in the archive: a folder for each kind of host, with names as in wheels.

Python can only load a library that has a path. On Linux that is a file in memory (``memfd``), so
that nothing is written; elsewhere it is a file in a private folder.
"""

from __future__ import annotations

import errno
import os
import sys
from importlib.machinery import EXTENSION_SUFFIXES, ExtensionFileLoader
from importlib.util import spec_from_file_location

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence
    from importlib.machinery import ModuleSpec
    from types import ModuleType

    from store_workers_bootstrap.importer import Archive

FOLDER = "native"
# Errors that no other place for a library mends.
LIMITS = (errno.EMFILE, errno.ENFILE, errno.ENOMEM, errno.EFBIG)
# The first Python whose standard library can replace the bundled codec.
CODEC = "zstandard.backend_c"
OWN_CODEC = (3, 14)


class Finder:
    """Finds the native libraries of one kind of host; stands in ``sys.meta_path``.

    ``entries`` are those libraries in the archive, by the name of their module.
    """

    def __init__(self, archive: Archive, entries: dict[str, str]) -> None:
        self._archive = archive
        self._entries = entries

    def find_spec(
        self, name: str, path: Sequence[str] | None = None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        """Return where the library for the module ``name`` can be loaded from, or None."""
        entry = self._entries.get(name)
        if entry is None:
            return None
        content = self._archive.read(entry)
        place = in_memory(content) or in_private_folder(entry, content)
        return spec_from_file_location(name, place, loader=ExtensionFileLoader(name, place))


def libraries(entries: Iterable[str], host: str) -> dict[str, str]:
    """Return the entries that are a host's libraries, by the name of their module."""
    folder = os.path.join(FOLDER, host, "")
    found = (entry for entry in entries if entry.startswith(folder))
    return {entry[len(folder) :].partition(".")[0].replace(os.sep, "."): entry for entry in found}


def in_memory(content: bytes) -> str | None:
    """Put a library into anonymous memory; return its path, or None if that is not possible."""
    if not hasattr(os, "memfd_create"):
        return None
    try:
        # Never closed: the dynamic linker knows libraries by name, and a descriptor's number
        # used again would be the name of this one.
        memory = os.memfd_create("store-workers")
    except OSError as error:
        if error.errno in LIMITS:
            raise
        return None
    path = f"/proc/self/fd/{memory}"
    try:
        with open(memory, "wb", closefd=False) as stream:
            stream.write(content)
        os.stat(path)
    except OSError:  # too long for this process (`ulimit -f`), no memory, or no /proc
        os.close(memory)
        return None
    return path


def in_private_folder(entry: str, content: bytes) -> str:
    """Put a library into a folder that only this user can write to; return its path.

    Raises:
        WorkerError: there is no such folder (`HOST_UNSUPPORTED`).
    """
    from store_workers_bootstrap.private_cache import VARIABLE, keep

    try:
        return keep(os.path.basename(entry), content)
    except OSError as error:
        if error.errno in LIMITS:
            raise
        from store_workers.errors import ErrorCode, WorkerError

        raise WorkerError(
            ErrorCode.HOST_UNSUPPORTED,
            "this host has no memory file system to load a native library from, and no folder to"
            f" put it into ({error.strerror or error}): name one that can be written to in"
            f" {VARIABLE}",
        ) from error


def host_key() -> str:
    """Name this interpreter's kind of native libraries as the build does."""
    version = "{}{}".format(*sys.version_info)
    threads = "t" if f"{version}t-" in EXTENSION_SUFFIXES[0] else ""
    if sys.platform == "win32":
        machines = {"win_amd64": "x86_64", "win_arm64": "arm64"}
        tag = EXTENSION_SUFFIXES[0].partition("-")[2].partition(".")[0]
        return f"cp{version}{threads}-windows-{machines.get(tag, 'other')}"
    machine = os.uname().machine if sys.maxsize > 2**32 else "32bit"
    machine = {"aarch64": "arm64"}.get(machine, machine)
    system = {"darwin": "macos", "linux": f"linux-{libc()}"}.get(sys.platform, sys.platform)
    return f"cp{version}{threads}-{system}-{machine}"


def libc() -> str:
    """Return "glibc" or "musl"; file names do not tell (CPython 3.10 on musl says gnu)."""
    try:
        return "glibc" if os.confstr("CS_GNU_LIBC_VERSION") else "musl"
    except (OSError, ValueError):
        return "musl"


def install(archive: Archive) -> str | None:
    """Make native libraries importable. Return None, or what this host lacks.

    Nothing works without a codec.
    """
    host = host_key()
    found = libraries(archive.entries, host)
    if CODEC not in found and sys.version_info < OWN_CODEC:
        parts = (entry.split(os.sep) for entry in archive.entries)
        hosts = sorted({folders[1] for folders in parts if folders[0] == FOLDER})
        return f"no native library for {host}; there are: {', '.join(hosts)}"
    sys.meta_path.append(Finder(archive, found))
    return None
