"""Every supported host finds its own libraries: the wheel at build time, the bytes at run time.

Hosts that are not to be had here are faked by what they say of themselves: their platform, machine
and libc, and the suffixes of their libraries' names, as CPython has them there.
"""

from __future__ import annotations

import os
import re
import sys
import types
from typing import Any

import pytest
from artifact import bundle, wheels

from store_workers_bootstrap import native
from tests.artifact.hosts import SUPPORTED
from tests.support.worker import ROOT

ALL = wheels.hosts(wheels.PLATFORMS)
# A library of one kind of host for each line of the table, by what the zip's directory has.
MODULES = {"zstandard": "backend_c", "pyfastcdc": "cy/fastcdc"}
ENTRIES = [
    f"native/{host}/{library.name}/{MODULES[library.name]}.so"
    for host in ALL
    for library in bundle.NATIVE
    if library.has(host)
]


@pytest.mark.parametrize("library", bundle.NATIVE, ids=lambda library: library.name)
def test_a_wheel_is_pinned_for_each(library: bundle.Native) -> None:
    pins = (ROOT / "tools" / "requirements" / f"{library.name}.txt").read_text(encoding="utf-8")
    there = [host for host in ALL if library.has(host)]
    assert len(set(re.findall(r"sha256:(\w{64})", pins))) == len(there)


def fake(
    monkeypatch: pytest.MonkeyPatch,
    python: str,
    platform: str,
    *,
    threads: bool = False,
    machine: str | None = None,
    bits: int = 64,
) -> None:
    """Make the loader believe that it is on another host."""
    system, _, processor = platform.rpartition("-")
    arm = processor == "arm64"
    number = python.replace(".", "") + ("t" if threads else "")
    if system == "windows":
        suffix = f".cp{number}-win_{machine or ('arm64' if arm else 'amd64')}.pyd"
    elif system == "macos":
        suffix = f".cpython-{number}-darwin.so"
    else:
        # CPython 3.10 says "gnu" on musl too.
        libc = "musl" if "musl" in system and python != "3.10" else "gnu"
        suffix = f".cpython-{number}-{'aarch64' if arm else 'x86_64'}-linux-{libc}.so"
    name = {"windows": "win32", "macos": "darwin"}.get(system, "linux")
    says = machine or {"macos": "arm64" if arm else "x86_64"}.get(
        system, "aarch64" if arm else "x86_64"
    )

    def confstr(_: str) -> str:
        if "musl" in system:
            raise OSError("unrecognized configuration name")
        return "glibc 2.36"

    version = types.SimpleNamespace(
        platform=name,
        meta_path=[],
        maxsize=2 ** (bits - 1) - 1,
        version_info=(*map(int, python.split(".")), 1, "final", 0),
    )
    host: dict[str, Any] = {} if name == "win32" else {"confstr": confstr}
    if name != "win32":
        host["uname"] = lambda: types.SimpleNamespace(machine=says)
    monkeypatch.setattr(native, "sys", version)
    monkeypatch.setattr(native, "os", types.SimpleNamespace(path=os.path, sep=os.sep, **host))
    monkeypatch.setattr(native, "EXTENSION_SUFFIXES", [suffix])


def archive() -> Any:
    """An archive with the libraries of every host."""
    return types.SimpleNamespace(entries=ENTRIES)


@pytest.mark.parametrize("platform", wheels.PLATFORMS)
@pytest.mark.parametrize("python", wheels.PYTHONS)
def test_a_host_is_given_its_own_libraries(
    python: str, platform: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    fake(monkeypatch, python, platform)
    host = native.host_key()
    found = native.libraries(ENTRIES, host)
    missing = native.install(archive())
    monkeypatch.undo()
    assert host in ALL
    assert host == f"{wheels.tag_of(python)}-{platform}"
    wanted = [entry for entry in ENTRIES if entry.startswith(f"native/{host}/")]
    assert sorted(found.values()) == sorted(wanted)
    assert set(found) <= {"zstandard.backend_c", "pyfastcdc.cy.fastcdc"}
    # All have what they need, but for the one Python and system that no wheel is made for.
    assert (missing is not None) == (host == "cp310-windows-arm64")


@pytest.mark.parametrize(
    ("platform", "how", "key"),
    [
        ("linux-glibc-x86_64", {"threads": True}, "cp313t-linux-glibc-x86_64"),
        ("windows-x86_64", {"threads": True}, "cp313t-windows-x86_64"),
        ("windows-x86_64", {"machine": "ia64"}, "cp313-windows-other"),
        ("linux-glibc-x86_64", {"machine": "s390x"}, "cp313-linux-glibc-s390x"),
        ("linux-glibc-x86_64", {"bits": 32}, "cp313-linux-glibc-32bit"),
        ("linux-musl-x86_64", {"machine": "riscv64"}, "cp313-linux-musl-riscv64"),
    ],
)
def test_a_host_without_a_library(
    platform: str, how: dict[str, Any], key: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is told so, up to CPython 3.13; from 3.14 on Python has a codec of its own."""
    fake(monkeypatch, "3.13", platform, **how)
    assert native.host_key() == key
    told = native.install(archive())
    fake(monkeypatch, "3.14", platform, **how)
    later = native.install(archive())
    monkeypatch.undo()
    assert told is not None
    assert told.startswith(f"no native library for {key}; there are: ")
    assert "cp310-linux-glibc-arm64" in told
    assert later is None


def test_this_host_is_told_right() -> None:
    if sys.platform == "linux":
        assert native.host_key() in ALL


def test_every_supported_python_is_named_wherever_they_are() -> None:
    pythons = ROOT.joinpath("pyproject.toml").read_text(encoding="utf-8")
    assert tuple(re.findall(r'"Programming Language :: Python :: (3\.\d+)"', pythons)) == (
        wheels.PYTHONS
    )
    assert SUPPORTED == wheels.PYTHONS
    refusal = ROOT.joinpath("src/store_workers_bootstrap/refuse.py").read_text(encoding="utf-8")
    (minors,) = re.findall(r"MINORS = \((.*)\)", refusal)
    assert sorted(map(int, minors.split(", "))) == [int(each[2:]) for each in wheels.PYTHONS]
    platforms = ROOT.joinpath("docs/platforms.md").read_text(encoding="utf-8")
    assert f"| Python | CPython {wheels.PYTHONS[0]} to {wheels.PYTHONS[-1]} |" in platforms
