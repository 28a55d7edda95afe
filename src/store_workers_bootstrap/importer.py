"""Python's own zip importer, and the check that what it imports is what was built.

``zipimport`` does not compare an entry with its CRC-32, and opens the file by its path again for
each one. This reads from the file that was started, even if its path names another file by then,
and checks each entry. A damaged one ends the process with an error.
"""

from __future__ import annotations

import gc
import marshal
import os
import signal
import sys
import zipimport
import zlib
from _thread import allocate_lock
from importlib.util import MAGIC_NUMBER

TYPE_CHECKING = False
if TYPE_CHECKING:
    from types import CodeType
    from typing import Any, BinaryIO, NoReturn

DAMAGED = (
    b'{"type":"ERROR","code":"INTERNAL","message":"this copy of store-workers.pyz is damaged:'
    b' copy the file again","retryable":false}\n'
)
STOPPED = (
    b'{"type":"ERROR","code":"CANCELLED","message":"stopped by a signal while starting",'
    b'"retryable":true}\n'
)
LOCAL_HEADER_BYTES, END_BYTES = 30, 22
FIRST_ENTRY_BYTES = 46 + len("__main__.py")
PYC_HEADER_BYTES = 16
DEFLATED = 8
# Imports leave no garbage, but at Python's threshold the collector runs dozens of times.
OBJECTS_BETWEEN_COLLECTIONS = 50_000


class Archive:
    """The artifact's file, held open: it may be moved or replaced while a worker runs.

    Attributes:
        path: what the entries of ``sys.path`` that lead into it begin with.
        entries: the zip's directory, as ``zipimport`` has read it and `open_checked` checked it.
    """

    def __init__(self, stream: BinaryIO) -> None:
        self.path = str(stream.name)
        read: dict[str, Any] = zipimport._zip_directory_cache  # type: ignore[attr-defined]  # noqa: SLF001
        self.entries = read[self.path]
        self._stream = stream
        self._lock = allocate_lock()
        try:
            # The worker reserves the current standard output for its events.
            self._events: int | None = os.dup(1)
        except OSError:
            self._events = None

    def read(self, name: str) -> bytes:
        """Return an entry's content, checked; a damaged copy ends the process.

        Raises:
            OSError: there is no such entry.
        """
        if name not in self.entries:
            raise FileNotFoundError(f"not in the archive: {name}")
        _, method, size, length, offset, _, _, crc = self.entries[name]
        with self._lock:
            self._stream.seek(offset + LOCAL_HEADER_BYTES + len(name.encode()))
            content = self._stream.read(size)
        try:
            if method == DEFLATED:
                content = zlib.decompress(content, -15, length)
        except zlib.error:
            self._end_damaged()
        if zlib.crc32(content) != crc:
            self._end_damaged()
        return content

    def _end_damaged(self) -> NoReturn:
        """Report a damaged copy as the last line of the run, and end the process."""
        if self._events is not None:
            os.write(self._events, DAMAGED)
        os._exit(1)


class Importer(zipimport.zipimporter):
    """Imports from the archive; a hook for ``sys.path`` (PEP 302).

    Class attributes, set before the first import:
        source: the one archive.
        compiled: the folder in it with what was compiled for this Python, None without one.
    """

    source: Archive
    compiled: str | None = None

    def __init__(self, path: str) -> None:
        """``zipimport`` would open the file by its path again, where it may have been replaced."""
        if not path.startswith(self.source.path):
            raise ImportError("not in the archive", path=path)
        inside = path[len(self.source.path) :].strip(os.sep)
        self.archive = self.source.path
        self.prefix = inside and inside + os.sep
        self._files = self.source.entries  # where CPython before 3.13 keeps them

    def invalidate_caches(self) -> None:
        """Keep the directory: it does not change, and its path may name another file."""

    def get_data(self, pathname: str) -> bytes:
        """Return a file; ``pathname`` begins with the archive's own path, or is within it."""
        inside = os.path.normpath(pathname.removeprefix(self.archive + os.sep))
        return self.source.read(inside)

    def get_filename(self, fullname: str) -> str:
        """Return the path of a module. ``zipimport`` would load its code to find that out."""
        return os.path.join(self.archive, self._entry(fullname))

    def get_code(self, fullname: str) -> CodeType:
        """Return a module's code, as it was compiled at build time, or else from its source."""
        name = self._entry(fullname)
        if self.compiled and (compiled := f"{self.compiled}{os.sep}{name}c") in self.source.entries:
            content = self.source.read(compiled)
            if content.startswith(MAGIC_NUMBER):
                return marshal.loads(content[PYC_HEADER_BYTES:])  # type: ignore[no-any-return]
        # The JSON Schema quotes docstrings, so they are kept even with -OO.
        return compile(self.source.read(name), name, "exec", dont_inherit=True, optimize=0)

    def get_source(self, fullname: str) -> str:
        """Return a module's source, for tracebacks."""
        return self.source.read(self._entry(fullname)).decode()

    def _entry(self, fullname: str) -> str:
        base = self.prefix + fullname.rpartition(".")[2]
        for name in (f"{base}{os.sep}__init__.py", f"{base}.py"):
            if name in self.source.entries:
                return name
        raise zipimport.ZipImportError(f"can't find module {fullname!r}", name=fullname)


def stopped(number: int, _frame: object) -> None:
    """End at once, an owner with a message: nothing is open yet. The worker replaces this."""
    if len(sys.argv) == 1:
        os.write(1, STOPPED)
    os._exit(128 + number)


def cut_loose() -> None:
    """Reset Python's options for warnings and compiled code, and report signals."""
    for name in ("SIGINT", "SIGTERM"):
        number = getattr(signal, name)
        if signal.getsignal(number) is not signal.SIG_IGN:  # as with `nohup` and in shells
            signal.signal(number, stopped)
    sys.dont_write_bytecode = True
    sys.pycache_prefix = None
    if sys.warnoptions:
        import warnings

        sys.warnoptions.clear()
        warnings.resetwarnings()
        warnings.simplefilter("ignore")


def forget_foreign_modules() -> None:
    """Drop modules that start-up hooks loaded from elsewhere, in favour of the bundled ones."""
    stdlib = os.path.dirname(os.__file__)
    for name, module in list(sys.modules.items()):
        file = getattr(module, "__file__", None)
        if file and name != "__main__" and ("-packages" in file or not file.startswith(stdlib)):
            if os.path.basename(os.path.dirname(file)) not in ("lib-dynload", "DLLs"):
                del sys.modules[name]


def open_checked(path: str, checksum: int) -> BinaryIO:
    """Open the artifact, and check the zip's directory, which has the CRC-32 of every entry.

    ``checksum`` is that of the directory after its first entry, which is ``__main__.py``'s own.

    Raises:
        ValueError: a bit of it is flipped.
    """
    stream = open(path, "rb", 0)
    stream.seek(-END_BYTES, os.SEEK_END)
    end = stream.read(END_BYTES)
    stream.seek(int.from_bytes(end[16:20], "little"))
    directory = stream.read(int.from_bytes(end[12:16], "little"))
    if zlib.crc32(directory[FIRST_ENTRY_BYTES:]) != checksum:
        raise ValueError("checksum")
    return stream


def install(path: str, checksum: int, folder: str | None) -> str | None:
    """Make what is in the archive importable. Return None, or what this host lacks to run it.

    ``folder`` holds what was compiled for this Python, None where nothing was. ``checksum`` is that
    of the zip's directory: see `open_checked`.
    """
    stream = open_checked(path, checksum)
    cut_loose()
    forget_foreign_modules()
    gc.set_threshold(OBJECTS_BETWEEN_COLLECTIONS)
    archive = Archive(stream)
    Importer.source, Importer.compiled = archive, folder
    sys.path_hooks.insert(0, Importer)
    sys.path_importer_cache.pop(archive.path, None)
    sys.path.append(archive.path)
    from store_workers_bootstrap import native

    return native.install(archive)
