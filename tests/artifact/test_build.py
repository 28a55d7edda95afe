"""The build: the same bytes wherever it runs, what is promised beside them, no network twice."""

from __future__ import annotations

import hashlib
import importlib.metadata
import json
import os
import re
import shutil
import subprocess
import sys
import zipfile
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

import store_workers
from tests.artifact.hosts import pythons, supported_pythons, version
from tests.support.worker import ARTIFACT, ROOT

if TYPE_CHECKING:
    from tests.artifact.hosts import RoundTrip

MIB = 2**20
LARGEST = 7 * MIB
LARGEST_UNIVERSAL = 25 * MIB
PINS = ("runtime", "zstandard", "pyfastcdc")
PRODUCTS = ("store-workers.pyz", "store-workers.pyz.sha256", "store-workers.cdx.json")


def build(
    project: Path, python: str, *options: str, umask: int = 0o022, path: str | None = None
) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [python, str(project / "tools/build.py"), *options],
        capture_output=True,
        text=True,
        env={**os.environ, "PATH": path or os.environ["PATH"]},
        umask=umask,
        check=False,
    )


def link(source: str, target: str) -> None:
    """Give a file another name, or copy it where that can't be done."""
    try:
        os.link(source, target)
    except OSError:
        shutil.copy(source, target)


def copied(folder: Path, *, cached: bool = True) -> Path:
    """Return a copy of the project; with what earlier builds downloaded, unless told otherwise."""
    for name in ("tools", "src", "docs"):
        shutil.copytree(ROOT / name, folder / name, ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copy(ROOT / "LICENSE", folder)
    if cached:
        wheels = Path("build", "artifact", "wheels")
        under_way = shutil.ignore_patterns("download-*")  # by another test
        shutil.copytree(ROOT / wheels, folder / wheels, ignore=under_way, copy_function=link)
    return folder


def oldest_and_newest() -> tuple[str, str]:
    """Return two Pythons to build with: the same one where there is no other."""
    names = sorted(supported_pythons(), key=lambda name: int(version(name).partition(".")[2]))
    return pythons()[names[0]], pythons()[names[-1]]


@dataclass(frozen=True)
class Project:
    """A copy of the project, and what builds it: under which umask, with which PATH."""

    folder: Path
    python: str
    umask: int
    path: str | None

    def build(self, *options: str) -> str:
        """Build, and return what was told."""
        done = build(self.folder, self.python, *options, umask=self.umask, path=self.path)
        assert (done.returncode, done.stderr) == (0, "")
        return done.stdout


@pytest.fixture(scope="module")
def one(tmp_path_factory: pytest.TempPathFactory) -> Project:
    """A copy of the project, built by the oldest Python."""
    folder = copied(tmp_path_factory.mktemp("project") / "one")
    return Project(folder, oldest_and_newest()[0], 0o077, "/usr/bin:/bin")


@pytest.fixture(scope="module")
def two(tmp_path_factory: pytest.TempPathFactory) -> Project:
    """Another copy, at a place that is hard to quote, built by the newest Python."""
    folder = copied(tmp_path_factory.mktemp("project") / "the other, with spaces")
    return Project(folder, oldest_and_newest()[1], 0o002, None)


@pytest.fixture(scope="module")
def made(one: Project, two: Project) -> list[Path]:
    """What both make of the sources alone; a first build downloads what is missing."""
    folders = [each.folder / "sources" for each in (one, two)]
    for each, folder in zip((one, two), folders, strict=True):
        assert "compiled  none" in each.build("--sources-only", "--dist", str(folder))
    return folders


@pytest.mark.timeout(300)
def test_sources_alone_are_the_same_whatever_compiles(
    made: list[Path], trip: RoundTrip, hashes: list[str]
) -> None:
    """And every Python runs them: the way of one that nobody compiled for."""
    for name in PRODUCTS:
        assert (made[0] / name).read_bytes() == (made[1] / name).read_bytes(), name
    for name in supported_pythons():
        assert trip.run([pythons()[name], str(made[0] / PRODUCTS[0])]) == hashes, name


@pytest.mark.timeout(300)
def test_the_same_bytes_from_anywhere_two_at_once_and_offline(
    one: Project, two: Project, made: list[Path], tmp_path: Path
) -> None:
    """From another folder, by another Python, under another umask; downloaded is nothing twice."""
    told = one.build()
    offline = {**os.environ, "PIP_NO_INDEX": "1", "PIP_FIND_LINKS": str(tmp_path)}
    dist = tmp_path / "dist"
    command = [two.python, str(two.folder / "tools/build.py"), "--dist", str(dist)]
    builds = [
        subprocess.Popen(
            command, env=offline, umask=two.umask, stdout=subprocess.PIPE, stderr=subprocess.PIPE
        )
        for _ in range(2)
    ]
    said = [each.communicate() for each in builds]
    assert [each.returncode for each in builds] == [0] * 2
    assert [stderr for _, stderr in said] == [b""] * 2
    compiled = [line for line in told.splitlines() if "compiled" in line]
    for stdout, _ in said:
        assert compiled == [line for line in stdout.decode().splitlines() if "compiled" in line]
    assert sorted(path.name for path in dist.iterdir()) == sorted(PRODUCTS)
    for name in PRODUCTS:
        assert (one.folder / "dist" / name).read_bytes() == (dist / name).read_bytes(), name
    check_product(one.folder / "dist", told, LARGEST)
    kept = two.folder / "build" / "artifact"
    assert [path.name for path in kept.iterdir()] == ["wheels"]
    assert [path for path in (kept / "wheels").iterdir() if path.name.startswith("download")] == []


def check_product(dist: Path, told: str, most: int) -> None:
    product = dist / "store-workers.pyz"
    content = product.read_bytes()
    digest = hashlib.sha256(content).hexdigest()
    assert digest in told
    assert str(len(content)) in told
    assert (dist / "store-workers.pyz.sha256").read_text() == f"{digest}  {product.name}\n"
    assert product.stat().st_mode & 0o777 == 0o755
    assert len(content) <= most
    check_sbom(json.loads((dist / "store-workers.cdx.json").read_text()), digest)
    with zipfile.ZipFile(product) as archive:
        assert archive.testzip() is None
        check_inside(archive)


def check_sbom(sbom: dict[str, Any], digest: str) -> None:
    assert sbom["bomFormat"] == "CycloneDX"
    assert sbom["metadata"]["component"]["hashes"] == [{"alg": "SHA-256", "content": digest}]
    names = {each["name"] for each in sbom["components"]}
    assert {"zstandard", "pyfastcdc", "urllib3", "botocore", "truststore", "tqdm"} <= names
    for each in sbom["components"]:
        assert each["version"]
        assert (
            each["purl"] == f"pkg:pypi/{each['name'].lower().replace('_', '-')}@{each['version']}"
        )
        assert each["licenses"][0]["expression"]
        assert each.get("hashes") or all(file["hashes"] for file in each["components"])


def check_inside(archive: zipfile.ZipFile) -> None:
    """Metadata, licences and SBOM lie where tools look for those of packages that are installed."""
    names = archive.namelist()
    (inside,) = (name for name in names if name.endswith(".dist-info/sboms/store-workers.cdx.json"))
    sbom = json.loads(archive.read(inside))
    for each in [sbom["metadata"]["component"], *sbom["components"]]:
        folder = f"{each['name'].replace('-', '_')}-{each['version']}.dist-info/"
        assert f"{folder}METADATA" in names
        assert any("licen" in name.lower() for name in names if name.startswith(folder)), folder
    assert all(entry.date_time == (1980, 1, 1, 0, 0, 0) for entry in archive.infolist())


def test_any_tool_finds_what_is_bundled() -> None:
    found = {
        each.name: each.version for each in importlib.metadata.distributions(path=[str(ARTIFACT)])
    }
    pinned = re.findall(
        r"(?m)^([\w.-]+)==(\S+)",
        "".join((ROOT / f"tools/requirements/{name}.txt").read_text() for name in PINS),
    )
    assert found.pop("store-workers") == store_workers.__version__
    assert found == dict(pinned)


def test_zipimport_alone_imports_what_is_bundled(python: str) -> None:
    """From its sources, but for the native libraries: Python loads none from a zip."""
    modules = "store_workers.wire.messages, urllib3, botocore.session, tqdm, truststore, zstandard"
    code = (
        f"import sys; sys.path.insert(0, sys.argv[1]); import {modules}; print(urllib3.PoolManager)"
    )
    done = subprocess.run(
        [python, "-I", "-c", code, str(ARTIFACT)], capture_output=True, text=True, check=True
    )
    assert done.stdout == "<class 'urllib3.poolmanager.PoolManager'>\n"


def test_each_python_has_its_code_and_each_host_its_libraries() -> None:
    with zipfile.ZipFile(ARTIFACT) as archive:
        names = archive.namelist()
    running = "cp{}{}".format(*sys.version_info)
    assert f"{running}/store_workers/__main__.pyc" in names
    assert "store_workers/__main__.py" in names
    (library,) = (name for name in names if name.startswith(f"native/{running}-") and "zst" in name)
    assert re.fullmatch(rf"native/{running}-[\w-]+/zstandard/backend_c[\w.-]+\.(so|pyd)", library)


def test_a_failure_names_its_step_and_reason(one: Project) -> None:
    pins = one.folder / "tools/requirements/runtime.txt"
    kept = pins.read_text()
    pins.write_text(kept.replace("urllib3==2.8.0", "urllib3==0.0.1"))
    answer = build(one.folder, one.python)
    pins.write_text(kept)
    assert answer.returncode == 1
    assert answer.stderr.startswith("build: wheels failed: ")
    assert "urllib3" in answer.stderr
    assert "Traceback" not in answer.stderr


@pytest.mark.by_command("hosts")
@pytest.mark.timeout(900)
def test_the_universal_artifact(tmp_path: Path) -> None:
    answer = build(ROOT, pythons()[supported_pythons()[0]], "--universal", "--dist", str(tmp_path))
    assert answer.returncode == 0, answer.stderr
    check_product(tmp_path, answer.stdout, LARGEST_UNIVERSAL)
