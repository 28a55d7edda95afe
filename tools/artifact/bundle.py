"""What the artifact bundles: tables to add a line to.

A pure library is a line of ``requirements/runtime.txt``. One with native code is a file of pins of
its own and a line of ``NATIVE``. Patterns are those of file names; ``*`` goes across folders.
"""

from __future__ import annotations

from fnmatch import fnmatchcase
from typing import NamedTuple


class Native(NamedTuple):
    """A library with native code, pinned in ``requirements/<name>.txt`` for every host.

    Attributes:
        name: the distribution's name.
        members: which of a wheel's files are native libraries to carry. Others are left out.
        absent: the hosts that have no wheel, as patterns of their names.
    """

    name: str
    members: tuple[str, ...]
    absent: tuple[str, ...] = ()

    def has(self, host: str) -> bool:
        """Return whether there is a wheel for a host, such as "cp311-linux-glibc-x86_64"."""
        return not matches(host, self.absent)


NATIVE = (
    # CPython 3.15 serves itself: ``compression.zstd``.
    Native("zstandard", ("zstandard/backend_c.*",), absent=("cp310-windows-arm64", "cp315-*")),
    # For ``boundaries: "content"`` alone; its pure Python form is not carried.
    Native("pyfastcdc", ("*/cy/*.so", "*/cy/*.pyd"), absent=("cp31[45]-macos-x86_64",)),
)

# Its own ``__init__`` imports platform and typing, for functions that the worker does not use: 6 ms
# at each start. As bundled it runs when something asks for a name of the package's own.
LAZY = "zstandard"
LAZY_INIT = '''\
"""As bundled: what was this package's ``__init__`` runs when something asks for a name of it."""


def __getattr__(name):
    from importlib import import_module

    return getattr(import_module("._init", __name__), name)
'''

# What is carried compiled, too. Python reads the whole directory of the zip at each start: 5 to 9
# microseconds an entry, and a line takes 10 to compile. So of the project's own modules those that
# few runs import, and those of a few lines, are not compiled; of others only those that are long.
COMPILED = ("store_workers/*", "store_workers_bootstrap/[binp]*")
COMPILED_FROM_BYTES = 200
NOT_COMPILED = tuple(
    """
    store_workers/people/* store_workers/wire/schema.py store_workers/stream/codec_stdlib.py
    store_workers/files/command.py store_workers/stores/s3/key_process.py
    """.split()  # noqa: SIM905 - a table is read more easily so
)
OTHERS_COMPILED_FROM_BYTES = 40_000
# Not deflated: what every start reads, and what a Python reads that can't inflate.
STORED = (
    "store_workers_bootstrap/boot.py",
    "store_workers_bootstrap/refuse.py",
    "__main__.py",
    "cp*/store_workers_bootstrap/*",
    "cp*/store_workers/[_e]*",
    "cp*/store_workers/run/*",
    "cp*/store_workers/wire/*",
)

# Never used from the artifact, or nothing that could be imported. botocore serves for credentials
# and signing alone; urllib3 serves botocore.
NOT_CARRIED = tuple(
    """
    *.data/* *.so *.py[dix] *.pxd */py.typed
    *.dist-info/RECORD *.dist-info/WHEEL *.dist-info/zip-safe *.dist-info/top_level.txt
    *.dist-info/entry_points.txt
    botocore/cacert.pem botocore/crt/auth.py botocore/stub.py
    botocore/data/*/examples-1.json botocore/data/*/paginators-1.json
    dateutil/zoneinfo/* dateutil/easter.py dateutil/rrule.py dateutil/tzwin.py dateutil/utils.py
    pyfastcdc/py/* zstandard/backend_cffi.py
    tqdm/completion.sh tqdm/tqdm.1 tqdm/contrib/* tqdm/*notebook.py tqdm/asyncio.py tqdm/auto.py
    tqdm/dask.py tqdm/keras.py tqdm/rich.py tqdm/tk.py tqdm/*main*.py tqdm/_tqdm.py
    tqdm/_tqdm_gui.py
    urllib3/contrib/*/* urllib3/contrib/[ps]*.py urllib3/http2/connection.py
    """.split()  # noqa: SIM905 - a table is read more easily so
)
# Of botocore's services, those that hand out credentials.
BOTOCORE_SERVICES = ("sts", "sso", "sso-oidc", "signin")


def matches(path: str, patterns: tuple[str, ...]) -> bool:
    """Return whether one of the patterns fits."""
    return any(fnmatchcase(path, each) for each in patterns)


def is_carried(path: str) -> bool:
    """Return whether a file of a wheel goes into the artifact as it is."""
    if fnmatchcase(path, "botocore/data/*/*") and path.split("/")[2] not in BOTOCORE_SERVICES:
        return False
    return not matches(path, NOT_CARRIED)


def is_compiled(path: str, source: bytes) -> bool:
    """Return whether a source is carried compiled, too."""
    if not path.endswith(".py") or matches(path, NOT_COMPILED):
        return False
    is_own = matches(path, COMPILED)
    return len(source) >= (COMPILED_FROM_BYTES if is_own else OTHERS_COMPILED_FROM_BYTES)
