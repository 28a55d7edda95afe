"""Lay out what the artifact carries: shiv installs the packages, this keeps what is needed."""

from __future__ import annotations

import hashlib
import tempfile
import zipfile
from dataclasses import dataclass, field
from fnmatch import fnmatchcase
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator

    from .environment import Environment

STEP = "layout"
ENTRY_POINT = "store_workers.__main__:main"
SITE_PACKAGES = "site-packages/"

# Never used from the artifact. botocore serves for credentials and signing alone: its clients
# stay (they ask for temporary credentials), the other services and the certificates go.
NOT_CARRIED = (
    "bin/*",
    "*.pyi",
    "*/py.typed",
    "*/RECORD",
    "*/INSTALLER",
    "*/REQUESTED",
    "*/direct_url.json",
    "*/WHEEL",
    "*/top_level.txt",
    "*/entry_points.txt",
    "botocore/cacert.pem",
    "botocore/crt/auth.py",
    "botocore/stub.py",
    "dateutil/zoneinfo/*",
    "tqdm/completion.sh",
    "tqdm/tqdm.1",
    "tqdm/contrib/*",
    "tqdm/dask.py",
    "tqdm/keras.py",
    "tqdm/rich.py",
    "tqdm/tk.py",
    "urllib3/contrib/emscripten/*",
    "zstandard/backend_*",
    "zstandard/_cffi*",
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
LICENCE_FILES = ("licen[cs]e*", "copying*", "notice*", "authors*")


@dataclass
class Tree:
    """What goes into the artifact, by name: everything in it is read from ``files``.

    Attributes:
        files: each file's content by its path, with "/" between folders.
        digest: the SHA-256 of what the files were made from, for caches.
    """

    files: dict[str, bytes] = field(default_factory=dict)
    digest: str = ""

    def sources(self) -> dict[str, bytes]:
        """Return the Python sources by path, sorted."""
        return {path: self.files[path] for path in sorted(self.files) if path.endswith(".py")}

    def data(self) -> dict[str, bytes]:
        """Return the files that code reads at run time, by path, sorted."""
        return {
            path: self.files[path]
            for path in sorted(self.files)
            if not path.endswith(".py") and ".dist-info/" not in path
        }

    def metadata(self) -> dict[str, bytes]:
        """Return each distribution's METADATA, by the path of its folder, sorted."""
        return {
            path.rpartition("/")[0]: self.files[path]
            for path in sorted(self.files)
            if path.endswith(".dist-info/METADATA")
        }

    def licences(self) -> dict[str, bytes]:
        """Return the distributions' licence texts by path, sorted."""
        return {
            path: self.files[path]
            for path in sorted(self.files)
            if ".dist-info/" in path
            and any(fnmatchcase(path.rpartition("/")[2].lower(), each) for each in LICENCE_FILES)
        }


def module_name(path: str) -> tuple[str, bool]:
    """Return the name of the module in the source at ``path``, and whether it is a package."""
    name = path.removesuffix(".py")
    package = name.endswith("/__init__")
    return name.removesuffix("/__init__").replace("/", "."), package


def third_party(
    environment: Environment, requirements: Path, wheels: list[Path], native: Path, cache: Path
) -> Tree:
    """Return the packages that ``requirements`` pins, laid out by shiv, and what ``native`` adds.

    ``wheels`` are the pinned files, all in one folder; ``native`` is one wheel of the package with
    the native library, whose Python part is the same in all of them.

    Raises:
        StepFailed: shiv, or the pip that it runs, failed.
    """
    digest = hashlib.sha256()
    for wheel in [*wheels, native]:
        digest.update(wheel.name.encode() + wheel.read_bytes())
    archive = cache / f"packages-{digest.hexdigest()[:16]}.zip"
    if not archive.exists():
        lay_out(environment, requirements, wheels[0].parent, archive)
    files = dict(unzipped(archive, SITE_PACKAGES))
    files.update(unzipped(native, ""))
    tell_version(files, "tqdm")
    digest.update(repr((NOT_CARRIED, BOTOCORE_DATA, BOTOCORE_DATA_NOT_CARRIED)).encode())
    kept = {path: content for path, content in files.items() if is_carried(path)}
    return Tree(kept, digest.hexdigest())


def tell_version(files: dict[str, bytes], package: str) -> None:
    """Write into a package's ``version`` module what it would ask the installed metadata for.

    The archive has no metadata to ask, and the question alone costs 50 ms.
    """
    (folder,) = {path.partition("/")[0] for path in files if path.startswith(f"{package}-")}
    version = folder.removeprefix(f"{package}-").removesuffix(".dist-info")
    files[f"{package}/version.py"] = f'__version__ = "{version}"\n'.encode()


def lay_out(environment: Environment, requirements: Path, wheels: Path, archive: Path) -> None:
    """Have shiv install the pinned wheels, from ``wheels`` alone, into the zip ``archive``."""
    with tempfile.TemporaryDirectory(dir=archive.parent, prefix="layout-") as folder:
        aside = Path(folder, archive.name)
        environment.run(
            *(STEP, "-m", "shiv", "--reproducible", "--uncompressed", "-e", ENTRY_POINT),
            *("-o", str(aside), "--no-deps", "--require-hashes", "--only-binary=:all:"),
            *("--no-compile", "--no-index", "--find-links", str(wheels), "-r", str(requirements)),
        )
        aside.replace(archive)


def unzipped(archive: Path, folder: str) -> Iterator[tuple[str, bytes]]:
    """Yield the path below ``folder`` and the content of each file in a zip."""
    with zipfile.ZipFile(archive) as opened:
        for name in opened.namelist():
            if name.startswith(folder) and not name.endswith("/"):
                yield name.removeprefix(folder), opened.read(name)


def is_carried(path: str) -> bool:
    """Return whether an installed file goes into the artifact."""
    if any(fnmatchcase(path, each) for each in NOT_CARRIED):
        return False
    data = path.removeprefix("botocore/data/")
    if data == path:
        return True
    if any(fnmatchcase(data, each) for each in BOTOCORE_DATA_NOT_CARRIED):
        return False
    return any(fnmatchcase(data, each) for each in BOTOCORE_DATA)


def own(folder: Path, packages: tuple[str, ...]) -> Tree:
    """Return the project's own ``packages`` below ``folder``."""
    files = {
        path.relative_to(folder).as_posix(): path.read_bytes()
        for package in packages
        for path in sorted((folder / package).rglob("*"))
        if path.is_file() and "__pycache__" not in path.parts
    }
    return Tree(files)
