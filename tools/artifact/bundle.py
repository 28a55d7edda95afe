"""What the artifact bundles: tables to add a line to.

A pure library is a line of ``requirements/runtime.txt``. One with native code is a file of pins of
its own and a line of ``NATIVE``.
"""

from __future__ import annotations

from dataclasses import dataclass
from fnmatch import fnmatchcase


@dataclass(frozen=True)
class Native:
    """A library with native code, pinned in ``requirements/<name>.txt`` for every target.

    Attributes:
        name: the distribution's name.
        members: which of a wheel's files are native libraries to carry. Others are left out.
        absent: the targets that have no wheel, as patterns of their keys.
        cut: the debug sections of ELF libraries go. Not where a library reads its own sections.
    """

    name: str
    members: tuple[str, ...]
    absent: tuple[str, ...] = ()
    cut: bool = True

    def has(self, target: str) -> bool:
        """Return whether there is a wheel for a target, given by its key."""
        return not matches(target, self.absent)


NATIVE = (
    # CPython 3.15 serves itself: ``compression.zstd``.
    Native("zstandard", ("zstandard/backend_c.*",), absent=("cp310-windows-arm64", "cp315-*")),
    # For ``boundaries: "content"`` alone; its pure Python form is not carried.
    Native("pyfastcdc", ("*/cy/*.so", "*/cy/*.pyd"), absent=("cp31[45]-macos-x86_64",)),
)

# Packages whose ``__init__`` runs when a name of its own is asked for, not with any submodule.
# zstandard's imports platform and typing, for functions that the worker does not use: 6 ms.
LAZY = ("zstandard",)
LAZY_INIT = '''\
"""As bundled: what was this package's ``__init__`` runs when something asks for a name of it."""


def __getattr__(name):
    if name.startswith("__") and name != "__version__":
        raise AttributeError(name)
    from importlib import import_module
    from importlib.util import find_spec

    if find_spec(f".{name}", __name__):
        return import_module(f".{name}", __name__)
    return getattr(import_module("._init", __name__), name)
'''

# What is carried compiled, too. Python reads the whole directory of the zip at each start: 5 to 9
# microseconds an entry. So of what few runs import, only what takes long to compile is.
COMPILED = ("store_workers/*", "store_workers_bootstrap/*", "zstandard/*")
NOT_COMPILED = (
    "store_workers_bootstrap/__main__.py",
    "store_workers_bootstrap/boot.py",
    "store_workers_bootstrap/refuse.py",
    "store_workers/people/*",
    "zstandard/_init.py",
)
COMPILED_FROM_BYTES = 40_000
# Not deflated: what every start reads, and what a Python reads that can't inflate.
STORED = (
    "store_workers_bootstrap/boot.py",
    "store_workers_bootstrap/refuse.py",
    "cp*/store_workers_bootstrap/*",
    "cp*/store_workers/[_e]*",
    "cp*/store_workers/run/*",
    "cp*/store_workers/wire/*",
)

# Never used from the artifact. botocore serves for credentials and signing alone: its clients
# stay (they ask for temporary credentials), the other services and the certificates go.
NOT_CARRIED = (
    "*.data/*",
    "*.pxd",
    "*.pyi",
    "*.pyx",
    "*.so",
    "*.pyd",
    "*/py.typed",
    "*.dist-info/RECORD",
    "*.dist-info/WHEEL",
    "*.dist-info/zip-safe",
    "*.dist-info/top_level.txt",
    "*.dist-info/entry_points.txt",
    "botocore/cacert.pem",
    "botocore/crt/auth.py",
    "botocore/stub.py",
    "dateutil/zoneinfo/*",
    "dateutil/easter.py",
    "dateutil/rrule.py",
    "dateutil/utils.py",
    "pyfastcdc/py/*",
    "tqdm/completion.sh",
    "tqdm/tqdm.1",
    "tqdm/contrib/*",
    "tqdm/*notebook.py",
    "tqdm/asyncio.py",
    "tqdm/auto.py",
    "tqdm/dask.py",
    "tqdm/keras.py",
    "tqdm/rich.py",
    "tqdm/tk.py",
    "urllib3/contrib/*/*",
    "urllib3/contrib/[ps]*.py",
    "urllib3/http2/connection.py",
    "zstandard/backend_cffi.py",
)
# The services that hand out credentials, and the tables that finding them needs.
BOTOCORE_DATA = (
    "_retry.json",
    "endpoints.json",
    "partitions.json",
    "sdk-default-configuration.json",
    "sts/*",
    "sso/*",
    "sso-oidc/*",
    "signin/*",
)
BOTOCORE_DATA_NOT_CARRIED = ("*/examples-1.json",)


def matches(path: str, patterns: tuple[str, ...]) -> bool:
    """Return whether one of the patterns fits."""
    return any(fnmatchcase(path, each) for each in patterns)


def is_carried(path: str) -> bool:
    """Return whether a file of a wheel goes into the artifact as it is."""
    data = path.removeprefix("botocore/data/")
    if data != path and (
        matches(data, BOTOCORE_DATA_NOT_CARRIED) or not matches(data, BOTOCORE_DATA)
    ):
        return False
    return not matches(path, NOT_CARRIED)


def is_compiled(path: str, source: bytes) -> bool:
    """Return whether a source is carried compiled, too."""
    if not path.endswith(".py") or matches(path, NOT_COMPILED):
        return False
    return matches(path, COMPILED) or len(source) >= COMPILED_FROM_BYTES
