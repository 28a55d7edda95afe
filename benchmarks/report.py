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
Written by `benchmarks/run.py`: read the ratios, not the seconds. A ratio is that of two runs of \
the same round; what is told is the median, and in brackets the quartiles. Times are those of \
whole processes, from their start to their end."""

FULL_MIB = 384
TOO_SMALL = f"**Of {FULL_MIB} MiB, and not of as little as was measured here.**"

ABOUT_IMPORTS = """\
`-X importtime`, beyond what `-c pass` imports: the same sources in a virtual environment with the \
same libraries as they come, and the artifact. The times are sums of each module's own, with the \
cost of being told; medians."""

ABOUT_SPANS = """\
An upload of the same file to a directory with several values of `FRAME_SPAN` \
(`src/store_workers/stream/compression.py`; the worker's own is 2 MiB), each against 1 MiB, \
run from source. Written by \
`benchmarks/run.py`; medians, and in brackets the quartiles."""

CHARTS = {
    "peers": ("upload", "Time to store a file"),
    "start-peers": ("start", "Time to store 4 KiB, start of the program included"),
}
"""The suites that are drawn: the chart's name and its title."""

REMARKS = {
    "zstd -3 -T0": "keeps nothing",
    "rclone copy": "does not compress",
    "restic backup": "encrypts",
}
"""What a bar's work does less or more than the others."""


def page(setting: dict[str, Any], outcomes: Sequence[Outcome], imports: Sequence[Imports]) -> str:
    """Return the whole page."""
    parts = ["# Results", "", PREFACE, "", *about(setting)]
    rows = wanted_rows(outcomes)
    if rows:
        about_size = [] if setting["data"]["mib"] >= FULL_MIB else [TOO_SMALL, ""]
        head = ["| | work | against | wanted | found | |", "| --- | --- | --- | --- | --- | --- |"]
        parts += ["", "## What is wanted", "", *about_size, *head, *rows]
    parts += ["", "## What was measured"]
    for outcome in outcomes:
        parts += ["", f"### {outcome.title}", "", *details(outcome)]
    if imports:
        parts += ["", "### Imports", "", *import_table(imports)]
    return "\n".join([*parts, ""])


def about(setting: dict[str, Any]) -> list[str]:
    """Say where the figures come from."""
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
        "ours": f"{listed(versions['artifact'])}; {versions['artifact_bytes'] / MIB:.1f} MiB,"
        f" SHA-256 {versions['artifact_sha256'][:16]}…",
        "the others": listed(versions["programs"]),
        "absent": ", ".join(versions["absent"]) or "none",
    }
    return ["| | |", "| --- | --- |", *(f"| {name} | {text} |" for name, text in rows.items())]


def listed(versions: dict[str, str]) -> str:
    """Write names and versions in a row."""
    return ", ".join(f"{name} {number}" for name, number in versions.items())


def wanted_rows(outcomes: Sequence[Outcome]) -> list[str]:
    """Compare what was found with what is asked for."""
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
    """List a suite's works and all its ratios."""
    lines = [
        f"{outcome.rounds} rounds.",
        "",
        "| | seconds | processor | peak memory |",
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
    lines += ["", "| | against | ratio |", "| --- | --- | --- |"]
    for figure in outcome.figures:
        lines.append(f"| {figure.wanted.of} | {figure.wanted.against} | {spread(figure.ratio)} |")
    return lines


def import_table(imports: Sequence[Imports]) -> list[str]:
    """Compare what a run imports in the artifact with the same run from a virtual environment."""
    lines = [
        ABOUT_IMPORTS,
        "",
        "| | virtual environment | | artifact | |",
        "| --- | --- | --- | --- | --- |",
    ]
    return lines + [
        f"| {each.name} | {each.before_count} modules | {each.before_ms:.1f} ms"
        f" | {each.after_count} modules | {each.after_ms:.1f} ms |"
        for each in imports
    ]


def span_page(setting: dict[str, Any], spans: Sequence[Span]) -> str:
    """Return the page about how long a frame's span should be."""
    lines = [
        "# Spans",
        "",
        ABOUT_SPANS,
        "",
        "| span | time | compressed size | that against `zstd -3 -T0` | peak memory |",
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
    """Return a work's bar, with a remark where it needs one."""
    remark = f" ({REMARKS[work]})" if work in REMARKS else ""
    return Bar(work + remark, ratio, ours=work.startswith("store-workers"))


def chart_note(setting: dict[str, Any], base: str, rounds: int) -> str:
    """Say below a chart's title how it was made."""
    machine = setting["machine"]
    return (
        f"{base} = 1; medians of {rounds} paired rounds, lines: quartiles;"
        f" {machine['cores']} cores, {machine['file_system']}, {setting['date']}"
    )


def spread(ratio: Quartiles) -> str:
    """Write a ratio with its quartiles."""
    return f"{number(ratio.median)} ({number(ratio.low)} to {number(ratio.high)})"
