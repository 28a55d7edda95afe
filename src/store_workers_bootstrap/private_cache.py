"""A folder that only its owner can write to, for a library that can't be loaded from memory."""

from __future__ import annotations

import os
import stat
import sys

VARIABLE = "STORE_WORKERS_CACHE"


def keep(name: str, content: bytes) -> str:
    """Return the path of a file with exactly ``content``, kept for the next start.

    It is written to a temporary file and moved under a lock, so that a reader never sees a partial
    file, and of many simultaneous starts one moves it and all use it. An existing file is compared
    before use. If no folder can be made private, a folder for this process alone is used.

    Raises:
        OSError: there is no folder that can be written to.
    """
    import zlib

    # Libraries of several builds can coexist: each is in a folder named by its content.
    folder = os.path.join(cache_root(), f"{zlib.crc32(content):08x}")
    try:
        make_private(folder)
        return written(os.path.join(folder, name), content)
    except OSError:
        import tempfile

        return written(os.path.join(tempfile.mkdtemp(prefix="store-workers-"), name), content)


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
    """Make ``folder`` for this user alone.

    Raises:
        OSError: it can't be made, or is somebody else's, or open to others.
    """
    os.makedirs(os.path.dirname(folder), mode=0o700, exist_ok=True)
    try:
        os.mkdir(folder, 0o700)
    except FileExistsError:
        pass
    if sys.platform == "win32":
        return  # the user's profile is private by its access list
    facts = os.lstat(folder)
    if not stat.S_ISDIR(facts.st_mode) or facts.st_uid != os.geteuid() or facts.st_mode & 0o077:
        raise PermissionError(f"not private: {folder}")


def written(path: str, content: bytes) -> str:
    """Return ``path`` once it holds ``content``."""
    if holds(path, content):
        return path
    import tempfile

    handle, aside = tempfile.mkstemp(dir=os.path.dirname(path))
    try:
        with open(handle, "wb") as stream:
            stream.write(content)
            stream.flush()
            os.fsync(stream.fileno())
        lock = locked(os.path.dirname(path))
        try:
            if not holds(path, content):  # another start may have been faster
                os.replace(aside, path)
                aside = ""
        finally:
            if lock is not None:
                os.close(lock)
    except OSError:
        if not holds(path, content):  # on Windows a library in use can't be replaced
            raise
    finally:
        if aside:
            os.unlink(aside)
    return path


def locked(folder: str) -> int | None:
    """Wait until no other start moves anything in ``folder``; return what holds it until closed.

    None where folders can't be locked (Windows, some network disks): moving is atomic there too.
    """
    try:
        import fcntl
    except ImportError:
        return None
    held = os.open(folder, os.O_RDONLY)
    try:
        fcntl.flock(held, fcntl.LOCK_EX)
    except OSError:
        os.close(held)
        return None
    return held


def holds(path: str, content: bytes) -> bool:
    """Return whether the file at ``path`` holds exactly ``content``."""
    try:
        with open(path, "rb") as stream:
            return stream.read() == content
    except OSError:
        return False
