"""A damaged copy says so, or runs right: it never crashes and never makes something else."""

from __future__ import annotations

import random
import re
import struct
import sys
import zipfile
from typing import TYPE_CHECKING

import pytest

from tests.artifact.hosts import RoundTrip, copy_artifact, start
from tests.support.worker import ARTIFACT

if TYPE_CHECKING:
    from pathlib import Path

    from tests.artifact.hosts import Answer

SAID = "copy the file again"
# Python's own words, where not a line of ours can run: in the zip's directory and headers, and in
# the few lines that Python reads unchecked.
PYTHONS_WORDS = re.compile(
    r"this-copy-is-damaged--copy-the-file-again|copy the file again"
    r"|can't find '__main__' module|bad local file header|SyntaxError|IndentationError|NameError"
    r"|ImportError|ModuleNotFoundError|TypeError"
)


def verdict(answer: Answer, right: list[str]) -> str:
    """Return "right", "said" or "python" (it spoke, and not a line of ours ran); fail otherwise."""
    if answer.status == 0:
        assert answer.last["hashes"] == right, answer
        return "right"
    assert answer.status == 1, answer
    if answer.lines:
        assert answer.last["type"] == "ERROR", answer
        assert SAID in answer.last["message"], answer
        assert answer.last["retryable"] is False
        return "said"
    assert PYTHONS_WORDS.search(answer.stderr), answer
    return "python"


def flip(
    copy: Path, places: list[tuple[int, int]], python: str, trip: RoundTrip, right: list[str]
) -> dict[str, int]:
    """Start the copy once for each (offset, bit), flipped; count the verdicts."""
    counted = {"right": 0, "said": 0, "python": 0}
    with copy.open("r+b", buffering=0) as file:
        for offset, bit in places:
            file.seek(offset)
            (byte,) = file.read(1)
            for value in (byte ^ 1 << bit, byte):
                file.seek(offset)
                file.write(bytes([value]))
                if value != byte:
                    counted[verdict(start([python, str(copy)], trip.upload()), right)] += 1
    return counted


def places(first: int, last: int, count: int) -> list[tuple[int, int]]:
    """Return ``count`` places between two offsets, the same ones every time."""
    chosen = random.Random(20)
    return [(chosen.randrange(first, last), chosen.randrange(8)) for _ in range(count)]


def part(name: str) -> tuple[int, int]:
    """Return where what is stored of an entry of the zip begins and ends."""
    with zipfile.ZipFile(ARTIFACT) as archive:
        entry = archive.getinfo(name)
    begin = entry.header_offset + 30 + len(name)
    return begin, begin + entry.compress_size


def directory() -> tuple[int, int]:
    """Return where the zip's directory begins, after the line of its first entry, and ends."""
    content = ARTIFACT.read_bytes()
    (begin,) = struct.unpack_from("<I", content, len(content) - 6)
    return begin + 46 + len("__main__.py"), len(content) - 22


def running(name: str) -> str:
    """Return the name of a module compiled for the Python that runs the tests."""
    return "cp{}{}/".format(*sys.version_info) + name


def test_bits_anywhere(tmp_path: Path, python: str, trip: RoundTrip, hashes: list[str]) -> None:
    copy = copy_artifact(tmp_path)
    counted = flip(copy, places(0, copy.stat().st_size, 15), python, trip, hashes)
    assert counted["right"] > 0


def test_bits_in_what_is_used(
    tmp_path: Path, python: str, trip: RoundTrip, hashes: list[str]
) -> None:
    """The first lines' own check, the importer's, and that of a native library, loaded late."""
    copy = copy_artifact(tmp_path)
    with zipfile.ZipFile(ARTIFACT) as archive:
        host = "native/cp{}{}-".format(*sys.version_info)
        names = [name for name in archive.namelist() if name.startswith(host)]
        library = next(name for name in names if "/zstandard/" in name)
    chosen = []
    for name in (
        running("store_workers_bootstrap/boot.pyc"),
        running("store_workers_bootstrap/importer.pyc"),
        running("store_workers/__main__.pyc"),
        running("store_workers/workers/upload.pyc"),
        library,
    ):
        chosen += places(*part(name), 4)
    counted = flip(copy, chosen, python, trip, hashes)
    assert counted == {"right": 0, "said": len(chosen), "python": 0}


def test_bits_of_the_directory(
    tmp_path: Path, python: str, trip: RoundTrip, hashes: list[str]
) -> None:
    """No line of it is believed: what Python itself does not stumble over is told."""
    chosen = places(*directory(), 15)
    counted = flip(copy_artifact(tmp_path), chosen, python, trip, hashes)
    assert counted["right"] == 0
    assert counted["said"] > counted["python"]


def test_bits_where_python_itself_reads(
    tmp_path: Path, python: str, trip: RoundTrip, hashes: list[str]
) -> None:
    copy = copy_artifact(tmp_path)
    begin, end = directory()
    chosen = places(0, part("__main__.py")[1], 10) + places(begin - 57, begin, 3)
    flip(copy, chosen + places(end, end + 22, 3), python, trip, hashes)


@pytest.mark.by_command("damage")
@pytest.mark.timeout(3600)
def test_a_thousand_bits(tmp_path: Path, python: str, trip: RoundTrip, hashes: list[str]) -> None:
    copy = copy_artifact(tmp_path)
    counted = flip(copy, places(0, copy.stat().st_size, 1000), python, trip, hashes)
    assert counted["python"] < 20


@pytest.mark.by_command("damage")
@pytest.mark.timeout(3600)
def test_every_bit_of_the_first_lines(
    tmp_path: Path, python: str, trip: RoundTrip, hashes: list[str]
) -> None:
    copy = copy_artifact(tmp_path)
    every = [(offset, bit) for offset in range(part("__main__.py")[1]) for bit in range(8)]
    counted = flip(copy, every, python, trip, hashes)
    # Half of these bits are in comments. Most others make no Python: its error shows the line.
    assert counted["right"] > counted["python"] > counted["said"] > 0


@pytest.mark.parametrize("share", [0, 0.001, 0.3, 0.999])
def test_a_copy_that_was_cut_off(
    share: float, tmp_path: Path, python: str, trip: RoundTrip
) -> None:
    copy = tmp_path / "cut.pyz"
    content = ARTIFACT.read_bytes()
    copy.write_bytes(content[: int(len(content) * share)])
    answer = start([python, str(copy)], trip.upload())
    if share == 0:
        assert answer.stdout == ""  # an empty script does nothing, and says nothing
        return
    assert answer.status == 1
    assert "this-copy-is-damaged--copy-the-file-again" in answer.stderr
    assert answer.stdout == ""
