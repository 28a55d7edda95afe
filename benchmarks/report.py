"""Results as a page of Markdown, and as charts."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from benchmarks.chart import Bar, draw, number
from benchmarks.measuring import Quartiles

if TYPE_CHECKING:
    from collections.abc import Sequence

    from benchmarks.imports import Imports
    from benchmarks.outcome import Outcome
    from benchmarks.spans import Span

MIB = 1 << 20

PREFACE = """\
Written by `benchmarks/run.py`. Compare the ratios: the seconds depend on the machine. A ratio \
compares two runs of the same round; the figure is the median, with the quartiles in brackets. \
Times are those of whole processes, from start to end."""

FULL_MIB = 384
TOO_SMALL = f"**The limits are for {FULL_MIB} MiB; this run measured less.**"

ABOUT_IMPORTS = """\
Modules beyond those of `-c pass`, by `-X importtime`: the sources in a virtual environment with \
the same, unmodified libraries, and the artifact. Times are sums of each module's own time, with \
the cost of measuring it; medians."""

ABOUT_SPANS = """\
Uploads of the same file to a directory with several values of `FRAME_SPAN` \
(`src/store_workers/stream/spans.py`; the worker uses 2 MiB), each against 1 MiB, run from \
source. Written by `benchmarks/run.py`; medians, with the quartiles in brackets."""

CHARTS = {
    "peers": ("upload", "Time to store a file"),
    "start-peers": ("start", "Time to store 4 KiB, start of the program included"),
}
"""The suites that are drawn: the chart's name and its title."""

REMARKS = {
    "zstd -3 -T0": "stores nothing",
    "rclone copy": "does not compress",
    "restic backup": "encrypts",
}
"""Differences that a bar's label mentions."""


def page(setting: dict[str, Any], outcomes: Sequence[Outcome], imports: Sequence[Imports]) -> str:
    """Return the whole page."""
    parts = ["# Results", "", PREFACE, "", *about(setting)]
    rows = wanted_rows(outcomes)
    if rows:
        about_size = [] if setting["data"]["mib"] >= FULL_MIB else [TOO_SMALL, ""]
        head = [
            "| suite | run | against | limit | found | result |",
            "| --- | --- | --- | --- | --- | --- |",
        ]
        parts += ["", "## Limits", "", *about_size, *head, *rows]
    parts += ["", "## Measurements"]
    for outcome in outcomes:
        parts += ["", f"### {outcome.title}", "", *details(outcome)]
    if imports:
        parts += ["", "### Imports", "", *import_table(imports)]
    return "\n".join([*parts, ""])


def about(setting: dict[str, Any]) -> list[str]:
    """Return the table of machine, versions and data."""
    machine, versions, data = setting["machine"], setting["versions"], setting["data"]
    rows = {
        "date": setting["date"],
        "machine": f"{machine['cores']} cores of {machine['cpu']} ({machine['architecture']}),"
        f" {machine['memory_gib']} GiB, Linux {machine['kernel']}",
        "scheduling": ("real-time (SCHED_FIFO)" if setting["realtime"] else "as usual")
        + f"; load before: {machine['load_before']}",
        "data": f"on {machine['file_system']}: a tar of system libraries and shared files"
        f" ({data['mib']} MiB, SHA-256 {data['tar_sha256'][:16]}…), random bytes of that size,"
        " and 4 KiB",
        "artifact": f"{listed(versions['artifact'])}; {versions['artifact_bytes'] / MIB:.1f} MiB,"
        f" SHA-256 {versions['artifact_sha256'][:16]}…",
        "peers": listed(versions["programs"]),
        "not installed": ", ".join(versions["absent"]) or "none",
    }
    return [
        "| setting | value |",
        "| --- | --- |",
        *(f"| {name} | {text} |" for name, text in rows.items()),
    ]


def listed(versions: dict[str, str]) -> str:
    """Return names and versions as a list."""
    return ", ".join(f"{name} {number}" for name, number in versions.items())


def wanted_rows(outcomes: Sequence[Outcome]) -> list[str]:
    """Compare the figures with their limits."""
    rows = []
    for outcome in outcomes:
        for figure in outcome.figures:
            asked = figure.wanted
            if asked.limit is None:
                continue
            bound = f"{'at least' if asked.at_least else 'at most'} {asked.limit:g}"
            rows.append(
                f"| {outcome.title} | {asked.of} | {asked.against} | {bound}"
                f" | {spread(figure.ratio)} | {'met' if figure.met else '**missed**'} |"
            )
    return rows


def details(outcome: Outcome) -> list[str]:
    """Return a suite's runs and all its ratios."""
    lines = [
        f"{outcome.rounds} rounds.",
        "",
        "| run | seconds | processor seconds | peak memory |",
        "| --- | --- | --- | --- |",
    ]
    for line in outcome.lines:
        digits = 2 if line.seconds.median >= 0.2 else 4
        low, median, high = (
            f"{value:.{digits}f}"
            for value in (line.seconds.low, line.seconds.median, line.seconds.high)
        )
        lines.append(
            f"| {line.name} | {median} ({low} to {high}) | {line.processor:.{digits}f}"
            f" | {line.peak / MIB:.0f} MiB |"
        )
    lines += ["", "| run | against | ratio |", "| --- | --- | --- |"]
    for figure in outcome.figures:
        lines.append(f"| {figure.wanted.of} | {figure.wanted.against} | {spread(figure.ratio)} |")
    return lines


def import_table(imports: Sequence[Imports]) -> list[str]:
    """Compare what a run imports in the artifact with the same run from a virtual environment."""
    lines = [
        ABOUT_IMPORTS,
        "",
        "| run | virtual environment | time | artifact | time |",
        "| --- | --- | --- | --- | --- |",
    ]
    return lines + [
        f"| {each.name} | {each.before_count} modules | {each.before_ms:.1f} ms"
        f" | {each.after_count} modules | {each.after_ms:.1f} ms |"
        for each in imports
    ]


def span_page(setting: dict[str, Any], spans: Sequence[Span]) -> str:
    """Return the page about the length of spans."""
    lines = [
        "# Spans",
        "",
        ABOUT_SPANS,
        "",
        "| span | time | compressed size | size against `zstd -3 -T0` | peak memory |",
        "| --- | --- | --- | --- | --- |",
    ]
    lines += [
        f"| {span.label} | {spread(span.time)} | {span.size:.3f} | {span.size_against_zstd:.3f}"
        f" | {span.peak / MIB:.0f} MiB |"
        for span in spans
    ]
    return "\n".join([*lines, "", *about(setting), ""])


def charts(setting: dict[str, Any], outcomes: Sequence[Outcome]) -> dict[str, str]:
    """Return the SVG documents by their files' names."""
    drawn = {}
    for outcome in outcomes:
        if outcome.key not in CHARTS:
            continue
        name, title = CHARTS[outcome.key]
        base = outcome.figures[0].wanted.against
        paired = [figure for figure in outcome.figures if figure.wanted.against == base]
        bars = [bar(figure.wanted.of, figure.ratio) for figure in paired]
        bars.append(bar(base, Quartiles(1, 1, 1)))
        title = f"{title} of {setting['data']['mib']} MiB" if name == "upload" else title
        drawn[f"{name}.svg"] = draw(title, chart_note(setting, base, outcome.rounds), bars)
    return drawn


def bar(work: str, ratio: Quartiles) -> Bar:
    """Return the bar of a run, with its remark, if any."""
    remark = f" ({REMARKS[work]})" if work in REMARKS else ""
    return Bar(work + remark, ratio, ours=work.startswith("store-workers"))


def chart_note(setting: dict[str, Any], base: str, rounds: int) -> str:
    """Return the note below a chart's title."""
    machine = setting["machine"]
    return (
        f"{base} = 1; medians of {rounds} paired rounds, lines: quartiles;"
        f" {machine['cores']} cores, {machine['file_system']}, {setting['date']}"
    )


def spread(ratio: Quartiles) -> str:
    """Return a ratio with its quartiles."""
    return f"{number(ratio.median)} ({number(ratio.low)} to {number(ratio.high)})"
