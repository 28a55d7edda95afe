"""A folder that only its owner can write to, for a library that can't be loaded from memory."""

from __future__ import annotations

import os
import stat
import sys
import tempfile
import zlib
from contextlib import contextmanager, suppress

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator

VARIABLE = "STORE_WORKERS_CACHE"


def keep(name: str, content: bytes) -> str:
    """Return the path of a file with exactly ``content``, kept for the next start.

    If no folder can be made private, a folder for this process alone is used.

    Raises:
        OSError: there is no folder that can be written to.
    """
    # Libraries of several builds can coexist: each is in a folder named by its content.
    folder = os.path.join(cache_root(), f"{zlib.crc32(content):08x}")
    try:
        make_private(folder)
        return written(os.path.join(folder, name), content)
    except OSError:
        folder = tempfile.mkdtemp(prefix="store-workers-")
        return written(os.path.join(folder, name), content)


def cache_root() -> str:
    """Return the folder for all builds: that of the variable, or of the platform's caches."""
    named = os.environ.get(VARIABLE)
    if named:
        return os.path.abspath(named)
    home = os.path.expanduser("~")
    if sys.platform == "win32":
        base = os.environ.get("LOCALAPPDATA") or os.path.join(home, "AppData", "Local")
    elif sys.platform == "darwin":
        base = os.path.join(home, "Library", "Caches")
    else:
        base = os.environ.get("XDG_CACHE_HOME") or os.path.join(home, ".cache")
    return os.path.join(base, "store-workers")


def make_private(folder: str) -> None:
    """Make ``folder``, and the one that it is in, for this user alone.

    Raises:
        OSError: it can't be made, or is somebody else's, or open to others.
    """
    for each in (os.path.dirname(folder), folder):
        os.makedirs(each, mode=0o700, exist_ok=True)
    if sys.platform == "win32":
        return  # the user's profile is private by its access list
    facts = os.lstat(folder)
    if not stat.S_ISDIR(facts.st_mode) or facts.st_uid != os.geteuid() or facts.st_mode & 0o077:
        raise PermissionError(f"not private: {folder}")


def written(path: str, content: bytes) -> str:
    """Return ``path`` once it holds ``content``.

    It is moved there when it is complete, so that nobody loads a part of it. Of many simultaneous
    starts one writes it, and all use it.
    """
    folder = os.path.dirname(path)
    if holds(path, content):
        return path
    with locked(folder):
        if not holds(path, content):  # another start may have been faster
            handle, aside = tempfile.mkstemp(dir=folder)
            try:
                with open(handle, "wb") as stream:
                    stream.write(content)
                os.replace(aside, path)
            except OSError:
                os.unlink(aside)
                if not holds(path, content):  # on Windows a library in use can't be replaced
                    raise
    return path


@contextmanager
def locked(folder: str) -> Iterator[None]:
    """Keep other starts from writing to ``folder``, where folders can be locked.

    Where they can't (Windows, some network disks), moving is atomic too.
    """
    try:
        import fcntl
    except ImportError:
        yield
        return
    held = os.open(folder, os.O_RDONLY)
    try:
        with suppress(OSError):
            fcntl.flock(held, fcntl.LOCK_EX)
        yield
    finally:
        os.close(held)


def holds(path: str, content: bytes) -> bool:
    """Return whether the file at ``path`` holds exactly ``content``."""
    try:
        with open(path, "rb") as stream:
            return stream.read() == content
    except OSError:
        return False
