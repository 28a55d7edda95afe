"""Charts are XML that a browser shows, and pages say where their figures come from."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any
from xml.etree import ElementTree as ET

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from benchmarks import far_report, report
from benchmarks.chart import Bar, draw, number, tick_step
from benchmarks.imports import Imports
from benchmarks.measuring import Quartiles
from benchmarks.outcome import Figure, Line, Outcome, Wanted
from benchmarks.spans import Span

ROOT = Path(__file__).resolve().parent.parent.parent
RESULTS = ROOT / "benchmarks" / "results"
SVG = "{http://www.w3.org/2000/svg}"
SETTING: dict[str, Any] = {
    "date": "2030-01-02",
    "machine": {
        "cpu": "A CPU",
        "cores": 2,
        "architecture": "x86_64",
        "memory_gib": 8,
        "kernel": "6.1",
        "file_system": "tmpfs",
        "load_before": 0.1,
    },
    "realtime": False,
    "versions": {
        "artifact": {"store-workers": "1.2.3", "libzstd": "1.5.7"},
        "artifact_sha256": "ab" * 32,
        "artifact_bytes": 5 << 20,
        "programs": {"zstd": "1.5.4"},
        "absent": ["borg", "restic"],
    },
    "data": {"mib": 384, "tar_sha256": "cd" * 32},
}
OURS = "store-workers to a directory"

# A busy machine is not a fault of the code.
PATIENTLY = settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])

ratios = st.floats(0.01, 1000)
spreads = st.tuples(ratios, ratios, ratios).map(lambda three: Quartiles(*sorted(three)))


def outcome(key: str = "peers") -> Outcome:
    time = Quartiles(0.9, 1.0, 1.1)
    figures = [
        Figure(Wanted(OURS, "zstd -3 -T0", 1.05), Quartiles(0.9, 0.95, 1.0)),
        Figure(Wanted("borg create", "zstd -3 -T0"), Quartiles(4, 5, 6)),
        Figure(Wanted("borg create", OURS, 9.0, at_least=True), Quartiles(4, 5, 6)),
    ]
    return Outcome(key, "Some title", 9, figures, [Line(OURS, time, 1.5, 50 << 20)])


@PATIENTLY
@given(
    st.lists(
        st.builds(Bar, st.text("aé<&\"'>]", max_size=20), spreads, st.booleans()),
        min_size=1,
        max_size=12,
    )
)
def test_a_chart_is_xml_and_stays_within_its_frame(bars: list[Bar]) -> None:
    root = ET.fromstring(draw("A <title> & more", "a note", bars))
    width = float(root.attrib["width"])
    drawn = root.findall(f"{SVG}rect")
    assert len(drawn) == len(bars)
    for rectangle in drawn:
        assert 0 <= float(rectangle.attrib["x"]) + float(rectangle.attrib["width"]) <= width
    lengths = [float(rectangle.attrib["width"]) for rectangle in drawn]
    assert lengths == sorted(lengths)
    assert root.findtext(f"{SVG}title") == "A <title> & more"
    for text in root.findall(f"{SVG}text"):
        assert float(text.attrib["x"]) < width


def test_a_chart_has_no_background_and_two_palettes() -> None:
    root = ET.fromstring(draw("Title", "note", [Bar("a", Quartiles(1, 2, 3), ours=True)]))
    style = root.findtext(f"{SVG}style")
    assert style
    assert "prefers-color-scheme: dark" in style
    assert "background" not in style
    assert [each.attrib["class"] for each in root.findall(f"{SVG}rect")] == ["ours"]
    for colour in re.findall(r"fill: #([0-9a-f]{6})", style):
        assert all(contrast(colour, page) > 2.9 for page in ("ffffff", "0d1117")), colour


def contrast(one: str, other: str) -> float:
    """Return the contrast of two colours as WCAG defines it."""
    low, high = sorted(luminance(colour) for colour in (one, other))
    return (high + 0.05) / (low + 0.05)


def luminance(colour: str) -> float:
    parts = [int(colour[place : place + 2], 16) / 255 for place in (0, 2, 4)]
    red, green, blue = (
        part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4 for part in parts
    )
    return 0.2126 * red + 0.7152 * green + 0.0722 * blue


def test_no_bars_make_no_chart() -> None:
    with pytest.raises(ValueError, match="nothing"):
        draw("Title", "note", [])


@pytest.mark.parametrize(
    ("longest", "step"), [(1.0, 0.2), (7, 1), (7.1, 2), (63, 10), (0.5, 0.1), (71, 20), (140, 20)]
)
def test_grid_lines_are_round_numbers_apart(longest: float, step: float) -> None:
    assert tick_step(longest) == pytest.approx(step)


@pytest.mark.parametrize(
    ("value", "written"), [(0.914, "0.91"), (9.876, "9.88"), (12.34, "12.3"), (123.4, "123")]
)
def test_numbers_have_three_digits(value: float, written: str) -> None:
    assert number(value) == written


def test_a_page_says_where_its_figures_come_from() -> None:
    imports = Imports("a run", 200, 80.0, 140, 40.0)
    page = report.page(SETTING, [outcome()], [imports])
    for needed in ("2 cores of A CPU", "tmpfs", "2030-01-02", "zstd 1.5.4", "libzstd 1.5.7"):
        assert needed in page
    assert "| not installed | borg, restic |" in page
    assert "| 0.95 (0.90 to 1.00) | met |" in page
    assert "| at least 9 | 5.00 (4.00 to 6.00) | **missed** |" in page
    assert "| a run | 200 modules | 80.0 ms | 140 modules | 40.0 ms |" in page
    assert report.TOO_SMALL not in page
    assert report.TOO_SMALL in report.page(
        {**SETTING, "data": {**SETTING["data"], "mib": 32}}, [outcome()], []
    )


def test_spans_are_told() -> None:
    span = Span("4 MiB", Quartiles(1.0, 1.1, 1.2), 0.99, 1.01, 40 << 20)
    assert "| 4 MiB | 1.10 (1.00 to 1.20) | 0.990 | 1.010 | 40 MiB |" in report.span_page(
        SETTING, [span]
    )


def test_suites_with_peers_are_drawn() -> None:
    drawn = report.charts(SETTING, [outcome("upload"), outcome("peers"), outcome("start-peers")])
    assert sorted(drawn) == ["start.svg", "upload.svg"]
    labels = [text.text for text in ET.fromstring(drawn["upload.svg"]).findall(f"{SVG}text")]
    for label in ("zstd -3 -T0 (stores nothing)", OURS, "borg create", "0.95 \u00d7"):
        assert label in labels
    assert "Time to store a file of 384 MiB" in labels


def test_results_name_no_path_of_a_machine() -> None:
    for path in RESULTS.iterdir():
        text = path.read_text(encoding="utf-8")
        assert not re.search(r"/(?:home|root|tmp|work|dev/shm|Users)\b", text), path.name


def test_results_and_charts_are_of_one_run() -> None:
    latest = json.loads((RESULTS / "latest.json").read_text(encoding="utf-8"))
    assert report.about(latest)
    for name in ("results.md", "spans.md", "upload.svg", "start.svg"):
        assert latest["date"] in (RESULTS / name).read_text(encoding="utf-8"), name


def far(line: str, worker: float) -> far_report.Measured:
    runs = {
        name: {"up": [seconds, 2 * seconds], "down": [seconds, seconds]}
        for name, seconds in (("worker", worker), ("s5cmd", 2.0), ("rclone", 4.0))
    }
    return far_report.Measured(far_report.PEERS, line, 192, runs, "2030-01-02")


def test_a_line_measured_again_replaces_its_former_figures(tmp_path: Path) -> None:
    for line, seconds in (("100:1000", 9.0), ("20:1000", 1.0), ("100:1000", 3.0)):
        far_report.add(tmp_path, far(line, seconds))
    page = (tmp_path / "far.md").read_text(encoding="utf-8")
    assert page.index("20 ms, 1000 Mbit/s") < page.index("100 ms, 1000 Mbit/s")
    assert "| worker | 4.50 s | 3.00 s |  |  |" in page
    assert "| s5cmd | 3.00 s | 2.00 s | 1.50 | 1.50 |" in page
    assert "9.00" not in page
    chart = ET.fromstring((tmp_path / "far.svg").read_text(encoding="utf-8"))
    assert len(chart.findall(f"{SVG}rect")) == 4


def test_beside_fixed_numbers_the_best_one_counts(tmp_path: Path) -> None:
    runs = {
        "worker": {"up": [3.0], "down": [2.0]},
        "8": {"up": [4.0], "down": [1.0]},
        "64": {"up": [2.0], "down": [5.0]},
    }
    measured = far_report.Measured(far_report.BESIDE_FIXED, "5:50", 24, runs, "2030-01-02")
    far_report.add(tmp_path, measured)
    page = (tmp_path / "far.md").read_text(encoding="utf-8")
    row = "| 3.00 s | 2.00 s (64) | 1.50 | 2.00 s | 1.00 s (8) | 2.00 |"
    assert f"| 5 ms, 50 Mbit/s | 24 MiB {row}" in page
    assert not (tmp_path / "far.svg").exists()
