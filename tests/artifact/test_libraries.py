"""What the build does to native libraries: it cuts them, and stores some as patches of others."""

from __future__ import annotations

import subprocess
import sys
from importlib import import_module
from pathlib import Path

import pytest
import zstandard
from artifact.elf import MAGIC_64_LITTLE, cut
from artifact.patches import GAP, MOST_BYTES, MOST_RUNS, difference
from hypothesis import given
from hypothesis import strategies as st

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


def patched(old: bytes, patch: tuple[tuple[int, bytes], ...]) -> bytes:
    """Return what the loader makes of a library and a patch."""
    content = bytearray(old)
    for start, piece in patch:
        content[start : start + len(piece)] = piece
    return bytes(content)


@given(st.binary(min_size=1, max_size=300), st.data())
def test_a_patch_makes_one_of_the_other(old: bytes, data: st.DataObject) -> None:
    places = st.dictionaries(st.integers(0, len(old) - 1), st.integers(0, 255), max_size=40)
    new = bytearray(old)
    for place, value in data.draw(places).items():
        new[place] = value
    patch = difference(old, bytes(new))
    assert patch is not None
    assert patched(old, patch) == new
    ends = [start + len(piece) for start, piece in patch]
    starts = [start for start, _ in patch]
    assert all(start - end >= GAP for end, start in zip(ends, starts[1:], strict=False))


def test_equal_ones_need_no_change() -> None:
    assert difference(b"same", b"same") == ()


def test_another_length_is_no_patch() -> None:
    assert difference(b"one", b"four") is None


def test_too_many_differences_are_no_patch() -> None:
    spread = bytearray(2 * GAP * (MOST_RUNS + 1))
    old = bytes(spread)
    for place in range(0, 2 * GAP * MOST_RUNS, 2 * GAP):
        spread[place] = 1
    patch = difference(old, bytes(spread))
    assert patch is not None
    assert len(patch) == MOST_RUNS
    spread[-1] = 1
    assert difference(old, bytes(spread)) is None


def test_too_large_differences_are_no_patch() -> None:
    old = bytes(MOST_BYTES + 1)
    assert difference(old, b"\1" * MOST_BYTES + b"\0") is not None
    assert difference(old, b"\1" * (MOST_BYTES + 1)) is None
