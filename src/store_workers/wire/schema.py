"""The JSON Schema (draft 2020-12) of messages and events, made from their declarations."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from store_workers.wire.events import EVENTS, FileUploaded
from store_workers.wire.messages import (
    AUTH_FORMS,
    CONTROLS,
    MESSAGES,
    RANGE_GOES_WITHOUT,
    Auth,
    DownloadStart,
    Range,
    Settings,
    Tls,
)
from store_workers.wire.records import REQUIRED, Kind, Record

if TYPE_CHECKING:
    from enum import Enum

DIALECT = "https://json-schema.org/draft/2020-12/schema"
IDENTIFIER = "urn:store-workers:wire:1"


def schema() -> dict[str, Any]:
    """Return one schema for every line of both directions, with each message and event in `$defs`.

    Messages are closed, since the worker refuses unknown fields. Events are open, since readers
    ignore unknown fields, so that later versions can add some.
    """
    definitions = {record.__name__: _settings(record) for record in (Auth, Range, Settings, Tls)}
    definitions["Auth"]["oneOf"] = [_exactly(form) for form in AUTH_FORMS]
    # A key requires its certificate.
    definitions["Tls"]["dependentRequired"] = {"key_file": ["cert_file"]}
    lines: dict[Any, type[Record]] = {**CONTROLS, **MESSAGES}
    for word, message in lines.items():
        definitions[message.__name__] = _line(message, word, closed=True)
        if "hashes" in message.FIELDS:
            definitions[message.__name__]["oneOf"] = _one_of("hashes", "manifest")
        if "command" in message.FIELDS:
            definitions[message.__name__]["oneOf"] = _one_of("path", "command")
    definitions[DownloadStart.__name__]["dependentSchemas"] = {
        "range": {
            "required": ["manifest"],
            "properties": {**dict.fromkeys(RANGE_GOES_WITHOUT, False), "resume": {"const": False}},
        }
    }
    for event in EVENTS:
        definitions[event.__name__] = _line(event, event.type, closed=False)
    definitions[FileUploaded.__name__]["oneOf"] = _one_of("hashes", "manifest")
    definitions[FileUploaded.__name__]["anyOf"] = _one_of("path", "command")
    messages = [message.__name__ for message in lines.values()]
    events = [event.__name__ for event in EVENTS]
    return {
        "$schema": DIALECT,
        "$id": IDENTIFIER,
        "title": "store-workers wire contract, version 1",
        "$defs": {
            **definitions,
            "Message": {"oneOf": [_reference(name) for name in messages]},
            "Event": {"anyOf": [_reference(name) for name in events]},
        },
        "anyOf": [_reference("Message"), _reference("Event")],
    }


def _exactly(names: frozenset[str]) -> dict[str, Any]:
    """Return the schema of an object with exactly these fields."""
    return {"required": sorted(names), "propertyNames": {"enum": sorted(names)}}


def _one_of(*names: str) -> list[dict[str, Any]]:
    """Return the schema of an object with exactly one of these fields."""
    return [{"required": [name]} for name in names]


def _settings(record: type[Record]) -> dict[str, Any]:
    return {**_object(record), "additionalProperties": False}


def _line(record: type[Record], word: Enum, *, closed: bool) -> dict[str, Any]:
    line = _object(record)
    kind = {"const": word.value, "description": "what this line is"}
    properties = {**line["properties"], "type": kind}
    if not closed:
        properties["id"] = {"type": "string", "description": "the message's id"}
    line["properties"] = properties
    line["required"] = ["type", *(name for name in line["required"] if name != "type")]
    if closed:
        line["additionalProperties"] = False
    return line


def _object(record: type[Record]) -> dict[str, Any]:
    return {
        "type": "object",
        "description": (record.__doc__ or "").strip().splitlines()[0],
        "properties": {
            name: _property(spec.kind, spec.default, spec.doc)
            for name, spec in record.FIELDS.items()
        },
        "required": [name for name, spec in record.FIELDS.items() if spec.default is REQUIRED],
    }


def _property(kind: Kind, default: Any, doc: str) -> dict[str, Any]:
    described = {**kind.schema(), "description": doc}
    if default is not REQUIRED and isinstance(default, (bool, int, str)):
        described["default"] = default
    return described


def _reference(name: str) -> dict[str, str]:
    return {"$ref": f"#/$defs/{name}"}
