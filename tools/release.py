#!/usr/bin/env python3
"""Make a release: check, test, build twice, try it, and sign its checksums.

    python3 tools/release.py                    all of it, into dist/release
    python3 tools/release.py --sign KEY         and sign the checksums with an SSH key

Stops at the first step that fails, and names it. Publishes nothing: its last lines say what remains
to be done by hand. See CONTRIBUTING.md for all steps.
"""

from __future__ import annotations

import argparse
import filecmp
import hashlib
import re
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
ARTIFACT = "store-workers.pyz"
SUMS = "SHA256SUMS"
NAMESPACE = "store-workers"


class StepFailed(Exception):
    """A step found a reason not to release."""


def main(arguments: list[str]) -> int:
    """Go through the steps; return 0, or 1 with a line that says which failed and why."""
    options = parse(arguments)
    target = ROOT / "dist" / "release"
    step = "version"
    try:
        version = check_version(ROOT)
        step = "tree"
        check_tree(ROOT)
        if not options.no_tests:
            step = "tests"
            run(sys.executable, "tools/test.py")
        step = "build"
        build_twice(target)
        step = "trial"
        try_artifact(target / ARTIFACT, version)
        step = "checksums"
        shutil.copy(ROOT / "docs" / "schema.json", target)
        sums = write_sums(target)
        if options.sign:
            sign(sums, options.sign)
    except (StepFailed, OSError, subprocess.CalledProcessError) as failure:
        print(f"release: {step} failed: {failure}", file=sys.stderr)
        return 1
    print(sums.read_text(), end="")
    print(f"{version} is ready in {target.relative_to(ROOT)}; what is left to do:")
    print(f"  git tag --sign v{version} && git push --tags")
    print(f"  publish the files, with the text of CHANGELOG.md for {version}")
    return 0


def parse(arguments: list[str]) -> argparse.Namespace:
    """Return the options."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--sign", metavar="KEY", help="the SSH key that signs the checksums")
    parser.add_argument("--no-tests", action="store_true", help="they have just passed")
    return parser.parse_args(arguments)


def check_version(root: Path) -> str:
    """Return the version, if all places agree on it.

    Raises:
        StepFailed: the change log or the kept schema do not belong to it.
    """
    source = (root / "src" / "store_workers" / "__init__.py").read_text(encoding="utf-8")
    found = re.search(r'^__version__ = "(\d+)\.(\d+)\.(\d+)"$', source, re.MULTILINE)
    if not found:
        raise StepFailed("src/store_workers/__init__.py has no version such as 1.2.3")
    version = ".".join(found.groups())
    changes = (root / "CHANGELOG.md").read_text(encoding="utf-8")
    if not section_of(changes, re.escape(version)):
        raise StepFailed(f"CHANGELOG.md says nothing of {version}")
    if section_of(changes, "Unreleased"):
        raise StepFailed("CHANGELOG.md has changes that are not yet of a version")
    kept = root / "docs" / f"schema-{found[1]}.{found[2]}.json"
    if not kept.exists() or not filecmp.cmp(kept, root / "docs" / "schema.json", shallow=False):
        raise StepFailed(f"{kept.name} is not docs/schema.json: keep a copy, for later versions")
    return version


def section_of(changes: str, title: str) -> str:
    """Return what the change log says under a title, "" where it says nothing."""
    pattern = re.compile(rf"^## \[{title}\]\n(.*?)(?=^## |\Z)", re.MULTILINE | re.DOTALL)
    found = pattern.search(changes)
    return found[1].strip() if found else ""


def check_tree(root: Path) -> None:
    """Check that nothing is uncommitted."""
    command = ["git", "status", "--porcelain"]
    changed = subprocess.run(command, cwd=root, capture_output=True, text=True, check=True).stdout
    if changed:
        raise StepFailed(f"not committed: {', '.join(changed.split()[1::2])}")


def build_twice(target: Path) -> None:
    """Build for every platform, two times, and compare the bytes."""
    with tempfile.TemporaryDirectory(dir=ROOT / "build") as name:
        again = Path(name)
        for folder in (target, again):
            run(sys.executable, "tools/build.py", "--universal", "--dist", str(folder))
        if not filecmp.cmp(target / ARTIFACT, again / ARTIFACT, shallow=False):
            raise StepFailed("two builds of the same sources differ")


def try_artifact(artifact: Path, version: str) -> None:
    """Upload the artifact with itself, and download it again."""
    told = output_of(artifact, "--version").splitlines()[0]
    if told != f"store-workers {version}":
        raise StepFailed(f"it calls itself {told}")
    with tempfile.TemporaryDirectory() as name:
        store, copy = f"--store={name}/chunks", Path(name, "copy")
        manifest = output_of(artifact, "upload", store, str(artifact)).split()[0]
        output_of(artifact, "download", store, manifest, str(copy))
        if not filecmp.cmp(artifact, copy, shallow=False):
            raise StepFailed("what came back is another file")


def output_of(artifact: Path, *arguments: str) -> str:
    """Run the artifact, and return what it prints; raise where it fails."""
    command = [sys.executable, str(artifact), *arguments]
    return subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True).stdout


def write_sums(folder: Path) -> Path:
    """Write the checksums of all files in a folder, as ``sha256sum --check`` reads them."""
    names = sorted(p.name for p in folder.iterdir() if not p.name.startswith((".", SUMS)))
    lines = [f"{hashlib.sha256((folder / n).read_bytes()).hexdigest()}  {n}\n" for n in names]
    sums = folder / SUMS
    sums.write_text("".join(lines), encoding="utf-8")
    return sums


def sign(sums: Path, key: str) -> None:
    """Sign the checksums with an SSH key, and verify the signature."""
    sums.with_name(f"{SUMS}.sig").unlink(missing_ok=True)
    run("ssh-keygen", "-q", "-Y", "sign", "-f", key, "-n", NAMESPACE, str(sums))
    command = ["ssh-keygen", "-q", "-Y", "check-novalidate", "-n", NAMESPACE, "-s", f"{sums}.sig"]
    subprocess.run(command, input=sums.read_bytes(), check=True)


def run(*command: str) -> None:
    """Run a program in the repository; raise where it fails."""
    subprocess.run(command, cwd=ROOT, check=True)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
