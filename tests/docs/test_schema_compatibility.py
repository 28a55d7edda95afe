"""Owners written for the last release still work: additions pass, anything else is told."""

from __future__ import annotations

import copy
import json
import re
from typing import TYPE_CHECKING, Any

import pytest

from store_workers import __version__
from store_workers.wire.schema import schema
from tests.support.compatibility import breaks
from tests.support.schema import DOCS, committed

if TYPE_CHECKING:
    from collections.abc import Callable

Schema = dict[str, Any]


def released() -> dict[tuple[int, int], Schema]:
    """Return the schema of each release by its version, as (major, minor)."""
    found = {}
    for path in DOCS.glob("schema-*.json"):
        match = re.fullmatch(r"schema-(\d+)\.(\d+)\.json", path.name)
        assert match, path
        found[int(match[1]), int(match[2])] = json.loads(path.read_text(encoding="utf-8"))
    return found


def test_committed_schema_is_current() -> None:
    assert committed() == schema(), "write docs/schema.json anew: the worker's --schema prints it"


def test_nothing_breaks_owners_of_any_release() -> None:
    assert released()
    for version, old in released().items():
        assert breaks(old, schema()) == [], f"breaks owners written for {version}"


def test_this_version_has_its_schema_kept() -> None:
    major, minor = __version__.split(".")[:2]
    assert (int(major), int(minor)) in released()


def remove_field(new: Schema) -> None:
    del new["$defs"]["FileUploaded"]["properties"]["hashes"]


def make_uncertain(new: Schema) -> None:
    new["$defs"]["ErrorEvent"]["required"].remove("retryable")


def change_type(new: Schema) -> None:
    new["$defs"]["ChunkStored"]["properties"]["size"]["type"] = "string"


def add_code(new: Schema) -> None:
    new["$defs"]["ErrorEvent"]["properties"]["code"]["enum"].append("NEW_CODE")


def rename_event(new: Schema) -> None:
    new["$defs"]["ChunkRetry"]["properties"]["type"]["const"] = "RETRY"


def drop_event(new: Schema) -> None:
    del new["$defs"]["ChunkRetry"]


def allow_null(new: Schema) -> None:
    size = new["$defs"]["FileUploaded"]["properties"]["size"]
    new["$defs"]["FileUploaded"]["properties"]["size"] = {"anyOf": [size, {"type": "null"}]}


def require_field(new: Schema) -> None:
    new["$defs"]["UploadStart"]["required"].append("store")


def tighten(new: Schema) -> None:
    new["$defs"]["Settings"]["properties"]["concurrency"]["maximum"] = 64


def change_default(new: Schema) -> None:
    new["$defs"]["Settings"]["properties"]["compression_level"]["default"] = 9


def drop_setting(new: Schema) -> None:
    del new["$defs"]["Settings"]["properties"]["timeout_ms"]


def drop_form(new: Schema) -> None:
    new["$defs"]["Auth"]["oneOf"].pop(0)


def tighten_text(new: Schema) -> None:
    new["$defs"]["UploadStart"]["properties"]["id"]["minLength"] = 1


BREAKING = [
    remove_field,
    make_uncertain,
    change_type,
    add_code,
    rename_event,
    drop_event,
    allow_null,
    require_field,
    tighten,
    change_default,
    drop_setting,
    drop_form,
    tighten_text,
]


@pytest.mark.parametrize("change", BREAKING, ids=lambda change: change.__name__)
def test_breaking_changes_are_found(change: Callable[[Schema], None]) -> None:
    new = copy.deepcopy(schema())
    change(new)
    assert len(breaks(schema(), new)) >= 1


def add_event(new: Schema) -> None:
    new["$defs"]["Later"] = {
        "type": "object",
        "properties": {"type": {"const": "LATER"}},
        "required": ["type"],
    }


def add_event_field(new: Schema) -> None:
    new["$defs"]["ChunkStored"]["properties"]["later"] = {"type": "integer"}
    new["$defs"]["ChunkStored"]["required"].append("later")


def add_setting(new: Schema) -> None:
    new["$defs"]["Settings"]["properties"]["later"] = {"type": "integer", "default": 0}


def widen(new: Schema) -> None:
    new["$defs"]["Settings"]["properties"]["concurrency"]["maximum"] = 512


def narrow_event(new: Schema) -> None:
    new["$defs"]["ChunkStored"]["properties"]["size"]["maximum"] = 1024


ADDITIONS = [add_event, add_event_field, add_setting, widen, narrow_event]


@pytest.mark.parametrize("change", ADDITIONS, ids=lambda change: change.__name__)
def test_additions_pass(change: Callable[[Schema], None]) -> None:
    new = copy.deepcopy(schema())
    change(new)
    assert breaks(schema(), new) == []
