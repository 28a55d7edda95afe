"""The same file on every Python of this machine: it runs, or it says why not."""

from __future__ import annotations

import os
import subprocess
from typing import TYPE_CHECKING

import pytest

from tests.artifact.debian import unpack
from tests.artifact.hosts import (
    RoundTrip,
    inside,
    pythons,
    start,
    supported_pythons,
    too_old_pythons,
)
from tests.support.worker import ARTIFACT, ROOT

if TYPE_CHECKING:
    from pathlib import Path

DEBIAN = ROOT / "build" / "debian"


@pytest.mark.parametrize("name", supported_pythons())
def test_it_runs_and_cuts_the_same_chunks(name: str, trip: RoundTrip, hashes: list[str]) -> None:
    assert trip.run([pythons()[name], str(ARTIFACT)]) == hashes


@pytest.mark.parametrize("name", supported_pythons())
def test_everything_bundled_can_be_imported(name: str) -> None:
    code = """
import importlib
importer = sys.meta_path[0]
wanted = ["zstandard", "urllib3.poolmanager", "botocore.session", "botocore.auth", "truststore",
          "tqdm"]
for each in wanted:
    importlib.import_module(each)
foreign = [name for name, module in sys.modules.items()
           if name.partition(".")[0] in {each.partition(".")[0] for each in wanted}
           and sys.argv[1] not in (getattr(module, "__file__", None) or sys.argv[1])
           and not name.endswith("backend_c") and "moves" not in name]
print(foreign, type(importer).__name__)
"""
    assert inside(pythons()[name], code) == "[] Importer\n"


@pytest.mark.parametrize("name", too_old_pythons())
def test_an_old_python_is_told(name: str, trip: RoundTrip) -> None:
    answer = start([pythons()[name], str(ARTIFACT)], trip.upload())
    assert answer.status == 1
    assert answer.stderr == ""
    (line,) = answer.lines
    assert line["type"] == "ERROR"
    assert line["code"] == "HOST_UNSUPPORTED"
    assert line["retryable"] is False
    assert "CPython 3.10 or newer is needed" in line["message"]
    assert name.rpartition("-")[2] in line["message"]
    assert not trip.store.exists()


@pytest.mark.parametrize("name", too_old_pythons())
def test_an_old_python_is_pointed_to_a_better_one(name: str, tmp_path: Path) -> None:
    better = tmp_path / "python3.12"
    better.symlink_to(pythons()[supported_pythons()[0]])
    (tmp_path / "python3.13").write_text("#!/bin/sh\nexit 1\n")
    (tmp_path / "python3.13").chmod(0o755)
    answer = start([pythons()[name], str(ARTIFACT)], environ={"PATH": str(tmp_path)})
    assert f"this host has one: {better}" in answer.last["message"]
    answer = start([pythons()[name], str(ARTIFACT)], environ={"PATH": "/nonexistent"})
    assert "there is none on the PATH" in answer.last["message"]


FAKED = """
import os, sys, types, zipimport
{fake}
__loader__ = zipimport.zipimporter(sys.argv.pop())
exec(__loader__.get_data("boot.py"))
"""

OTHER_KIND = (
    "sys.implementation = types.SimpleNamespace(**{**vars(sys.implementation), 'name': 'pypy'})"
)
OTHER_MACHINE = "u = os.uname(); os.uname = lambda: type(u)((*u[:4], 's390x'))"


@pytest.mark.parametrize(
    ("fake", "told"),
    [
        (OTHER_KIND, "CPython 3.10 or newer is needed"),
        (OTHER_MACHINE, "no native library for cp3"),
        ("sys.modules['zlib'] = None", "built without zlib"),
    ],
)
def test_another_kind_of_host_is_told(fake: str, told: str, python: str) -> None:
    answer = start([python, "-c", FAKED.format(fake=fake), str(ARTIFACT)])
    assert answer.status == 1
    assert answer.last["code"] == "HOST_UNSUPPORTED"
    assert told in answer.last["message"]
    assert answer.last["retryable"] is False
    assert len(answer.lines) == 1
    assert answer.stderr == ""


@pytest.mark.by_command("hosts")
def test_arm64(trip: RoundTrip, universal: Path, hashes: list[str]) -> None:
    root = unpack(DEBIAN / "arm64", "bookworm", "arm64", "python3.11")
    emulator = ["qemu-aarch64-static", "-L", str(root)]
    assert trip.run([*emulator, str(root / "usr/bin/python3.11"), str(universal)]) == hashes


@pytest.mark.by_command("hosts")
@pytest.mark.parametrize("bundled", [True, False])
def test_python_3_14(
    bundled: bool, trip: RoundTrip, hashes: list[str], python: str, tmp_path: Path
) -> None:
    """With the bundled library, and with Python's own where there is none for the host."""
    root = unpack(DEBIAN / "sid", "sid", "amd64", "python3.14")
    library_path = str(root / "usr/lib/x86_64-linux-gnu")
    loader = [str(root / "usr/lib64/ld-linux-x86-64.so.2"), "--library-path", library_path]
    command = [*loader, str(root / "usr/bin/python3.14")]
    environ = {"PYTHONHOME": str(root / "usr")}
    if bundled:
        assert trip.run([*command, str(ARTIFACT)], environ=environ) == hashes
        return
    other = [*command, "-c", FAKED.format(fake=OTHER_MACHINE), str(ARTIFACT)]
    assert trip.run(other, environ=environ) == hashes


@pytest.mark.by_command("musl")
def test_musl(trip: RoundTrip, universal: Path, hashes: list[str]) -> None:
    """Needs the path of a CPython that was built with musl in STORE_WORKERS_MUSL_PYTHON."""
    python = os.environ["STORE_WORKERS_MUSL_PYTHON"]
    assert trip.run([python, str(universal)]) == hashes


@pytest.fixture(scope="session")
def universal(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("universal")
    build = [pythons()[supported_pythons()[0]], str(ROOT / "tools/build.py"), "--universal"]
    subprocess.run([*build, "--dist", str(folder)], check=True)
    return folder / "store-workers.pyz"
