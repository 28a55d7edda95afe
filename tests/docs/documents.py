"""The project's documents, taken apart: code blocks, examples, links."""

from __future__ import annotations

import json
import re
import subprocess
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent.parent

FENCE = re.compile(r"^( *)```([^\n]*)\n(.*?)^\1```$", re.MULTILINE | re.DOTALL)
NAME = re.compile(r"<!-- example: ([a-z0-9-]+) -->")
MESSAGES = frozenset({"UPLOAD_START", "DOWNLOAD_START", "VERIFY_START", "SESSION_START"})


@dataclass(frozen=True)
class Block:
    """A fenced block: its language, its text, and where the text begins and ends in the file."""

    path: Path
    language: str
    text: str
    start: int
    end: int
    line: int

    @property
    def place(self) -> str:
        """Where it is, for people."""
        return f"{self.path.relative_to(ROOT)}:{self.line}"

    def lines(self) -> list[str]:
        """Return the lines that hold something."""
        return [line for line in self.text.splitlines() if line.strip()]


@dataclass(frozen=True)
class Example:
    """A message, or a session's messages, and the events that answer."""

    name: str
    message: Block
    events: Block


def documents() -> list[Path]:
    """Return every Markdown file of the repository."""
    listed = subprocess.run(
        ["git", "ls-files", "--cached", "--others", "--exclude-standard", "-z", "*.md"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=True,
    ).stdout
    return sorted({ROOT / name for name in listed.split("\0") if name and (ROOT / name).exists()})


def blocks(path: Path, language: str | None = None) -> list[Block]:
    """Return the fenced blocks of a document, of one language."""
    text = path.read_text(encoding="utf-8")
    found = []
    for match in FENCE.finditer(text):
        words = match[2].split()
        line = text.count("\n", 0, match.start()) + 1
        kind = words[0] if words else ""
        found.append(Block(path, kind, match[3], match.start(3), match.end(3), line))
    return [block for block in found if language in {None, block.language}]


def examples(path: Path) -> list[Example]:
    """Return the examples of a document: a named message, and the block of events that follows."""
    text = path.read_text(encoding="utf-8")
    found = blocks(path, "json")
    result = []
    for marker in NAME.finditer(text):
        message, events = [block for block in found if block.start > marker.end()][:2]
        assert json.loads(message.lines()[0])["type"] in MESSAGES, message.place
        result.append(Example(marker[1], message, events))
    return result
