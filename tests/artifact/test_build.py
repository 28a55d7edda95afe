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
from typing import TYPE_CHECKING, Any

import pytest

import store_workers
from tests.artifact.hosts import pythons, supported_pythons, version
from tests.support.worker import ARTIFACT, ROOT

if TYPE_CHECKING:
    from pathlib import Path

    from tests.artifact.hosts import RoundTrip

MIB = 2**20
LARGEST = 7 * MIB
LARGEST_UNIVERSAL = 25 * MIB
PINS = ("runtime", "zstandard", "pyfastcdc")
PRODUCTS = ("store-workers.pyz", "store-workers.pyz.sha256", "store-workers.cdx.json")
# Builds share two copies of the project: one worker of the tests runs them all.
pytestmark = pytest.mark.xdist_group("build")


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
        kept = folder / "build" / "artifact"
        shutil.copytree(ROOT / "build" / "artifact" / "wheels", kept / "wheels", copy_function=link)
    return folder


@pytest.fixture(scope="module")
def one(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy of the project."""
    return copied(tmp_path_factory.mktemp("project") / "one")


@pytest.fixture(scope="module")
def two(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Another copy, at a place that is hard to quote."""
    return copied(tmp_path_factory.mktemp("project") / "the other, with spaces")


def oldest_and_newest() -> tuple[str, str]:
    """Return two Pythons to build with: the same one where there is no other."""
    names = sorted(supported_pythons(), key=lambda name: int(version(name).partition(".")[2]))
    return pythons()[names[0]], pythons()[names[-1]]


@pytest.mark.timeout(300)
def test_the_same_bytes_from_another_folder_python_and_umask(one: Path, two: Path) -> None:
    oldest, newest = oldest_and_newest()
    first = build(one, oldest, umask=0o077, path="/usr/bin:/bin")
    second = build(two, newest, umask=0o002)
    assert first.returncode == 0, first.stderr
    assert second.returncode == 0, second.stderr
    compiled = [line for line in first.stdout.splitlines() if "compiled" in line]
    assert compiled == [line for line in second.stdout.splitlines() if "compiled" in line]
    for name in PRODUCTS:
        assert (one / "dist" / name).read_bytes() == (two / "dist" / name).read_bytes(), name
    check_product(one / "dist", first.stdout, LARGEST)


@pytest.mark.timeout(300)
def test_two_at_once_and_nowhere_to_download_from(one: Path, tmp_path: Path) -> None:
    python, _ = oldest_and_newest()
    assert build(one, python).returncode == 0  # it downloads what no test before has
    offline = {**os.environ, "PIP_NO_INDEX": "1", "PIP_FIND_LINKS": str(tmp_path)}
    command = [python, str(one / "tools/build.py"), "--dist", str(tmp_path / "dist")]
    shutil.rmtree(one / "build" / "artifact" / "code", ignore_errors=True)
    builds = [
        subprocess.Popen(command, env=offline, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE)
        for _ in range(2)
    ]
    assert [each.communicate()[1] for each in builds] == [b""] * 2
    assert [each.returncode for each in builds] == [0] * 2
    assert sorted(path.name for path in (tmp_path / "dist").iterdir()) == sorted(PRODUCTS)
    for name in PRODUCTS:
        assert (tmp_path / "dist" / name).read_bytes() == (one / "dist" / name).read_bytes(), name
    kept = {path.name.partition("-")[0] for path in (one / "build" / "artifact").iterdir()}
    assert kept - {"pip"} == {"code", "tools", "wheels"}


@pytest.mark.timeout(300)
def test_sources_alone_are_the_same_whatever_compiles(
    one: Path, two: Path, trip: RoundTrip, hashes: list[str]
) -> None:
    """And every Python runs them: the way of one that nobody compiled for."""
    oldest, newest = oldest_and_newest()
    told = [
        build(one, oldest, "--sources-only", "--dist", str(one / "sources")),
        build(two, newest, "--sources-only", "--dist", str(two / "sources")),
    ]
    assert [each.stderr for each in told] == ["", ""]
    assert all("compiled  none" in each.stdout for each in told)
    for name in PRODUCTS:
        assert (one / "sources" / name).read_bytes() == (two / "sources" / name).read_bytes(), name
    for name in supported_pythons():
        assert trip.run([pythons()[name], str(one / "sources" / PRODUCTS[0])]) == hashes, name


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


def test_a_failure_names_its_step_and_reason(one: Path) -> None:
    pins = one / "tools/requirements/runtime.txt"
    kept = pins.read_text()
    pins.write_text(kept.replace("urllib3==2.8.0", "urllib3==0.0.1"))
    python, _ = oldest_and_newest()
    answer = build(one, python)
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
