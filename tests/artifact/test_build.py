"""The build: the same bytes wherever it runs, what is promised beside them, no network twice."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import subprocess
import zipfile
from typing import TYPE_CHECKING

import pytest

from tests.artifact.hosts import pythons, supported_pythons, version
from tests.support.worker import ROOT

if TYPE_CHECKING:
    from pathlib import Path

    from tests.artifact.hosts import RoundTrip

MIB = 2**20
LARGEST = 5 * MIB
LARGEST_UNIVERSAL = 16 * MIB
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
    for name in ("tools", "src"):
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
def test_three_at_once_and_nowhere_to_download_from(one: Path, tmp_path: Path) -> None:
    python, _ = oldest_and_newest()
    ready = build(one, python, "--dist", str(tmp_path / "dist"))
    assert ready.returncode == 0, ready.stderr
    right = {name: (tmp_path / "dist" / name).read_bytes() for name in PRODUCTS}
    shutil.rmtree(one / "build" / "artifact" / "code")
    offline = {**os.environ, "PIP_NO_INDEX": "1", "PIP_FIND_LINKS": str(tmp_path)}
    command = [python, str(one / "tools/build.py"), "--dist", str(tmp_path / "dist")]
    builds = [
        subprocess.Popen(command, env=offline, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE)
        for _ in range(3)
    ]
    assert [each.communicate()[1] for each in builds] == [b""] * 3
    assert [each.returncode for each in builds] == [0] * 3
    assert sorted(path.name for path in (tmp_path / "dist").iterdir()) == sorted(PRODUCTS)
    assert {name: (tmp_path / "dist" / name).read_bytes() for name in PRODUCTS} == right
    kept = {path.name.partition("-")[0] for path in (one / "build" / "artifact").iterdir()}
    assert kept == {"code", "env", "packages", "wheels"}


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
    with zipfile.ZipFile(product) as archive:
        assert archive.testzip() is None
        licences = archive.read("LICENSES.txt").decode()
    bill = json.loads((dist / "store-workers.cdx.json").read_text())
    assert bill["bomFormat"] == "CycloneDX"
    assert bill["metadata"]["component"]["hashes"] == [{"alg": "SHA-256", "content": digest}]
    names = {each["name"] for each in bill["components"]}
    assert {"zstandard", "urllib3", "botocore", "truststore", "tqdm"} <= names
    for each in bill["components"]:
        assert each["version"]
        assert each["licenses"][0]["expression"]
        assert each.get("hashes") or all(file["hashes"] for file in each["components"])
        assert f"{each['name'].replace('-', '_').lower()}-{each['version']}" in licences.lower()


def test_a_failure_names_its_step_and_reason(tmp_path: Path) -> None:
    project = copied(tmp_path / "project")
    pins = project / "tools/requirements/runtime.txt"
    pins.write_text(pins.read_text().replace("urllib3==2.8.0", "urllib3==0.0.1"))
    answer = build(project, pythons()[supported_pythons()[0]])
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
