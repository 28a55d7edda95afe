"""A page of the documentation, as text for a terminal."""

from __future__ import annotations

import re
import textwrap

WIDTH = 79
_LINK = re.compile(r"\[([^\]]*)\]\([^)]*\)")
_BULLET = re.compile(r"(- |\d+\. )?")
_CELL = re.compile(r"(?<!\\)\|")


def as_text(markdown: str) -> str:
    """Return a page wrapped to `WIDTH`, with rows of tables as items and links as their text.

    Code is not changed, whatever its width.
    """
    lines: list[str] = []
    head: list[str] = []
    is_code = False
    for line in markdown.splitlines():
        if line.startswith("```"):
            is_code = not is_code
        elif is_code:
            lines.append("    " + line)
        elif line.startswith("|"):
            cells = [
                _LINK.sub(r"\1", cell).strip().replace("\\|", "|")
                for cell in _CELL.split(line)[1:-1]
            ]
            lines += _item(head, cells) if head else []
            head = head or cells
        elif not line.startswith("<!--"):
            head = []
            lines += _paragraph(_LINK.sub(r"\1", line))
    return re.sub(r"\n{3,}", "\n\n", "\n".join(lines))


def _paragraph(text: str) -> list[str]:
    bullet = _BULLET.match(text)
    indent = " " * len(bullet[0]) if bullet else ""
    return wrapped(text, "", indent) or [""]


def _item(head: list[str], cells: list[str]) -> list[str]:
    """Return a row of a table as lines: its first cell, and below it the others."""
    if not any(cell.strip("-") for cell in cells):
        return [""]  # the line between the head and the rows
    if head[1:2] == ["type"]:
        default = f"default {cells[2]}" if cells[2].startswith("`") else cells[2]
        about = cells[1:2] + [default] * (head[2] == "default" and bool(default))
        name, rest = f"{cells[0]}  ({', '.join(about)})", cells[-1:]
    else:
        name, rest = cells[0], cells[1:]
        if len(rest) > 1:
            rest = [f"{title}: {cell}" for title, cell in zip(head[1:], rest, strict=True)]
    return wrapped(name, "  ", "    ") + [
        line for cell in rest for line in wrapped(cell, "    ", "    ")
    ]


def wrapped(text: str, first: str, indent: str) -> list[str]:
    """Return the lines of a paragraph of at most `WIDTH` columns; no word is broken."""
    return textwrap.wrap(
        text,
        WIDTH,
        initial_indent=first,
        subsequent_indent=indent,
        break_long_words=False,
        break_on_hyphens=False,
    )
