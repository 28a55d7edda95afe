"""Validates every line of every run against `docs/schema.json`."""

from __future__ import annotations

import functools
import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

from jsonschema import Draft202012Validator  # type: ignore[import-untyped]

if TYPE_CHECKING:
    from tests.support.contract import Event

DOCS = Path(__file__).resolve().parent.parent.parent / "docs"


@functools.cache
def committed() -> dict[str, Any]:
    """Return the schema as it is published."""
    found: dict[str, Any] = json.loads((DOCS / "schema.json").read_text(encoding="utf-8"))
    return found


@functools.cache
def validator(definition: str) -> Draft202012Validator:
    """Return what checks a line against one definition."""
    schema = committed()
    return Draft202012Validator({"$defs": schema["$defs"], "$ref": f"#/$defs/{definition}"})


@functools.cache
def definitions_of(kind: str) -> tuple[str, ...]:
    """Return the names of the events with a ``type``: PROGRESS has two."""
    schema = committed()
    names = [choice["$ref"].rpartition("/")[2] for choice in schema["$defs"]["Event"]["anyOf"]]
    types = {name: schema["$defs"][name]["properties"]["type"]["const"] for name in names}
    return tuple(name for name in names if types[name] == kind)


def check_event(event: Event) -> None:
    """Assert that an event is one of the schema's."""
    names = definitions_of(str(event.get("type")))
    assert names, f"the schema knows no such event: {event}"
    errors = [list(validator(name).iter_errors(event)) for name in names]
    assert [] in errors, f"not as the schema says: {event}: {errors}"


def check_accepted(message: object) -> None:
    """Assert that a message that the worker took is one that the schema allows."""
    if isinstance(message, dict):
        validator("Message").validate(message)
