"""Pairs, medians and quartiles, and runs of real programs."""

from __future__ import annotations

import statistics
import sys
import tarfile
from functools import partial
from typing import TYPE_CHECKING

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from benchmarks import run
from benchmarks.data import LARGEST_MEMBER, TooLittle, write_tar
from benchmarks.imports import parse as parse_imports
from benchmarks.measuring import Bench, Quartiles, Rounds, RunFailed, Sample, Work, order
from benchmarks.outcome import Figure, Wanted, summarize
from benchmarks.peers import first_number
from benchmarks.suites import SUITES
from benchmarks.worker import check_upload

if TYPE_CHECKING:
    from pathlib import Path

MIB = 1 << 20


def sample(seconds: float, peak: int = 0, output: bytes = b"") -> Sample:
    return Sample(seconds, seconds * 2, peak, 0, output)


def work(*command: str, name: str = "a work") -> Work:
    return Work(name, [sys.executable, "-I", *command], listen=True)


@settings(deadline=None)
@given(st.lists(st.floats(0.001, 1000), min_size=1, max_size=30))
def test_quartiles_lie_around_the_median(numbers: list[float]) -> None:
    found = Quartiles.of(numbers)
    assert min(numbers) <= found.low <= found.median <= found.high <= max(numbers)
    assert found.median == pytest.approx(statistics.median(numbers))


def test_no_numbers_have_no_median() -> None:
    with pytest.raises(ValueError, match="no numbers"):
        Quartiles.of([])


def test_a_ratio_is_that_of_the_same_round() -> None:
    # The machine was ten times as slow in the second round: no ratio shows it.
    rounds = Rounds({"ours": [sample(2), sample(20)], "other": [sample(1), sample(10)]})
    assert rounds.ratio("ours", "other") == Quartiles(2, 2, 2)
    assert rounds.seconds("ours").median == 11
    assert rounds.processor("other").median == 11


def test_works_change_their_order_each_round() -> None:
    works = [work(name="a"), work(name="b"), work(name="c")]
    names = [[each.name for each in order(works, number)] for number in range(3)]
    assert names == [["a", "b", "c"], ["c", "b", "a"], ["a", "b", "c"]]


@pytest.mark.parametrize(
    ("limit", "at_least", "met"),
    [(2.0, False, True), (1.9, False, False), (2.0, True, True), (2.1, True, False)],
)
def test_a_figure_is_held_to_its_limit(limit: float, at_least: bool, met: bool) -> None:
    figure = Figure(Wanted("a", "b", limit, at_least), Quartiles(1, 2, 3))
    assert figure.met is met


def test_a_figure_without_a_limit_is_neither_met_nor_missed() -> None:
    assert Figure(Wanted("a", "b"), Quartiles(1, 2, 3)).met is None


def test_a_suite_is_summarized() -> None:
    found = Rounds({"ours": [sample(1, 5), sample(3, 9)], "other": [sample(2), sample(2)]})
    outcome = summarize("key", "Title", 2, found, [Wanted("ours", "other", 1.05)])
    assert outcome.figures[0].ratio == Quartiles(0.75, 1.0, 1.25)
    assert outcome.figures[0].met
    assert [(line.name, line.peak) for line in outcome.lines] == [("ours", 9), ("other", 0)]


@pytest.fixture
def bench(tmp_path: Path) -> Bench:
    return Bench(sys.executable, tmp_path, lambda _: None)


def test_a_program_is_measured(bench: Bench) -> None:
    program = (
        "import sys, time; block = bytearray(64 << 20); time.sleep(0.05);"
        "print(sys.stdin.read() * 2)"
    )
    echo = Work("echo", [sys.executable, "-I", "-c", program], b"word " * 1000, listen=True)
    measured = bench.run(echo)
    assert measured.output == b"word " * 2000 + b"\n"
    assert 0.05 < measured.seconds < 30
    assert measured.processor > 0
    assert 64 * MIB < measured.peak < 128 * MIB


def test_the_peak_is_the_programs_own(bench: Bench) -> None:
    much = bytearray(200 * MIB)  # held by whoever measures
    assert bench.run(work("-c", "pass")).peak < 50 * MIB < len(much)


def test_programs_take_turns_after_one_run_that_does_not_count(bench: Bench) -> None:
    prepared: list[str] = []
    command = [sys.executable, "-I", "-c", "pass"]
    works = [Work(name, command, prepare=partial(prepared.append, name)) for name in ("a", "b")]
    found = bench.in_turn(works, 2)
    assert prepared == [*"ab", *"ab", *"ba"]
    assert {name: len(samples) for name, samples in found.samples.items()} == {"a": 2, "b": 2}


def test_a_program_that_fails_is_not_measured(bench: Bench) -> None:
    with pytest.raises(RunFailed, match=r"broken: exit status 3: said why"):
        bench.run(work("-c", "print('said why'); raise SystemExit(3)", name="broken"))


def test_a_program_that_is_not_there_is_told(bench: Bench) -> None:
    with pytest.raises(RunFailed, match="missing"):
        bench.run(Work("missing", ["/nonexistent/program"]))


def test_an_upload_into_a_full_store_does_not_count() -> None:
    check_upload(sample(1, output=b'{}\n{"hashes":["a","b","a"],"new_chunks":2}\n'))
    with pytest.raises(RunFailed, match="not empty"):
        check_upload(sample(1, output=b'{"hashes":["a","b","a"],"new_chunks":1}\n'))


def test_the_tar_has_its_size_and_holds_files(tmp_path: Path) -> None:
    (tmp_path / "in").mkdir()
    for number in range(5):
        (tmp_path / "in" / f"file{number}").write_bytes(b"%d" % number * 30_000)
    (tmp_path / "in" / "link").symlink_to("file0")
    with (tmp_path / "a.tar").open("wb") as file:
        write_tar(file, tmp_path / "in", 100_000)
        write_tar(file, tmp_path / "in", 50_000)
    assert (tmp_path / "a.tar").stat().st_size == 150_000
    with tarfile.open(tmp_path / "a.tar", ignore_zeros=True) as archive:
        first = archive.next()
        assert first
        assert first.name.endswith("in/file0")
    with (tmp_path / "b.tar").open("wb") as file, pytest.raises(TooLittle):
        write_tar(file, tmp_path / "in", LARGEST_MEMBER)


@pytest.mark.parametrize(
    ("told", "number"),
    [
        ("*** Zstandard CLI (64-bit) v1.5.4, by Yann Collet ***", "1.5.4"),
        ("casync 2", "2"),
        ("nginx version: nginx/1.22.1", "1.22.1"),
        ("rclone v1.75.2\n- os/version: debian 12.11", "1.75.2"),
        ("no number at all", "unknown"),
    ],
)
def test_a_version_is_found(told: str, number: str) -> None:
    assert first_number(told) == number


def test_imports_are_read() -> None:
    told = b"import time: self [us] | cumulative | imported package\n"
    told += b"import time:       120 |        300 |   json.decoder\nnoise\n"
    assert parse_imports(told) == {"json.decoder": 120}


def test_every_suite_can_be_asked_for() -> None:
    assert [*SUITES, "imports", "spans"] == list(run.NAMES)
    options = run.parse(["--only", "upload", "--rounds", "3"])
    assert (options.only, options.rounds, options.quick) == (["upload"], 3, False)
