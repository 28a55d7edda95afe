"""The same file on every Python of this machine: it runs, or it says why not."""

from __future__ import annotations

import os
import platform
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.artifact.debian import unpack
from tests.artifact.hosts import (
    FIRST_LINES,
    RoundTrip,
    inside,
    pythons,
    start,
    supported_pythons,
    too_old_pythons,
)
from tests.support.worker import ARTIFACT, ROOT

DEBIAN = ROOT / "build" / "debian"
IS_DEBIAN = Path("/etc/debian_version").exists() and shutil.which("apt-get") is not None


@pytest.mark.parametrize("name", supported_pythons())
def test_it_runs_and_cuts_the_same_chunks(name: str, trip: RoundTrip, hashes: list[str]) -> None:
    assert trip.run([pythons()[name], str(ARTIFACT)]) == hashes


@pytest.mark.parametrize("name", supported_pythons())
def test_everything_bundled_can_be_imported(name: str) -> None:
    code = """
import importlib
wanted = ["zstandard", "pyfastcdc.cy.fastcdc", "urllib3.poolmanager", "botocore.session",
          "botocore.auth", "truststore", "tqdm"]
for each in wanted:
    importlib.import_module(each)
foreign = [name for name, module in sys.modules.items()
           if name.partition(".")[0] in {each.partition(".")[0] for each in wanted}
           and sys.argv[1] not in (getattr(module, "__file__", None) or sys.argv[1])
           and not name.endswith("backend_c") and not name.startswith("pyfastcdc.cy.")
           and "moves" not in name]
print(foreign, type(sys.modules["urllib3"].__loader__).__name__)
"""
    assert inside(pythons()[name], code) == "[] Loader\n"


NO_BETTER = {"PATH": "/nonexistent"}
"""So that no time goes into the search for a newer Python, which has a test of its own."""


@pytest.mark.parametrize("name", too_old_pythons())
def test_an_old_python_is_told(name: str, trip: RoundTrip) -> None:
    answer = start([pythons()[name], str(ARTIFACT)], trip.upload(), environ=NO_BETTER)
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
def test_a_person_with_an_old_python_gets_a_line(name: str) -> None:
    answer = start([pythons()[name], str(ARTIFACT), "upload", "file"], environ=NO_BETTER)
    assert (answer.status, answer.lines) == (1, [])
    (line,) = answer.stderr.splitlines()
    assert line.startswith("store-workers.pyz: CPython 3.10 or newer is needed")
    assert line.endswith("(HOST_UNSUPPORTED)")


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


FAKED = (
    """
import os, sys, types, zipimport
{fake}
__loader__ = zipimport.zipimporter(sys.argv.pop())
"""
    + FIRST_LINES
)

OTHER_KIND = (
    "sys.implementation = types.SimpleNamespace(**{**vars(sys.implementation), 'name': 'pypy'})"
)
OTHER_LIBZSTD = "; from compression import zstd; zstd.zstd_version_info = (1, 5, 99)"
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


NOWHERE = """
import tempfile
del os.memfd_create
def refuse(*args, **kwargs): raise OSError(30, "Read-only file system")
tempfile.mkdtemp = refuse
"""


def test_a_host_with_no_place_for_a_library_is_told(python: str, trip: RoundTrip) -> None:
    command = [python, "-c", FAKED.format(fake=NOWHERE), str(ARTIFACT)]
    answer = start(command, trip.upload(), environ={"STORE_WORKERS_CACHE": "/dev/null/none"})
    assert answer.status == 1
    assert answer.last["code"] == "HOST_UNSUPPORTED"
    assert "STORE_WORKERS_CACHE" in answer.last["message"]
    assert answer.stderr == ""
    assert not trip.store.exists()


def need_debian(*programs: str) -> None:
    """Skip the test where Debian's packages can't be unpacked, or a program is missing."""
    if not (IS_DEBIAN and platform.machine() == "x86_64"):
        pytest.skip("not a Debian machine, or not an x86_64 one")
    for program in programs:
        if shutil.which(program) is None:
            pytest.skip(f"{program} is not installed")


@pytest.mark.timeout(300)
def test_arm64(trip: RoundTrip, tmp_path: Path, hashes: list[str]) -> None:
    need_debian("qemu-aarch64-static")
    root = unpack(DEBIAN / "arm64", "bookworm", "arm64", "python3.11")
    artifact = build_for("--platform", "linux-glibc-arm64", "--dist", str(tmp_path))
    emulator = ["qemu-aarch64-static", "-L", str(root)]
    assert trip.run([*emulator, str(root / "usr/bin/python3.11"), str(artifact)]) == hashes


@dataclass
class DebianPython:
    """A CPython as Debian has it, and what it has to be started with."""

    command: list[str]
    environ: dict[str, str]


def debian_python(number: str) -> DebianPython:
    """Unpack the CPythons of Debian's unstable packages; return one of them."""
    need_debian()
    root = unpack(DEBIAN / "sid", "sid", "amd64", "python3.14", "python3.15")
    library_path = str(root / "usr/lib/x86_64-linux-gnu")
    loader = [str(root / "usr/lib64/ld-linux-x86-64.so.2"), "--library-path", library_path]
    environ = {"PYTHONHOME": str(root / "usr")}
    return DebianPython([*loader, str(root / f"usr/bin/python{number}")], environ)


@pytest.fixture(scope="session")
def python_3_14() -> DebianPython:
    return debian_python("3.14")


@pytest.fixture(scope="session")
def python_3_15() -> DebianPython:
    return debian_python("3.15")


@pytest.mark.timeout(300)
def test_python_3_14(trip: RoundTrip, hashes: list[str], python_3_14: DebianPython) -> None:
    command = [*python_3_14.command, str(ARTIFACT)]
    assert trip.run(command, environ=python_3_14.environ) == hashes
    version = start([*command, "--version"], environ=python_3_14.environ)
    assert "zstandard 0.25.0 (libzstd 1.5.7)\n" in version.stdout


@pytest.mark.timeout(300)
def test_python_3_15(trip: RoundTrip, hashes: list[str], python_3_15: DebianPython) -> None:
    """There is no library for it: Python's own codec makes the same chunks."""
    check_own_codec([*python_3_15.command, str(ARTIFACT)], python_3_15, trip, hashes)


@pytest.mark.timeout(300)
@pytest.mark.parametrize("other_version", [False, True])
def test_python_3_14_where_no_library_matches(
    other_version: bool, trip: RoundTrip, hashes: list[str], python_3_14: DebianPython
) -> None:
    """Python's own codec serves; what it makes is the same, or is said to be perhaps another."""
    fake = OTHER_MACHINE + (OTHER_LIBZSTD if other_version else "")
    command = [*python_3_14.command, "-c", FAKED.format(fake=fake), str(ARTIFACT)]
    check_own_codec(command, python_3_14, trip, hashes, warned=other_version)


def check_own_codec(
    command: list[str],
    python: DebianPython,
    trip: RoundTrip,
    hashes: list[str],
    *,
    warned: bool = False,
) -> None:
    """Assert a round trip by Python's own codec, which warns where its libzstd is another one."""
    own = subprocess.run(
        [*python.command, "-c", "from compression import zstd; print(zstd.zstd_version)"],
        env={**os.environ, **python.environ},
        capture_output=True,
        text=True,
        check=True,
    ).stdout.strip()
    warned = warned or own != "1.5.7"
    up = start(command, trip.upload(), environ=python.environ)
    assert up.status == 0, up
    warnings = [line for line in up.lines if line["type"] == "WARNING"]
    assert len(warnings) == warned
    assert up.lines[0] in warnings or not warned
    assert up.last["hashes"] == hashes or own != "1.5.7"
    down = start(command, trip.download(up.last["hashes"]), environ=python.environ)
    assert down.status == 0, down
    assert trip.target.read_bytes() == trip.content
    assert len(down.lines) == 1


@pytest.mark.by_command("musl")
@pytest.mark.timeout(600)
def test_musl(trip: RoundTrip, tmp_path: Path, hashes: list[str]) -> None:
    """Needs the path of a CPython that was built with musl in STORE_WORKERS_MUSL_PYTHON."""
    python = os.environ["STORE_WORKERS_MUSL_PYTHON"]
    artifact = build_for("--platform", "linux-musl-x86_64", "--dist", str(tmp_path))
    assert trip.run([python, str(artifact)]) == hashes


def build_for(*options: str) -> Path:
    """Build the artifact with ``options``, the last of which is the folder to write to."""
    running = f"running-{sys.version_info[0]}.{sys.version_info[1]}"  # its environment is there
    build = [pythons()[running], str(ROOT / "tools/build.py"), *options]
    subprocess.run(build, check=True, stdout=subprocess.DEVNULL)
    return Path(options[-1]) / "store-workers.pyz"
