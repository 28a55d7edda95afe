"""Put off what modules ask for at import and hardly ever use, until it is used.

Importing urllib3 the plain way takes four times as long as starting Python: most of it goes into
modules that an upload never needs (``importlib.metadata`` to look for HTTP/2, ``logging`` without
a handler, the decoding of encoded mail headers, calendars), and into regular expressions for
addresses that never come. Nothing is left out here, only done later:

* ``IMPORTS``: what a module's import statements ask for becomes a stand-in that loads the real
  thing when it is first used. The statements' own hook (``__import__`` in the module's builtins)
  is replaced for that one module; its source is untouched, and so are all other modules.
* ``LAZY_PACKAGES``: a package's ``__init__`` runs when something asks for a name of its own, not
  when a submodule is imported.

Standard library modules are named here too. Where a version of Python imports something else
than another does, a line here simply does not apply.
"""

from __future__ import annotations

import builtins
import sys
from _thread import RLock
from importlib.machinery import ModuleSpec, PathFinder
from importlib.util import module_from_spec

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from types import CodeType, ModuleType
    from typing import Any

# In each module: the modules, and (after a colon) the names of modules, that can wait.
IMPORTS: dict[str, frozenset[str]] = {
    "email._parseaddr": frozenset({"calendar"}),
    "email._policybase": frozenset({"email.charset", "email.header"}),
    "email.message": frozenset(
        {"email.charset", "email.charset:Charset", "email._encoded_words:decode_b", "quopri", "uu"}
    ),
    "email.utils": frozenset({"datetime", "email.charset:Charset", "random", "urllib.parse"}),
    "http.client": frozenset({"ssl"}),
    "socket": frozenset({"array", "selectors"}),
    "urllib.parse": frozenset({"ipaddress"}),
    "urllib3.fields": frozenset({"mimetypes"}),
    "urllib3.util.request": frozenset({"base64:b64encode"}),
    "urllib3.util.retry": frozenset({"random"}),
    "urllib3.util.ssl_": frozenset({"hmac"}),
    "urllib3.util.ssl_match_hostname": frozenset(
        {"ipaddress", "ipaddress:IPv4Address", "ipaddress:IPv6Address"}
    ),
}
# Modules whose regular expressions are compiled when they are first used.
LATER_PATTERNS = frozenset(
    {
        "email.feedparser",
        "email.message",
        "email.utils",
        "http.client",
        "json.decoder",
        "json.encoder",
        "json.scanner",
        "urllib3.connection",
        "urllib3.util.url",
    }
)
# Packages whose __init__ waits; with the submodule, if any, whose names are the package's too.
LAZY_PACKAGES: dict[str, str | None] = {
    "urllib3": None,
    "urllib3.http2": None,
    "zstandard": "zstandard.backend_c",
}
# How a pattern begins that only a string with a bracket in front can match.
BRACKET = r"^\["
_lock = RLock()


def concerns(name: str) -> bool:
    """Return whether a module is imported in another way than usual."""
    return name in IMPORTS or name in LATER_PATTERNS or name.startswith("urllib3.")


def execute(module: ModuleType, code: CodeType) -> None:
    """Run a module's code with what can wait put off."""
    name = module.__name__
    hook = ImportHook(name)
    module.__dict__["__builtins__"] = {**vars(builtins), "__import__": hook}
    try:
        exec(code, module.__dict__)
    finally:
        hook.importing = False


def find_in_library(name: str, path: Sequence[str] | None) -> ModuleSpec | None:
    """Return the spec of a standard library module, which will be loaded by ``execute``."""
    if name == HostNames.MODULE:
        return ModuleSpec(name, HostNames(), origin="for plain names")  # type: ignore[arg-type]
    spec = PathFinder.find_spec(name, path)
    if spec is not None and hasattr(spec.loader, "get_code"):
        spec.loader = LibraryLoader(spec.loader)  # type: ignore[assignment]
    return spec


class LibraryLoader:
    """Loads a standard library module as its own loader would, but by ``execute``."""

    def __init__(self, loader: Any) -> None:
        self._loader = loader

    def create_module(self, spec: ModuleSpec) -> ModuleType | None:
        """Leave it to Python to make the module."""
        return None

    def exec_module(self, module: ModuleType) -> None:
        """Run the module's code."""
        execute(module, self._loader.get_code(module.__name__))

    def __getattr__(self, name: str) -> Any:
        return getattr(self._loader, name)


class HostNames:
    """Loads ``encodings.idna`` as far as plain host names need it.

    The codec of that name is asked to encode every host. A host of ASCII letters is encoded here,
    exactly as there; for all others, and for decoding, the real module is loaded.
    """

    MODULE = "encodings.idna"
    LONGEST_LABEL = 63

    def create_module(self, spec: ModuleSpec) -> ModuleType | None:
        """Leave it to Python to make the module."""
        return None

    def exec_module(self, module: ModuleType) -> None:
        """Give the module the one function that looking up a codec calls."""
        import codecs

        def decode(content: bytes, errors: str = "strict") -> tuple[str, int]:
            return self._codec().decode(content, errors)  # type: ignore[no-any-return]

        def later(name: str) -> Any:
            return getattr(self._real(), name)

        entry: Any = codecs.CodecInfo(
            self.encode,
            decode,  # type: ignore[arg-type]
            later("StreamReader"),
            later("StreamWriter"),
            later("IncrementalEncoder"),
            later("IncrementalDecoder"),
            name="idna",
        )
        module.__dict__["getregentry"] = lambda: entry
        module.__dict__["__getattr__"] = lambda name: getattr(self._real(), name)

    def encode(self, host: str, errors: str = "strict") -> tuple[bytes, int]:
        """Return ``host`` as it goes to the resolver."""
        labels = host.removesuffix(".").split(".")
        plain = host.isascii() and all(0 < len(each) <= self.LONGEST_LABEL for each in labels)
        if plain and errors == "strict":
            return host.encode("ascii"), len(host)
        return self._codec().encode(host, errors)  # type: ignore[no-any-return]

    def _codec(self) -> Any:
        return self._real().Codec()

    def _real(self) -> Any:
        with _lock:
            current = sys.modules.get(self.MODULE)
            if current is None or "Codec" not in vars(current):
                path = sys.modules["encodings"].__path__
                spec = PathFinder.find_spec(self.MODULE, path)
                if spec is None or spec.loader is None:
                    raise ImportError(f"no module named {self.MODULE!r}", name=self.MODULE)
                current = module_from_spec(spec)
                spec.loader.exec_module(current)
                sys.modules[self.MODULE] = current
            return current


class ImportHook:
    """What ``import`` statements of one module call."""

    def __init__(self, module: str) -> None:
        self._later = IMPORTS.get(module, frozenset())
        self._substitutes: dict[str, Any] = {}
        if module in LATER_PATTERNS:
            self._substitutes["re"] = LaterPatterns()
        if module.startswith("urllib3."):
            self._substitutes["logging"] = QuietLogging
        self.importing = True

    def __call__(
        self,
        name: str,
        global_names: Mapping[str, object] | None = None,
        local_names: Mapping[str, object] | None = None,
        fromlist: Sequence[str] | None = (),
        level: int = 0,
    ) -> Any:
        """Return a stand-in for what can wait, and the real thing for everything else."""
        if level == 0 and self.importing:
            if not fromlist:
                if name in self._substitutes:
                    return self._substitutes[name]
                if name in self._later:
                    return self._module_for_later(name)
            elif all(self._can_wait(name, each) for each in fromlist):
                return Namespace({each: self._part_for_later(name, each) for each in fromlist})
        return __import__(name, global_names, local_names, fromlist or (), level)

    def _can_wait(self, module: str, name: str) -> bool:
        return f"{module}.{name}" in self._later or f"{module}:{name}" in self._later

    def _module_for_later(self, name: str) -> Any:
        if name in sys.modules:
            return __import__(name)
        return Later(lambda: __import__(name))

    def _part_for_later(self, module: str, name: str) -> Any:
        full = f"{module}.{name}"
        if full not in self._later:
            return LaterName(lambda: getattr(__import__(module, fromlist=[name]), name))
        names = [each.partition(":")[2] for each in self._later if each.startswith(f"{full}:")]
        return Later(
            lambda: __import__(full, fromlist=["*"]),
            lambda wanted: self.importing and wanted in names,
        )


class Namespace:
    """What ``from module import name`` looks names up in."""

    def __init__(self, names: Mapping[str, Any]) -> None:
        self.__dict__.update(names)


class Later:
    """A module that is imported when one of its names is first asked for.

    ``waits`` says for which names even that is too early.
    """

    __slots__ = ("_load", "_waits")

    def __init__(
        self, load: Callable[[], Any], waits: Callable[[str], bool] = lambda _: False
    ) -> None:
        self._load = load
        self._waits = waits

    def __getattr__(self, name: str) -> Any:
        if self._waits(name):
            return LaterName(lambda: getattr(self._load(), name))
        return getattr(self._load(), name)


class LaterName:
    """A function or class of a module that is imported when it is first used."""

    __slots__ = ("_find", "_found")

    def __init__(self, find: Callable[[], Any]) -> None:
        self._find: Callable[[], Any] | None = find
        self._found: Any = None

    def _real(self) -> Any:
        if self._find is not None:
            self._found = self._find()
            self._find = None
        return self._found

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        return self._real()(*args, **kwargs)

    def __instancecheck__(self, instance: object) -> bool:
        return isinstance(instance, self._real())

    def __getattr__(self, name: str) -> Any:
        return getattr(self._real(), name)


class LaterPatterns:
    """The module ``re``, except that compiling is put off, and so is loading ``re``."""

    # As ``re`` has them; they are combined at import.
    ASCII, DOTALL, IGNORECASE, MULTILINE, UNICODE, VERBOSE = 256, 16, 2, 8, 32, 64

    def compile(self, pattern: str | bytes, flags: int = 0) -> LaterPattern | Whitespace:
        """Return what compiles the pattern when it is first used."""
        return Whitespace() if pattern == Whitespace.PATTERN else LaterPattern(pattern, flags)

    def __getattr__(self, name: str) -> Any:
        import re

        return getattr(re, name)


class LaterPattern:
    """A regular expression that is compiled when it, or a method taken from it, is first used."""

    def __init__(self, pattern: str | bytes, flags: int) -> None:
        self._args = (pattern, flags)

    def match(self, string: str | bytes, *bounds: int) -> Any:
        """Match at the beginning.

        An address in brackets is told from all others by its first character: its pattern, the
        largest of all, is not compiled to find out that a plain host name is none.
        """
        if not bounds and self._args[0][:3] == BRACKET and string[:1] != "[":
            return None
        return self._compiled().match(string, *bounds)

    def __getattr__(self, name: str) -> Any:
        found: Any = LaterName(lambda: getattr(self._compiled(), name))
        setattr(self, name, found)
        return found

    def _compiled(self) -> Any:
        import re

        return re.compile(*self._args)


class Whitespace:
    """The one pattern that reading a message needs: JSON's white space, without ``re``."""

    PATTERN = r"[ \t\n\r]*"

    @staticmethod
    def match(string: str, start: int = 0) -> End:
        """Return where the white space that begins at ``start`` ends."""
        return End(len(string) - len(string[start:].lstrip(" \t\n\r")))


class End:
    """What is asked of that pattern's match."""

    __slots__ = ("_end",)

    def __init__(self, end: int) -> None:
        self._end = end

    def end(self) -> int:
        return self._end


class QuietLogging:
    """The module ``logging`` for a library that nobody has asked to log: not loaded.

    As soon as somebody has imported ``logging``, records go there as ever.
    """

    def __init__(self) -> None:
        raise TypeError("stands in for a module")

    @staticmethod
    def getLogger(name: str) -> QuietLogger:  # noqa: N802
        """Return what logs if there is anything to log to."""
        return QuietLogger(name)


class QuietLogger:
    """A logger that is looked up when ``logging`` has been imported."""

    __slots__ = ("_name",)

    def __init__(self, name: str) -> None:
        self._name = name

    def __getattr__(self, name: str) -> Any:
        logging = sys.modules.get("logging")
        if logging is None and name in ("debug", "info", "warning", "error", "exception", "log"):
            return ignore
        import logging as loaded

        parent = loaded.getLogger(self._name.partition(".")[0])
        if not parent.handlers:
            parent.addHandler(loaded.NullHandler())  # as the package's own __init__ does
        return getattr(loaded.getLogger(self._name), name)


def ignore(*_: Any, **__: Any) -> None:
    """Log nothing."""


def make_lazy(module: ModuleType, submodules: frozenset[str], code: Callable[[], CodeType]) -> None:
    """Let a package's ``__init__`` wait until one of its own names is asked for.

    Args:
        module: the package, empty.
        submodules: the names of its submodules, which are imported when they are asked for.
        code: returns the code of its ``__init__``.
    """
    also = LAZY_PACKAGES[module.__name__]

    def find(name: str) -> Any:
        full = f"{module.__name__}.{name}"
        if full in submodules:
            return __import__(full, fromlist=["*"])
        if also and not name.startswith("_"):
            found = getattr(__import__(also, fromlist=["*"]), name, find)
            if found is not find:
                return found
        with _lock:
            if module.__dict__.pop("__getattr__", None):
                execute(module, code())
        try:
            return module.__dict__[name]
        except KeyError:
            raise AttributeError(f"module {module.__name__!r} has no attribute {name!r}") from None

    module.__dict__["__getattr__"] = find
