"""Every supported host finds its own library: the wheel at build time, the bytes at run time.

Hosts that are not to be had here are faked by what they say of themselves: their platform, machine
and libc, and the suffixes of their libraries' names, as CPython has them there.
"""

from __future__ import annotations

import io
import os
import re
import sys
import types
import zlib
from typing import TYPE_CHECKING, Any

import pytest
from artifact import targets

from store_workers_bootstrap import loader
from tests.support.worker import ROOT

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from store_workers_bootstrap.loader import Tables

MODULE = "zstandard.backend_c"
ALL = targets.targets_for(list(targets.PLATFORMS))
# What the wheels of the pinned version are called, by platform.
WHEEL_TAGS = {
    "linux-glibc-x86_64": "manylinux2014_x86_64.manylinux_2_17_x86_64",
    "linux-glibc-arm64": "manylinux2014_aarch64.manylinux_2_17_aarch64",
    "linux-musl-x86_64": "musllinux_1_2_x86_64",
    "linux-musl-arm64": "musllinux_1_2_aarch64",
    "macos-x86_64": "macosx_10_13_x86_64",
    "macos-arm64": "macosx_11_0_arm64",
    "windows-x86_64": "win_amd64",
}
# Pinned as well, for hosts that are not supported.
OTHER_WHEEL_TAGS = ("win32", "win_arm64", "manylinux_2_17_s390x", "musllinux_1_2_i686")


def wheel_name(python: str, tags: str) -> str:
    tag = "cp" + python.replace(".", "")
    if tags == "macosx_10_13_x86_64" and python in ("3.10", "3.11"):
        tags = "macosx_10_9_x86_64"
    if "manylinux" in tags and python == "3.14":
        tags += f".manylinux_2_28_{tags.rpartition('_17_')[2]}"
    return f"zstandard-0.25.0-{tag}-{tag}-{tags}.whl"


@pytest.mark.parametrize("target", ALL, ids=lambda target: target.key)
def test_one_wheel_fits(target: targets.Target) -> None:
    tags = [*WHEEL_TAGS.values(), *OTHER_WHEEL_TAGS]
    names = [wheel_name(python, tag) for python in ("3.9", *targets.PYTHONS) for tag in tags]
    fitting = [name for name in names if target.accepts(name)]
    assert fitting == [wheel_name(target.python, WHEEL_TAGS[target.platform])]


def test_a_wheel_is_pinned_for_each() -> None:
    pins = (ROOT / "tools" / "requirements" / "zstandard.txt").read_text(encoding="utf-8")
    assert len(set(re.findall(r"sha256:(\w{64})", pins))) == len(ALL)


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
        suffix = f".cp{number}-win_{machine or 'amd64'}.pyd"
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
        maxsize=2 ** (bits - 1) - 1,
        version_info=(*map(int, python.split(".")), 1, "final", 0),
    )
    host: dict[str, Any] = {} if name == "win32" else {"confstr": confstr}
    if name != "win32":
        host["uname"] = lambda: types.SimpleNamespace(machine=says)
    monkeypatch.setattr(loader, "sys", version)
    monkeypatch.setattr(loader, "os", types.SimpleNamespace(path=os.path, dup=os.dup, **host))
    monkeypatch.setattr(loader, "EXTENSION_SUFFIXES", [suffix])


@pytest.fixture
def index(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[], dict[str, bytes]]:
    """What the build makes of a library for each target; returns what the faked host is given.

    The build packs with a compressor that is installed for it alone; any other makes what the
    loader can read.
    """

    def deflate(content: bytes, _level: int) -> bytes:
        packer = zlib.compressobj(9, zlib.DEFLATED, -15)
        return packer.compress(content) + packer.flush()

    packer = types.ModuleType("deflate")
    packer.deflate_compress = deflate  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "deflate", packer)
    from artifact import assemble, payload

    parts = payload.Payload(0)
    libraries = {MODULE: {target: pretended(target) for target in ALL}}
    places = {name: assemble.add_libraries(parts, found) for name, found in libraries.items()}
    patched = [key for key, (_, patch) in places[MODULE].items() if patch is not None]
    assert "cp311-linux-glibc-x86_64" in patched
    content = parts.finish({})
    tables: Tables = {
        "loader": b"",
        "compiled": {},
        "sources": {},
        "packages": (),
        "data": {},
        "libraries": places,
    }

    def given() -> dict[str, bytes]:
        host = loader.host_key()
        assert loader.missing_library(tables, host) is None
        stream = io.BytesIO(content)
        stream.name = "store-workers.pyz"
        archive = loader.Archive(stream, "build")
        importer = loader.Importer(archive, tables, host)
        return {name: bytes(each._content()) for name, each in importer._libraries.items()}

    return given


def pretended(target: targets.Target) -> bytes:
    """A library that is nearly the same for all CPythons of a platform, and another elsewhere."""
    seed = zlib.crc32(target.platform.encode())
    body = b"".join(zlib.crc32(b"%d %d" % (seed, n)).to_bytes(4, "big") for n in range(5000))
    return body + target.key.encode().ljust(64) + body[::-1]


@pytest.mark.parametrize("target", ALL, ids=lambda target: target.key)
def test_a_host_is_given_its_own_library(
    target: targets.Target,
    index: Callable[[], dict[str, bytes]],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    fake(monkeypatch, target.python, target.platform)
    assert loader.host_key() == target.key
    found = index()
    monkeypatch.undo()
    assert found == {MODULE: pretended(target)}


@pytest.mark.parametrize(
    ("platform", "how", "key"),
    [
        ("linux-glibc-x86_64", {"threads": True}, "cp313t-linux-glibc-x86_64"),
        ("windows-x86_64", {"threads": True}, "cp313t-windows-x86_64"),
        ("windows-x86_64", {"machine": "arm64"}, "cp313-windows-other"),
        ("linux-glibc-x86_64", {"machine": "s390x"}, "cp313-linux-glibc-s390x"),
        ("linux-glibc-x86_64", {"bits": 32}, "cp313-linux-glibc-32bit"),
        ("linux-musl-x86_64", {"machine": "riscv64"}, "cp313-linux-musl-riscv64"),
    ],
)
def test_a_host_without_a_library(
    platform: str, how: dict[str, Any], key: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is told so, up to CPython 3.13; from 3.14 on Python has a codec of its own."""
    tables: Any = {"libraries": {MODULE: {target.key: None for target in ALL}}}
    fake(monkeypatch, "3.13", platform, **how)
    assert loader.host_key() == key
    told = loader.missing_library(tables, key)
    fake(monkeypatch, "3.14", platform, **how)
    later = loader.missing_library(tables, loader.host_key())
    monkeypatch.undo()
    assert told is not None
    assert told.startswith(f"no native library for {key}; there are: ")
    assert "cp310-linux-glibc-arm64" in told
    assert later is None


def test_this_host_is_told_right() -> None:
    if sys.platform == "linux":
        assert loader.host_key() in {target.key for target in ALL}
