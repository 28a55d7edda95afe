"""A damaged copy says so, or runs right: it never crashes and never makes something else."""

from __future__ import annotations

import random
import re
import struct
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


def part(name: bytes) -> tuple[int, int]:
    """Return where the content of an entry of the zip begins and ends."""
    content = ARTIFACT.read_bytes()
    header = re.search(rb"PK\x03\x04.{26}" + re.escape(name), content, re.DOTALL)
    assert header
    (size,) = struct.unpack_from("<I", content, header.start() + 18)
    return header.end(), header.end() + size


def test_bits_anywhere(tmp_path: Path, python: str, trip: RoundTrip, hashes: list[str]) -> None:
    copy = copy_artifact(tmp_path)
    counted = flip(copy, places(0, copy.stat().st_size, 30), python, trip, hashes)
    assert counted["right"] > 0
    assert counted["python"] == 0


def test_bits_in_what_is_checked(
    tmp_path: Path, python: str, trip: RoundTrip, hashes: list[str]
) -> None:
    copy = copy_artifact(tmp_path)
    begin, end = part(b"boot.py")
    chosen = places(begin, end, 10)
    begin, _ = part(b"store-workers.payload")
    chosen += places(begin, begin + 300, 10)
    counted = flip(copy, chosen, python, trip, hashes)
    assert counted == {"right": 0, "said": 20, "python": 0}


def test_bits_where_python_itself_reads(
    tmp_path: Path, python: str, trip: RoundTrip, hashes: list[str]
) -> None:
    copy = copy_artifact(tmp_path)
    directory = ARTIFACT.read_bytes().rindex(b"PK\1\2", 0, -120)
    chosen = places(0, part(b"boot.py")[0], 10) + places(directory, copy.stat().st_size, 5)
    flip(copy, chosen, python, trip, hashes)


@pytest.mark.by_command("damage")
@pytest.mark.timeout(3600)
def test_a_thousand_bits(tmp_path: Path, python: str, trip: RoundTrip, hashes: list[str]) -> None:
    copy = copy_artifact(tmp_path)
    counted = flip(copy, places(0, copy.stat().st_size, 1000), python, trip, hashes)
    assert counted["python"] < 10


@pytest.mark.by_command("damage")
@pytest.mark.timeout(3600)
def test_every_bit_of_the_first_lines(
    tmp_path: Path, python: str, trip: RoundTrip, hashes: list[str]
) -> None:
    copy = copy_artifact(tmp_path)
    every = [(offset, bit) for offset in range(part(b"boot.py")[0]) for bit in range(8)]
    counted = flip(copy, every, python, trip, hashes)
    assert counted["said"] > counted["python"]


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


def test_a_library_is_checked_although_the_worker_has_begun(
    tmp_path: Path, python: str, trip: RoundTrip, hashes: list[str]
) -> None:
    """What is loaded late says so on the owner's pipe, as the last line."""
    from tests.artifact.hosts import inside

    code = """
library = sys.meta_path[0]._libraries["zstandard.backend_c"]
print(library._place[0] + library._place[1] // 2)
"""
    offset = int(inside(python, code))
    counted = flip(copy_artifact(tmp_path), [(offset, 3)], python, trip, hashes)
    assert counted == {"right": 0, "said": 1, "python": 0}
