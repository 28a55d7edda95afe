"""What the build does to native libraries: it takes them out of wheels, and cuts them."""

from __future__ import annotations

import shutil
import subprocess
import sys
import zipfile
from importlib import import_module
from pathlib import Path

import pytest
import zstandard
from artifact import contents, wheels
from artifact.bundle import Native
from artifact.elf import MAGIC_64_LITTLE, cut

LIBRARY = Path(str(import_module("zstandard.backend_c").__file__))
ON_LINUX = sys.platform == "linux"
LOAD = """
import importlib.machinery, importlib.util, sys
loader = importlib.machinery.ExtensionFileLoader("zstandard.backend_c", sys.argv[1])
spec = importlib.util.spec_from_loader(loader.name, loader)
module = importlib.util.module_from_spec(spec)
loader.exec_module(module)
frame = module.ZstdCompressor(level=3).compress(b"content" * 1000)
print(module.ZstdDecompressor().decompress(frame) == b"content" * 1000, module.ZSTD_VERSION)
"""


@pytest.mark.skipif(not ON_LINUX, reason="libraries of other systems are left alone")
def test_a_cut_library_is_small_and_works(tmp_path: Path) -> None:
    content = LIBRARY.read_bytes()
    left = cut(content)
    assert content.startswith(MAGIC_64_LITTLE)
    assert len(left) < len(content) / 3
    assert cut(left) == left
    path = tmp_path / "cut.so"
    path.write_bytes(left)
    told = subprocess.run(
        [sys.executable, "-I", "-c", LOAD, str(path)], capture_output=True, text=True, check=True
    )
    assert told.stdout == f"True {zstandard.ZSTD_VERSION}\n"


@pytest.mark.skipif(not ON_LINUX, reason="libraries of other systems are left alone")
def test_only_the_end_and_the_section_table_go() -> None:
    content = LIBRARY.read_bytes()
    left = cut(content)
    changed = {place for place in range(len(left)) if left[place] != content[place]}
    assert changed <= {*range(40, 48), *range(60, 64)}
    assert left[40:48] == bytes(8)
    assert left[60:64] == bytes(4)


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"\x7fELF\x01\x01" + bytes(200),
        b"\x7fELF\x02\x02" + bytes(200),
        b"\xcf\xfa\xed\xfe" + bytes(200),
        b"MZ" + bytes(200),
    ],
    ids=["empty", "32 bits", "big-endian", "macOS", "Windows"],
)
def test_what_is_no_such_library_is_left_alone(content: bytes) -> None:
    assert cut(content) == content


FILES = {
    "fast/__init__.py": b"",
    "fast/kernel.cpython-311-x86_64-linux-gnu.so": b"kernel",
    "fast/other.cpython-311-x86_64-linux-gnu.so": b"not wanted",
    "fast-1.0.dist-info/METADATA": b"Name: fast",
    "fast-1.0.dist-info/licenses/LICENSE": b"free",
    "fast-1.0.dist-info/RECORD": b"",
    "fast-1.0.data/scripts/fast": b"",
}


@pytest.fixture
def wheel(tmp_path: Path) -> Path:
    """A wheel of a library that is not bundled, with all that wheels have."""
    path = tmp_path / "fast-1.0-cp311-cp311-manylinux2014_x86_64.whl"
    with zipfile.ZipFile(path, "w") as archive:
        for name, content in FILES.items():
            archive.writestr(name, content)
    return path


def test_a_library_takes_one_line_of_the_table(wheel: Path) -> None:
    fast = Native("fast", ("fast/kernel.*",), absent=("cp310-windows-*",))
    host = "cp311-linux-glibc-x86_64"
    assert contents.libraries({(fast, host): wheel}) == {
        f"native/{host}/{name}": FILES[name] for name in FILES if "kernel" in name
    }
    assert sorted(contents.unpacked([wheel])) == [
        "fast-1.0.dist-info/METADATA",
        "fast-1.0.dist-info/licenses/LICENSE",
        "fast/__init__.py",
    ]
    assert fast.has(host)
    assert not fast.has("cp310-windows-arm64")


def test_what_another_build_downloaded_first_is_used(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def download(requirements: Path, *options: str) -> None:
        folders = [Path(options[-1]), *([first] if first else [])]
        for folder in folders:
            folder.mkdir()
            (folder / "one.whl").touch()

    first: Path | None = None
    monkeypatch.setattr(wheels, "DOWNLOADED", tmp_path)
    monkeypatch.setattr(wheels, "download", download)
    assert [path.name for path in wheels.fetch("runtime")] == ["one.whl"]
    (first,) = tmp_path.iterdir()
    shutil.rmtree(first)
    assert wheels.fetch("runtime") == [first / "one.whl"]
    assert list(tmp_path.iterdir()) == [first]
