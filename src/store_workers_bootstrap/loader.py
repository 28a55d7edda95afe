"""Import Python code and the one native library straight from the archive.

The archive's table of contents names every module with its place in the file and its CRC-32,
which is checked before a byte of it is used: Python's own zip importer checks nothing. Nothing
is unpacked. A native library is loaded from memory where the system can (Linux: ``memfd``), and
from a private folder where it cannot.
"""

from __future__ import annotations

import gc
import marshal
import os
import sys
import zlib
from _thread import allocate_lock, start_new_thread
from importlib.machinery import EXTENSION_SUFFIXES, ExtensionFileLoader, ModuleSpec

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence
    from types import CodeType, ModuleType
    from typing import Any, BinaryIO, NoReturn, TypedDict

    # Offset in the file, bytes there, their CRC-32; of parts that may be deflated also the size
    # once inflated (0: stored).
    Place = tuple[int, int, int, int]

    class Tables(TypedDict):
        """What one version of Python can import."""

        loader: bytes
        compiled: dict[str, Place]
        sources: dict[str, Place]
        packages: tuple[str, ...]
        data: dict[str, Place]
        libraries: dict[str, dict[str, tuple[Place, Place | None]]]


DAMAGED = (
    b'{"type":"ERROR","code":"INTERNAL","message":"this copy of store-workers.pyz is damaged:'
    b' copy the file again","retryable":false}\n'
)
# The first Python whose own library can do what the bundled native library does.
OWN_CODEC = (3, 14)
OBJECTS_BETWEEN_COLLECTIONS = 50_000

# What ``deferred`` has something to say about: modules of the standard library, and packages.
DEFERRING = frozenset(
    {
        "email._parseaddr",
        "email._policybase",
        "email.feedparser",
        "email.message",
        "email.utils",
        "encodings.idna",
        "http.client",
        "json.decoder",
        "json.encoder",
        "json.scanner",
        "socket",
        "urllib.parse",
    }
)
SLOW_PACKAGES = ("urllib3", "zstandard")
# Once a message is accepted its run will need the native library. Inflating that takes a third of
# Python's own start: done beside the imports that are still to come.
SOON = {"store_workers.files.descriptors": "zstandard.backend_c"}


class Archive:
    """The artifact's file, held open: it may be moved or replaced while a worker runs."""

    def __init__(self, stream: BinaryIO, build: str) -> None:
        self.path = os.path.abspath(stream.name)
        self.build = build
        self._stream = stream
        self._lock = allocate_lock()
        try:
            # The worker keeps what is standard output now for its events alone.
            self._events: int | None = os.dup(1)
        except OSError:
            self._events = None

    def read(self, place: Place) -> bytes:
        """Return the bytes at ``place``, checked and inflated; a damaged copy ends the process."""
        offset, size, crc, inflated = place
        with self._lock:
            self._stream.seek(offset)
            content = self._stream.read(size)
        if zlib.crc32(content) != crc:
            self._end_damaged()
        return zlib.decompress(content, -15, inflated) if inflated else content

    def _end_damaged(self) -> NoReturn:
        """Say that this copy is damaged, as the last line of the run, and end the process."""
        if self._events is not None:
            os.write(self._events, DAMAGED)
        os._exit(1)


class Importer:
    """Finds and loads what the archive holds (a meta path finder and a loader in one).

    Safe for any number of threads: the import system locks each module, the archive its file.
    """

    def __init__(self, archive: Archive, tables: Tables, host: str) -> None:
        self._archive = archive
        self._compiled = tables["compiled"]
        self._packages = frozenset(tables["packages"])
        self._sources = tables["sources"]
        self._data = tables["data"]
        self._libraries = {
            name: Library(archive, name, *places[host])
            for name, places in tables["libraries"].items()
            if host in places
        }

    @property
    def deferred(self) -> ModuleType:
        """The module that knows what can wait; imported before anything else is."""
        return sys.modules["store_workers_bootstrap.deferred"]

    def find_spec(
        self, name: str, path: Sequence[str] | None = None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        """Return how to load ``name``, or None where the archive does not hold it.

        Nothing is imported or waited for here: Python calls this under the one lock that all
        imports of all threads need.
        """
        loader: Any
        if name in DEFERRING:
            return self.deferred.find_in_library(name, path)  # type: ignore[no-any-return]
        if name in self._sources:
            package = name in self._packages
            loader = self
            spec = ModuleSpec(name, loader, origin=self._filename(name), is_package=package)
            if package:
                spec.submodule_search_locations = [self._folder(name)]
            if name in SOON and SOON[name] in self._libraries:
                self._libraries[SOON[name]].start()
            return spec
        if name in self._libraries:
            loader = LibraryLoader(self._libraries[name])
            return ModuleSpec(name, loader)
        return None

    def create_module(self, spec: ModuleSpec) -> ModuleType | None:
        """Leave it to Python to make the module."""
        return None

    def exec_module(self, module: ModuleType) -> None:
        """Run the module's code."""
        name = module.__name__
        module.__file__ = self._filename(name)
        if name.startswith(SLOW_PACKAGES):
            if name in self.deferred.LAZY_PACKAGES:
                submodules = frozenset(self._sources)
                self.deferred.make_lazy(module, submodules, lambda: self.get_code(name))
                return
            if self.deferred.concerns(name):
                self.deferred.execute(module, self.get_code(name))
                return
        exec(self.get_code(name), module.__dict__)

    def get_code(self, name: str) -> CodeType:
        """Return the module's code: as it was compiled at build time, or else from its source."""
        place = self._compiled.get(name)
        if place:
            return marshal.loads(self._archive.read(place))  # type: ignore[no-any-return]
        content = self._archive.read(self._sources[name])
        level = (
            0 if name in ("store_workers.wire.messages", "store_workers.wire.events") else 2
        )  # as the build compiles
        return compile(content, self._inside(name), "exec", dont_inherit=True, optimize=level)

    def get_source(self, name: str) -> str | None:
        """Return the module's source: what makes tracebacks readable."""
        place = self._sources.get(name)
        return self._archive.read(place).decode() if place else None

    def is_package(self, name: str) -> bool:
        """Return whether the archive's module ``name`` is a package."""
        return name in self._packages

    def get_data(self, path: str) -> bytes:
        """Return a data file; ``path`` is the archive's own path, "/" and the file's inside it.

        Raises:
            OSError: the archive holds no such file.
        """
        place = self._data.get(self._data_name(path))
        if place is None:
            raise FileNotFoundError(f"not in the archive: {path}")
        return self._archive.read(place)

    def list_data(self, folder: str) -> list[str]:
        """Return the names in a folder of data files, given like a path to ``get_data``."""
        inside = self._data_name(folder).rstrip("/") + "/"
        names = {each[len(inside) :] for each in self._data if each.startswith(inside)}
        return sorted({name.partition("/")[0] for name in names})

    def _data_name(self, path: str) -> str:
        return path.removeprefix(self._archive.path).replace(os.sep, "/").lstrip("/")

    def _folder(self, name: str) -> str:
        return os.path.join(self._archive.path, *name.split("."))

    def _inside(self, name: str) -> str:
        return name.replace(".", "/") + ("/__init__.py" if name in self._packages else ".py")

    def _filename(self, name: str) -> str:
        return os.path.join(self._archive.path, *self._inside(name).split("/"))


class LibraryLoader:
    """Loads a native library, once it is made ready."""

    def __init__(self, library: Library) -> None:
        self._library = library
        self._loader: ExtensionFileLoader | None = None

    def create_module(self, spec: ModuleSpec) -> ModuleType | None:
        """Load the library."""
        spec.origin = self._library.path()
        self._loader = ExtensionFileLoader(spec.name, spec.origin)
        return self._loader.create_module(spec)

    def exec_module(self, module: ModuleType) -> None:
        """Run its initialization."""
        if self._loader is not None:
            self._loader.exec_module(module)


class Library:
    """A native library in the archive, and the path that it can be loaded from."""

    def __init__(self, archive: Archive, name: str, place: Place, patch: Place | None) -> None:
        """``place`` is where the library is; ``patch`` what to write over it, if any."""
        self._archive = archive
        self._name = name
        self._place = place
        self._patch = patch
        self._path: str | None = None
        self._lock = allocate_lock()

    def start(self) -> None:
        """Begin to make ready, on a thread."""
        start_new_thread(self._make_ready, ())

    def _make_ready(self) -> None:
        try:
            self.path()
        except Exception:  # noqa: S110 - whoever needs the library meets it again
            pass

    def path(self) -> str:
        """Make it ready, once, and return its path."""
        with self._lock:
            if self._path is None:
                content = self._content()
                self._path = in_memory(content) or self._in_private_folder(content)
            return self._path

    def _content(self) -> bytes | bytearray:
        content = self._archive.read(self._place)
        if self._patch is None:
            return content
        patched = bytearray(content)
        for start, piece in marshal.loads(self._archive.read(self._patch)):
            patched[start : start + len(piece)] = piece
        return patched

    def _in_private_folder(self, content: bytes | bytearray) -> str:
        from store_workers_bootstrap.private_cache import keep

        name = self._name.rpartition(".")[2] + EXTENSION_SUFFIXES[-1]
        return keep(name, self._archive.build, content)


def in_memory(content: bytes | bytearray) -> str | None:
    """Put a library into anonymous memory; return its path, or None where that can't be had."""
    if not hasattr(os, "memfd_create"):
        return None
    try:
        # Never closed: the dynamic linker knows libraries by name, and a descriptor's number
        # used again would be the name of this one.
        memory = os.memfd_create("store-workers")
    except OSError:
        return None
    path = f"/proc/self/fd/{memory}"
    if not os.path.exists(path):
        os.close(memory)
        return None
    left = memoryview(content)
    while left:
        left = left[os.write(memory, left) :]
    return path


def host_key() -> str:
    """Name this interpreter's kind of native libraries as the build does."""
    version = "{}{}".format(*sys.version_info)
    threads = "t" if f"{version}t-" in EXTENSION_SUFFIXES[0] else ""
    if sys.platform == "win32":
        machine = "x86_64" if "amd64" in EXTENSION_SUFFIXES[0] else "other"
        return f"cp{version}{threads}-windows-{machine}"
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


def missing_library(tables: Tables, host: str) -> str | None:
    """Return what this host lacks, or None where everything can be loaded."""
    if sys.version_info >= OWN_CODEC:
        return None
    for places in tables["libraries"].values():
        if host not in places:
            return f"no native library for {host}; there are: {', '.join(sorted(places))}"
    return None


def forget_foreign_modules() -> None:
    """Drop modules that start-up hooks loaded from elsewhere, so that ours are found instead."""
    stdlib = os.path.dirname(os.__file__)
    for name, module in list(sys.modules.items()):
        file = getattr(module, "__file__", None)
        if file and name != "__main__" and ("-packages" in file or not file.startswith(stdlib)):
            if os.path.basename(os.path.dirname(file)) not in ("lib-dynload", "DLLs"):
                del sys.modules[name]


def install(stream: BinaryIO, tables: Tables, build: str) -> str | None:
    """Make the archive importable. Return None, or what this host lacks to run it."""
    host = host_key()
    missing = missing_library(tables, host)
    if missing:
        return missing
    forget_foreign_modules()
    # Imports leave no garbage; at Python's own threshold they are searched for it dozens of times.
    gc.set_threshold(OBJECTS_BETWEEN_COLLECTIONS)
    sys.meta_path.insert(0, Importer(Archive(stream, build), tables, host))
    __import__("store_workers_bootstrap.deferred")
    return None
