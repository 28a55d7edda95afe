#!/usr/bin/env python3
"""Draw docs/imports.svg: which folders of the package import which.

    python3 tools/picture_of_imports.py           writes it anew
    python3 tools/picture_of_imports.py --check   fails where it is not up to date

A box is a folder of ``src/store_workers``, or a module that lies in none, with the first sentence
of its docstring. Each box lies below all that import it. An arrow that follows from others (a
imports b, b imports c, and a imports c) is not drawn.
"""

from __future__ import annotations

import argparse
import ast
import sys
import textwrap
from html import escape
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator

ROOT = Path(__file__).resolve().parent.parent
PACKAGE = ROOT / "src" / "store_workers"
PICTURE = ROOT / "docs" / "imports.svg"
WIDTH, BOX_WIDTH, BOX_HEIGHT, GAP, SPACE = 760, 224, 66, 40, 20  # pixels
LETTERS, LINES = 38, 3  # of the text in a box

Graph = dict[str, set[str]]


def main(arguments: list[str]) -> int:
    """Draw, or check; return 0, or 1 where the picture was out of date."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--check", action="store_true", help="write nothing")
    options = parser.parse_args(arguments)
    picture = drawn(graph())
    if options.check:
        return 0 if PICTURE.is_file() and PICTURE.read_text(encoding="utf-8") == picture else 1
    PICTURE.write_text(picture, encoding="utf-8")
    return 0


def graph() -> Graph:
    """Return what each folder imports of the others."""
    found: Graph = {}
    for path in sorted(PACKAGE.rglob("*.py")):
        if path != PACKAGE / "__init__.py":
            found.setdefault(box_of(path), set()).update(imported(path))
    return {name: others & found.keys() - {name} for name, others in found.items()}


def box_of(path: Path) -> str:
    """Return the folder that a module is in, or the module itself."""
    return path.relative_to(PACKAGE).parts[0].removesuffix(".py")


def imported(path: Path) -> Iterator[str]:
    """Yield the boxes that a module imports, wherever it does, except for type checkers alone."""
    pending: list[ast.AST] = [ast.parse(path.read_bytes())]
    while pending:
        node = pending.pop()
        if isinstance(node, ast.If) and ast.unparse(node.test).endswith("TYPE_CHECKING"):
            pending += node.orelse
            continue
        if isinstance(node, ast.ImportFrom):
            names = [f"{node.module}.{alias.name}" for alias in node.names]
        else:
            names = [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
        yield from (name.split(".")[1] for name in names if name.startswith("store_workers."))
        pending += ast.iter_child_nodes(node)


def reachable(edges: Graph, start: str) -> set[str]:
    """Return all that a box imports, directly or not."""
    found: set[str] = set()
    pending = set(edges[start])
    while pending:
        name = pending.pop()
        found.add(name)
        pending |= edges[name] - found
    return found


def layers(edges: Graph) -> list[list[str]]:
    """Return the boxes from top to bottom: each below all that import it."""
    depth = dict.fromkeys(edges, 0)
    for _ in edges:  # the longest path is not longer
        for name, others in edges.items():
            for other in others:
                depth[other] = max(depth[other], depth[name] + 1)
    return [sorted(n for n in edges if depth[n] == row) for row in range(max(depth.values()) + 1)]


def drawn(edges: Graph) -> str:
    """Return the picture."""
    rows = layers(edges)
    arrows = {
        name: others - {far for other in others for far in reachable(edges, other)}
        for name, others in edges.items()
    }
    places = placed(rows, arrows)
    shapes = [
        arrow(places[name], places[other])
        for name in sorted(arrows)
        for other in sorted(arrows[name])
    ]
    shapes += [box(name, *places[name]) for row in rows for name in row]
    height = len(rows) * (BOX_HEIGHT + GAP)
    return HEAD.format(width=WIDTH, height=height) + "\n".join(shapes) + "\n</svg>\n"


def placed(rows: list[list[str]], arrows: Graph) -> dict[str, tuple[int, int]]:
    """Return the middle of each box's upper edge; a box alone in its row is below its importers."""
    places: dict[str, tuple[int, int]] = {}
    for number, row in enumerate(rows):
        y = GAP // 2 + number * (BOX_HEIGHT + GAP)
        left = (WIDTH - (len(row) - 1) * (BOX_WIDTH + SPACE)) // 2
        above = [places[name][0] for name in places if row[0] in arrows[name]]
        if len(row) == 1 and above:
            left = sum(above) // len(above)
        places |= {n: (left + column * (BOX_WIDTH + SPACE), y) for column, n in enumerate(row)}
    return places


def arrow(start: tuple[int, int], end: tuple[int, int]) -> str:
    """Return an arrow from the lower edge of one box to the upper edge of another."""
    (x1, top), (x2, y2) = start, end
    y1 = top + BOX_HEIGHT
    return f'<path class="arrow" d="M{x1} {y1} C{x1} {y1 + GAP} {x2} {y2 - GAP} {x2} {y2 - 2}"/>'


def box(name: str, x: int, y: int) -> str:
    """Return a box around its name and what its docstring says."""
    left = x - BOX_WIDTH // 2
    lines = textwrap.wrap(about(name), LETTERS, max_lines=LINES, placeholder=" …")
    text = "".join(
        f'<text class="about" x="{x}" y="{y + 33 + 13 * number}">{escape(line)}</text>'
        for number, line in enumerate(lines)
    )
    title = f"{name}/" if (PACKAGE / name).is_dir() else f"{name}.py"
    return (
        f'<rect class="box" x="{left}" y="{y}" width="{BOX_WIDTH}" height="{BOX_HEIGHT}" rx="6"/>'
        f'<text class="name" x="{x}" y="{y + 18}">{title}</text>{text}'
    )


def about(name: str) -> str:
    """Return the first sentence of a box's docstring."""
    folder = PACKAGE / name / "__init__.py"
    path = folder if folder.is_file() else PACKAGE / f"{name}.py"
    text = ast.get_docstring(ast.parse(path.read_bytes())) or ""
    return " ".join(text.partition("\n\n")[0].split()).partition(". ")[0].rstrip(".")


HEAD = """\
<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" role="img">
<title>Which folders of the package import which</title>
<style>
.box {{ fill: #eef3f4; stroke: #00796b; }}
.arrow {{ fill: none; stroke: #5f8a86; stroke-width: 1.3; marker-end: url(#head); }}
text {{ font-family: sans-serif; text-anchor: middle; fill: #20302e; }}
.name {{ font-size: 13px; font-weight: bold; }}
.about {{ font-size: 10.5px; }}
</style>
<marker id="head" viewBox="0 0 8 8" refX="7" refY="4" markerWidth="7" markerHeight="7" \
orient="auto"><path d="M0 0 L8 4 L0 8 z" fill="#5f8a86"/></marker>
"""

if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
