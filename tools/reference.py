#!/usr/bin/env python3
"""Write the tables of the reference from the declarations that the worker decodes and encodes by.

    python3 tools/reference.py           writes them anew
    python3 tools/reference.py --check   fails where a table is not up to date

A table stands in a document between two comments:

    <!-- table: Settings -->
    <!-- end of table -->

The name is that of a message, an event, a group of fields, or a set of codes. ``-path`` behind a
name leaves a field out, so that what several messages share stands in one table.
"""

from __future__ import annotations

import argparse
import ast
import itertools
import json
import re
import sys
from enum import Enum
from pathlib import Path
from typing import TYPE_CHECKING

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT / "src"))

from store_workers import errors  # noqa: E402
from store_workers.wire import events, messages, records  # noqa: E402

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Sequence
    from typing import Any

PLACE = re.compile(
    r"(<!-- table: (?P<name>\w+)(?P<without>(?: -\w+)*) -->\n).*?(<!-- end of table -->)", re.DOTALL
)
SETS_OF_CODES = ("ErrorCode", "WarningCode")
SUPERSCRIPTS = str.maketrans("0123456789", "⁰¹²³⁴⁵⁶⁷⁸⁹")
PLURALS = {records.String: "strings", records.Argument: "strings", records.Digest: "hashes"}
LINKS = {"ErrorCode": "[error code](#error)", "WarningCode": "[warning code](#warning)"}


def main(arguments: list[str]) -> int:
    """Write, or check; return 0, or 1 where a document was out of date."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--check", action="store_true", help="write nothing")
    options = parser.parse_args(arguments)
    texts = {path: path.read_text() for path in sorted((ROOT / "docs").glob("*.md"))}
    stale = {path: new for path, old in texts.items() if (new := filled(old)) != old}
    for path, new in stale.items():
        print(f"{path.relative_to(ROOT)}: {'is out of date' if options.check else 'written'}")
        if not options.check:
            path.write_text(new)
    return 1 if stale and options.check else 0


def filled(text: str) -> str:
    """Return a document with every table made anew."""

    def table(place: re.Match[str]) -> str:
        without = {word.lstrip("-") for word in place["without"].split()}
        return f"{place[1]}\n{table_of(place['name'], without)}\n{place[4]}"

    return PLACE.sub(table, text)


def table_of(name: str, without: Iterable[str] = ()) -> str:
    """Return the table of a record's fields, or of a set of codes, by the name of its class."""
    if name in SETS_OF_CODES:
        rows = [(f"`{code}`", meaning) for code, meaning in meanings(name)]
        return rendered(("code", "meaning"), rows)
    record = getattr(messages, name, None) or getattr(events, name)
    fields = [(field, spec) for field, spec in record.FIELDS.items() if field not in without]
    if hasattr(messages, name):
        return rendered(
            ("field", "type", "default", "meaning"),
            [(f"`{f}`", type_of(s.kind), default_of(s), s.doc) for f, s in fields],
        )
    types = [type_of(s.kind) + (", optional" if s.default is None else "") for _, s in fields]
    return rendered(
        ("field", "type", "meaning"),
        [(f"`{f}`", kind, s.doc) for (f, s), kind in zip(fields, types, strict=True)],
    )


def rendered(head: tuple[str, ...], rows: Sequence[tuple[str, ...]]) -> str:
    """Return rows as a Markdown table; a column that is empty in every row is left out."""
    used = [number for number in range(len(head)) if any(row[number] for row in rows)]
    lines = [[head[number] for number in used], ["---"] * len(used)]
    lines += [[row[number].replace("|", "\\|") for number in used] for row in rows]
    return "".join(f"| {' | '.join(line)} |\n" for line in lines)


def default_of(spec: records.Field) -> str:
    """Return a field's default as JSON; "required" for one that has none."""
    if spec.default is records.REQUIRED:
        return "required"
    if spec.default is None or isinstance(spec.default, records.Record):
        return ""
    value = spec.default.value if isinstance(spec.default, Enum) else spec.default
    return f"`{json.dumps(value)}`"


def type_of(kind: records.Kind) -> str:
    """Return what a value has to be, for people."""
    return next(describe(kind) for of, describe in TYPES if isinstance(kind, of))


def integer(kind: records.Integer) -> str:
    """Return an integer's bounds; large ones, a power of two less one, as such."""
    if kind.maximum is None:
        return f"integer ≥ {kind.minimum}"
    power = (kind.maximum + 1).bit_length() - 1
    is_power = kind.maximum > 1 << 32 and kind.maximum + 1 == 1 << power
    largest = f"2{str(power).translate(SUPERSCRIPTS)}-1" if is_power else kind.maximum
    return f"integer, {kind.minimum} to {largest}"


def choice(kind: records.Choice) -> str:
    """Return the words of a set, or a link to where they are listed."""
    return LINKS.get(kind.words.__name__) or either(f'`"{word.value}"`' for word in kind.words)


def either(words: Iterable[str]) -> str:
    """Return words as "a, b or c"."""
    return " or ".join(", ".join(words).rsplit(", ", 1))


TYPES: list[tuple[type[records.Kind], Callable[[Any], str]]] = [
    (records.Boolean, lambda _: "boolean"),
    (records.Integer, integer),
    (records.OneOf, lambda kind: either(map(str, kind.values))),
    (records.Path, lambda _: "[path](#paths)"),
    (records.String, lambda kind: "string, not empty" if kind.least else "string"),
    (records.Digest, lambda _: "hash"),
    (records.Choice, choice),
    (records.Array, lambda kind: f"array of {PLURALS[type(kind.item)]}"),
    (records.Dictionary, lambda _: "object of strings"),
    (records.Nested, lambda kind: f"[object](#{kind.record.__name__.lower()})"),
    (records.Nullable, lambda kind: f"{type_of(kind.kind)}, or `null`"),
]
"""How each kind is described; the first that fits counts."""


def meanings(name: str) -> Iterator[tuple[str, str]]:
    """Yield each code of a set, and the text that stands below it in the source."""
    source = ast.parse(Path(str(errors.__file__)).read_text())
    found = next(n for n in source.body if isinstance(n, ast.ClassDef) and n.name == name)
    for member, text in itertools.zip_longest(found.body, found.body[1:]):
        if isinstance(member, ast.Assign) and isinstance(member.value, ast.Constant):
            meaning = ast.literal_eval(text.value) if isinstance(text, ast.Expr) else ""
            yield str(member.value.value), " ".join(meaning.split())


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
