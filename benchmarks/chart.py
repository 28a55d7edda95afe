"""Bar charts as SVG, without background, in colours that are legible on white and on black.

A page's colours may differ from what the system prefers, so both palettes are legible on both;
the one for a dark scheme is only more so.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING
from xml.sax.saxutils import escape

if TYPE_CHECKING:
    from collections.abc import Sequence

    from benchmarks.measuring import Quartiles

WIDTH = 760
LABELS = 250  # where the bars begin
VALUES = 90  # what is kept free for the numbers at their ends
ROW = 30
BAR = 16
TOP = 62
BOTTOM = 30
MOST_TICKS = 7
TIMES = "\u00d7"

STYLE = """\
text { font: 13px system-ui, -apple-system, "Segoe UI", sans-serif; fill: #656d76; }
.title { font-size: 15px; font-weight: 600; }
.small { font-size: 11px; }
.value { font-weight: 600; }
.ours { fill: #1f7ae0; }
.other { fill: #8b949e; }
.grid { stroke: #8b949e; stroke-opacity: 0.3; }
.base { stroke: #8b949e; stroke-dasharray: 4 3; }
.spread { stroke: #656d76; stroke-width: 1.5; }
@media (prefers-color-scheme: dark) {
text { fill: #848d97; }
.ours { fill: #388bfd; }
.other { fill: #6e7681; }
.spread { stroke: #9aa4af; }
}"""


@dataclass(frozen=True)
class Bar:
    """One row.

    Args:
        label: what stands before it.
        ratio: its length, and the spread drawn over its end.
        ours: in the colour of this project.
    """

    label: str
    ratio: Quartiles
    ours: bool


def draw(title: str, note: str, bars: Sequence[Bar]) -> str:
    """Return an SVG document with the bars from the shortest to the longest.

    Raises:
        ValueError: there is no bar.
    """
    if not bars:
        raise ValueError("nothing to draw")
    longest = max(max(bar.ratio.median, bar.ratio.high) for bar in bars)
    step = tick_step(longest)
    scale = (WIDTH - LABELS - VALUES) / (math.ceil(longest / step) * step)
    height = TOP + ROW * len(bars) + BOTTOM
    rows = sorted(bars, key=lambda bar: bar.ratio.median)
    told = "; ".join(f"{bar.label}: {number(bar.ratio.median)}" for bar in rows)
    size = f'width="{WIDTH}" height="{height}" viewBox="0 0 {WIDTH} {height}"'
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" {size} role="img">',
        f"<title>{escape(title)}</title>",
        f"<desc>{escape(told)}</desc>",
        f"<style>{escape(STYLE)}</style>",
        f'<text class="title" x="0" y="18">{escape(title)}</text>',
        f'<text class="small" x="0" y="38">{escape(note)}</text>',
        *grid(step, scale, height),
    ]
    for index, bar in enumerate(rows):
        parts += row(bar, TOP + ROW * index, scale)
    return "\n".join([*parts, "</svg>", ""])


def grid(step: float, scale: float, height: int) -> list[str]:
    """Return the lines behind the bars, with their numbers; the line of 1 stands out."""
    foot = height - BOTTOM
    parts = []
    count = round((WIDTH - LABELS - VALUES) / scale / step)
    for place in range(count + 1):
        x = LABELS + place * step * scale
        parts.append(f'<line class="grid" x1="{x:.1f}" x2="{x:.1f}" y1="{TOP - 8}" y2="{foot}"/>')
        parts.append(
            f'<text class="small" x="{x:.1f}" y="{foot + 16}" text-anchor="middle">'
            f"{place * step:g}</text>"
        )
    one = LABELS + scale
    parts.append(f'<line class="base" x1="{one:.1f}" x2="{one:.1f}" y1="{TOP - 8}" y2="{foot}"/>')
    return parts


def row(bar: Bar, top: int, scale: float) -> list[str]:
    """Return a bar with its label, its number and its spread."""
    length, low, high = (
        value * scale for value in (bar.ratio.median, bar.ratio.low, bar.ratio.high)
    )
    middle = top + BAR / 2
    text = middle + 4.5
    kind = "ours" if bar.ours else "other"
    weight = ' class="value"' if bar.ours else ""
    ends = f'x1="{LABELS + low:.1f}" x2="{LABELS + high:.1f}" y1="{middle}" y2="{middle}"'
    behind = LABELS + max(length, high) + 8
    label, value = escape(bar.label), number(bar.ratio.median)
    return [
        f'<text{weight} x="{LABELS - 10}" y="{text}" text-anchor="end">{label}</text>',
        f'<rect class="{kind}" x="{LABELS}" y="{top}" width="{length:.1f}" height="{BAR}" rx="2"/>',
        f'<line class="spread" {ends}/>',
        f'<text class="value" x="{behind:.1f}" y="{text}">{value} {TIMES}</text>',
    ]


def tick_step(longest: float) -> float:
    """Return the distance of the grid's lines: 1, 2 or 5 times a power of ten."""
    power = 10.0 ** math.floor(math.log10(longest / MOST_TICKS))
    return next(power * by for by in (1, 2, 5, 10) if longest <= power * by * MOST_TICKS)


def number(value: float) -> str:
    """Return a ratio with three significant digits."""
    return f"{value:.0f}" if value >= 100 else f"{value:.1f}" if value >= 10 else f"{value:.2f}"
