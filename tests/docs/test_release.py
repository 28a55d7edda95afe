"""The release script: what it refuses, and checksums that standard tools check."""

from __future__ import annotations

import runpy
import shutil
import subprocess
import sys
from typing import TYPE_CHECKING, Any

import pytest

from store_workers import __version__
from tests.docs.documents import ROOT
from tests.support.worker import ARTIFACT

if TYPE_CHECKING:
    from pathlib import Path

RELEASE: dict[str, Any] = runpy.run_path(str(ROOT / "tools" / "release.py"))
StepFailed: type[Exception] = RELEASE["StepFailed"]


@pytest.fixture
def copy(tmp_path: Path) -> Path:
    (tmp_path / "src" / "store_workers").mkdir(parents=True)
    for name in ("src/store_workers/__init__.py", "CHANGELOG.md"):
        shutil.copy(ROOT / name, tmp_path / name)
    shutil.copytree(ROOT / "docs", tmp_path / "docs")
    # What is not yet of a version becomes part of this one, as it does for a release.
    change(
        tmp_path / "CHANGELOG.md",
        "## [Unreleased]\n",
        f"## [Unreleased]\n\n## [{__version__}]\n",
    )
    return tmp_path


def change(path: Path, old: str, new: str) -> None:
    text = path.read_text(encoding="utf-8")
    assert old in text
    path.write_text(text.replace(old, new), encoding="utf-8")


def test_this_version_could_be_released(copy: Path) -> None:
    assert RELEASE["check_version"](copy) == __version__


def test_version_without_changes_is_refused(copy: Path) -> None:
    change(copy / "src" / "store_workers" / "__init__.py", __version__, "9.8.7")
    with pytest.raises(StepFailed, match=r"CHANGELOG\.md says nothing of 9\.8\.7"):
        RELEASE["check_version"](copy)


def test_changes_without_version_are_refused(copy: Path) -> None:
    change(copy / "CHANGELOG.md", "## [Unreleased]\n", "## [Unreleased]\n\n- Something new.\n")
    with pytest.raises(StepFailed, match="not yet of a version"):
        RELEASE["check_version"](copy)


def test_schema_that_was_not_kept_is_refused(copy: Path) -> None:
    change(copy / "docs" / "schema.json", "version 1", "version 2")
    with pytest.raises(StepFailed, match="keep a copy"):
        RELEASE["check_version"](copy)


def test_tree_with_changes_is_refused(tmp_path: Path) -> None:
    subprocess.run(["git", "init", "-q", str(tmp_path)], check=True)
    RELEASE["check_tree"](tmp_path)
    (tmp_path / "new.txt").touch()
    with pytest.raises(StepFailed, match=r"new\.txt"):
        RELEASE["check_tree"](tmp_path)


def test_artifact_is_tried() -> None:
    RELEASE["try_artifact"](ARTIFACT, __version__)
    with pytest.raises(StepFailed, match="it calls itself"):
        RELEASE["try_artifact"](ARTIFACT, "9.8.7")


def test_checksums_are_signed_and_checked(tmp_path: Path) -> None:
    if not shutil.which("ssh-keygen"):
        pytest.skip("ssh-keygen is not installed")
    folder, key = tmp_path / "release", tmp_path / "key"
    folder.mkdir()
    (folder / "one.txt").write_text("one")
    (folder / "two.txt").write_text("two")
    subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", str(key)], check=True)
    sums = RELEASE["write_sums"](folder)
    RELEASE["sign"](sums, str(key))
    assert RELEASE["write_sums"](folder).read_text().count("\n") == 2
    check = ["sha256sum", "--check", "--quiet", "SHA256SUMS"]
    subprocess.run(check, cwd=folder, check=True)
    allowed = tmp_path / "allowed"
    allowed.write_text(f"me {key.with_suffix('.pub').read_text()}")
    verify = ["ssh-keygen", "-Y", "verify", "-f", str(allowed), "-I", "me", "-n", "store-workers"]
    verify += ["-s", f"{sums}.sig"]
    subprocess.run(verify, input=sums.read_bytes(), check=True, stdout=subprocess.DEVNULL)
    changed = subprocess.run(
        verify, input=sums.read_bytes() + b"x", check=False, capture_output=True
    )
    assert changed.returncode != 0
    (folder / "one.txt").write_text("ONE")
    assert subprocess.run(check, cwd=folder, check=False, capture_output=True).returncode != 0


def test_options_are_told() -> None:
    said = subprocess.run(
        [sys.executable, str(ROOT / "tools" / "release.py"), "--help"],
        capture_output=True,
        text=True,
        check=True,
    ).stdout
    assert "--sign" in said
