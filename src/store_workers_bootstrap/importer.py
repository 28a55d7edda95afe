"""Imports from the archive, and checks that what is imported is what was built.

``zipimport`` does not compare an entry with its CRC-32, and opens the file by its path again for
each one. This reads from the file that was started, even if its path names another file by then,
and checks each entry. A damaged one ends the process with an error. All else is Python's own.
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
from importlib.machinery import SourceFileLoader
from importlib.util import MAGIC_NUMBER, spec_from_file_location

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence
    from importlib.machinery import ModuleSpec
    from types import CodeType, ModuleType
    from typing import Any, NoReturn

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

    ``checksum`` is the CRC-32 of the zip's directory, which has the CRC-32 of every entry, after
    its first one, that of ``__main__.py``, where it is written.

    Attributes:
        path: where the file was when it was started.
        entries: the zip's directory, as ``zipimport`` has read it.

    Raises:
        ValueError: a bit of the directory is flipped.
    """

    def __init__(self, path: str, checksum: int) -> None:
        self.path = path
        read: dict[str, Any] = zipimport._zip_directory_cache  # type: ignore[attr-defined]  # noqa: SLF001
        self.entries = read[path]
        self._stream = open(path, "rb", 0)
        self._lock = allocate_lock()
        if zlib.crc32(self._directory()[FIRST_ENTRY_BYTES:]) != checksum:
            raise ValueError("checksum")
        try:
            # The worker reserves the current standard output for its events.
            self._events: int | None = os.dup(1)
        except OSError:
            self._events = None

    def _directory(self) -> bytes:
        self._stream.seek(-END_BYTES, os.SEEK_END)
        end = self._stream.read(END_BYTES)
        self._stream.seek(int.from_bytes(end[16:20], "little"))
        return self._stream.read(int.from_bytes(end[12:16], "little"))

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
            is_whole = zlib.crc32(content) == crc
        except zlib.error:
            is_whole = False
        if not is_whole:
            end_with(self._events, DAMAGED, 1)
        return content


class Finder:
    """Finds the modules of the archive; stands in ``sys.meta_path``, before Python's own finder.

    ``compiled`` is the folder with what was compiled for this Python, "" where nothing was.
    """

    def __init__(self, archive: Archive, compiled: str) -> None:
        self._archive = archive
        self._compiled = compiled

    def find_spec(
        self, name: str, path: Sequence[str] | None = None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        """Return where the module ``name`` is loaded from, or None if it is none of the archive."""
        base = name.replace(".", os.sep)
        for entry, is_package in (f"{base}.py", False), (f"{base}{os.sep}__init__.py", True):
            if entry in self._archive.entries:
                place = os.path.join(self._archive.path, entry)
                folders = [os.path.dirname(place)] if is_package else None
                loader = Loader(name, place, self._archive, self._compiled)
                return spec_from_file_location(
                    name, place, loader=loader, submodule_search_locations=folders
                )
        return None


class Loader(SourceFileLoader):
    """Loads a module of the archive, whose path is in ``archive``, as ``zipimport`` has it."""

    def __init__(self, name: str, path: str, source: Archive, compiled: str) -> None:
        super().__init__(name, path)
        self.archive = source.path
        self._source = source
        self._compiled = compiled

    def get_data(self, path: str) -> bytes:
        """Return a file; ``path`` begins with the archive's own."""
        return self._source.read(os.path.normpath(path.removeprefix(self.archive + os.sep)))

    def get_code(self, fullname: str) -> CodeType:
        """Return a module's code, as it was compiled at build time, or else from its source."""
        name = self.path.removeprefix(self.archive + os.sep)
        if self._compiled and (compiled := f"{self._compiled}{name}c") in self._source.entries:
            content = self._source.read(compiled)
            if content.startswith(MAGIC_NUMBER):
                return marshal.loads(content[PYC_HEADER_BYTES:])  # type: ignore[no-any-return]
        # The JSON Schema quotes docstrings, so they are kept even with -OO.
        return compile(self._source.read(name), name, "exec", dont_inherit=True, optimize=0)


def end_with(descriptor: int | None, line: bytes, status: int) -> NoReturn:
    """End the process at once, after a last line for whoever still reads."""
    try:
        if descriptor is not None:
            os.write(descriptor, line)
    finally:
        os._exit(status)


def stopped(number: int, _frame: object) -> None:
    """End at once, an owner with a message: nothing is open yet. The worker replaces this."""
    end_with(1 if len(sys.argv) == 1 else None, STOPPED, 128 + number)


def occupy_closed_streams() -> None:
    """Give the numbers of closed standard streams to something that can't be written to.

    Otherwise the next files get them: what is for people would go to the owner, who reads events.
    """
    if None not in (sys.stdin, sys.stdout, sys.stderr):
        return
    try:
        while (number := os.open(os.devnull, os.O_RDONLY)) <= 2:
            pass
    except OSError:
        return
    os.close(number)


def cut_loose() -> None:
    """Reset Python's options for warnings and compiled code, and report signals."""
    for name in ("SIGINT", "SIGTERM", "SIGHUP", "SIGBREAK"):  # as in `run/supervisor.py`
        number = getattr(signal, name, None)
        # Ignored signals stay ignored: `nohup` and shells rely on this.
        if number and signal.getsignal(number) is not signal.SIG_IGN:
            signal.signal(number, stopped)
    sys.dont_write_bytecode = True
    sys.pycache_prefix = None
    if sys.warnoptions:
        import warnings

        sys.warnoptions.clear()
        warnings.resetwarnings()
        warnings.simplefilter("ignore")


def install(path: str, checksum: int, folder: str) -> str | None:
    """Make what is in the archive importable. Return None, or what this host lacks to run it.

    ``path`` and ``checksum`` are for `Archive`. ``folder`` is "cp311/" where the archive has what
    was compiled for this Python, else "".
    """
    occupy_closed_streams()
    archive = Archive(path, checksum)
    cut_loose()
    gc.set_threshold(OBJECTS_BETWEEN_COLLECTIONS)
    sys.meta_path.insert(0, Finder(archive, folder.replace("/", os.sep)))
    sys.path.append(archive.path)  # for `importlib.metadata`
    from store_workers_bootstrap import native

    return native.install(archive)
