"""The build: the same bytes wherever it runs, what is promised beside them, no network twice."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import subprocess
import zipfile
from pathlib import Path

import pytest

from tests.artifact.hosts import pythons, supported_pythons
from tests.support.worker import ROOT

MIB = 2**20
LARGEST = 5 * MIB
LARGEST_UNIVERSAL = 16 * MIB


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


def copied(folder: Path, *, cached: bool = True) -> Path:
    """Return a copy of the project; with what earlier builds downloaded, unless told otherwise."""
    for name in ("tools", "src"):
        shutil.copytree(ROOT / name, folder / name, ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copy(ROOT / "LICENSE", folder)
    if cached:
        kept = folder / "build" / "artifact"
        shutil.copytree(ROOT / "build" / "artifact" / "wheels", kept / "wheels")
    return folder


@pytest.mark.timeout(300)
def test_the_same_bytes_from_another_folder_python_and_umask(tmp_path: Path) -> None:
    names = supported_pythons()
    one = copied(tmp_path / "one")
    two = Path(shutil.copytree(one, tmp_path / "the other, with spaces"))
    first = build(one, pythons()[names[0]], umask=0o077, path="/usr/bin:/bin")
    second = build(two, pythons()[names[-1]], umask=0o002)
    assert first.returncode == 0, first.stderr
    assert second.returncode == 0, second.stderr
    compiled = [line for line in first.stdout.splitlines() if "compiled" in line]
    assert compiled == [line for line in second.stdout.splitlines() if "compiled" in line]
    for name in ("store-workers.pyz", "store-workers.pyz.sha256", "store-workers.cdx.json"):
        assert (one / "dist" / name).read_bytes() == (two / "dist" / name).read_bytes(), name
    check_product(one / "dist", first.stdout, LARGEST)
    # Again, with nowhere to download from, and quickly.
    offline = {"PIP_NO_INDEX": "1", "PIP_FIND_LINKS": str(tmp_path)}
    again = subprocess.run(
        [pythons()[names[0]], str(one / "tools/build.py")],
        env={**os.environ, **offline},
        capture_output=True,
        text=True,
        check=False,
    )
    assert again.returncode == 0, again.stderr


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
