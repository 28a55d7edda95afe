#!/usr/bin/env python3
"""Draw docs/progress.svg: the progress bar, as a real terminal shows it.

    build/test-env-…/bin/python tools/picture.py

Runs the built artifact in tmux against a slow store, captures the screen while the bar is on it,
and writes what was captured as text in an SVG image.
"""

from __future__ import annotations

import sys
import tempfile
from html import escape
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
sys.path[:0] = [str(ROOT)]

from tests.support.data import MIB, mixed  # noqa: E402
from tests.support.faulty_server import FaultyServer, Rule, honest_after, status  # noqa: E402
from tests.support.terminal import Terminal  # noqa: E402
from tests.support.worker import ARTIFACT, bare_python  # noqa: E402

PICTURE = ROOT / "docs" / "progress.svg"
COLUMNS = 104
CHARACTER, LINE, MARGIN = 7.8, 18, 14  # pixels, of a 13 pixel monospaced font


def main() -> int:
    """Capture, draw and write; return 0."""
    with tempfile.TemporaryDirectory() as name:
        screen = captured(Path(name))
    PICTURE.write_text(drawn(screen.splitlines()), encoding="utf-8")
    print(f"{PICTURE.relative_to(ROOT)}:\n{screen}")
    return 0


def captured(folder: Path) -> str:
    """Return the screen with an upload that is done and a download that is half way."""
    (folder / "backup.tar").write_bytes(mixed(64 * MIB))
    rules = [
        Rule(status(503), "PUT", tries={1}, nth={7}),
        Rule(honest_after(0.25), "PUT"),
        Rule(honest_after(0.1), "GET"),
    ]
    worker = folder / "store-workers.pyz"
    worker.write_text(f'#!/bin/sh\nexec {bare_python()} {ARTIFACT} "$@"\n')
    worker.chmod(0o755)
    with FaultyServer(*rules) as server, Terminal(folder, columns=COLUMNS, rows=12) as terminal:
        terminal.enter(f"PATH=$PWD:$PATH STORE_WORKERS_STORE={server.url}")
        terminal.enter("export PATH STORE_WORKERS_STORE; clear")
        terminal.enter("store-workers.pyz upload backup.tar > kept.txt")
        terminal.wait_for("uploaded backup.tar", 60)
        manifest = "$(cut -c 1-64 kept.txt)"
        terminal.enter(f"store-workers.pyz download --rate-limit 2M {manifest} copy.tar")
        return terminal.wait_for(lambda screen: any(f" {n}%|" in screen for n in range(30, 90)))


def drawn(lines: list[str]) -> str:
    """Return an SVG image of a terminal that shows ``lines``."""
    width = round(COLUMNS * CHARACTER) + 2 * MARGIN
    height = len(lines) * LINE + 2 * MARGIN
    rows = [
        f'<text x="{MARGIN}" y="{MARGIN + 13 + LINE * number}" xml:space="preserve"'
        f' textLength="{len(line) * CHARACTER:.0f}">{escape(line)}</text>'
        for number, line in enumerate(lines)
        if line
    ]
    label = "A terminal: an upload that is done, and a download with its progress bar"
    box = f'viewBox="0 0 {width} {height}" width="{width}" height="{height}"'
    style = "font: 13px ui-monospace, Menlo, Consolas, 'DejaVu Sans Mono', monospace; fill: #d8dee9"
    return "\n".join(
        [
            f'<svg xmlns="http://www.w3.org/2000/svg" {box} role="img" aria-label="{label}">',
            f'<rect width="{width}" height="{height}" rx="8" fill="#20242c"/>',
            f'<g style="{style}">',
            *rows,
            "</g>",
            "</svg>",
            "",
        ]
    )


if __name__ == "__main__":
    sys.exit(main())
