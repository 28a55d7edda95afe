"""`--help settings`: every setting as an option, from the declarations of the wire."""

from __future__ import annotations

import re

from store_workers.people.command_line import TLS_FILES, default_of, option, size
from store_workers.people.page import wrapped
from store_workers.wire.messages import Settings, Tls
from store_workers.wire.records import Boolean, Choice, Integer, OneOf

TYPE_CHECKING = False
if TYPE_CHECKING:
    from store_workers.wire.records import Field

HEAD = """\
Options of upload, download and verify. In a message, they are the fields of
"settings": --max-attempts 3 is "settings": {"max_attempts": 3}. In a number,
K, M, G and T stand for powers of 1024: --rate-limit 10M."""

TLS_HEAD = 'PEM files for https:// and s3:// stores. In a message, fields of "tls":'


def settings_text() -> str:
    """Return all settings with their ranges, defaults and meanings, in 80 columns."""
    settings = [line for name, spec in Settings.FIELDS.items() for line in entry(name, spec)]
    files = [line for name in TLS_FILES for line in entry(name, Tls.FIELDS[name])]
    return "\n".join([HEAD, *settings, "", TLS_HEAD, *files])


def entry(name: str, spec: Field) -> list[str]:
    """Return the lines on one option: how it is written, then what it means."""
    head = f"{option(name)}{operand(spec)}"
    if isinstance(spec.kind, Boolean):
        head = f"{head}, {option(name, on=False)} (default {option(name, on=spec.default)})"
    elif spec.default is not None:
        head = f"{head} (default {default_of(spec)})"
    meaning = spec.doc.replace("`false`", option(name, on=False))
    meaning = re.sub(r"`(\w+)`", lambda found: _name(found[1]), meaning).replace("`", "")
    return ["", f"  {head}", *wrapped(meaning, "      ", "      ")]


def operand(spec: Field) -> str:
    """Return what follows the option."""
    kind = spec.kind
    if isinstance(kind, Boolean):
        return ""
    if isinstance(kind, Integer):
        return f" {kind.minimum}..{kind.maximum}"
    if isinstance(kind, OneOf):
        return " " + "|".join(map(size, kind.values))
    words = [word.value for word in kind.words] if isinstance(kind, Choice) else ["FILE"]
    return " " + "|".join(words)


def _name(word: str) -> str:
    """Return a word of a description, as an option if it names a field."""
    return option(word) if word in Settings.FIELDS or word in Tls.FIELDS else word
