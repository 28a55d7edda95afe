"""Whether a new schema of the wire still serves what was written for an old one.

An owner written for the old one sends old messages, which must still be taken, and reads events
by their old fields, which must still be there and mean what they did. Additions pass: readers
ignore fields and types that they do not know.
"""

from __future__ import annotations

from typing import Any

Schema = dict[str, Any]


def breaks(old: Schema, new: Schema) -> list[str]:
    """Return what would break an owner, one sentence each."""
    found: list[str] = []
    for name, definition in old["$defs"].items():
        if "properties" not in definition:
            continue
        if name not in new["$defs"]:
            found.append(f"{name} is gone")
        elif definition.get("additionalProperties") is False:
            found += breaks_sender(name, definition, new["$defs"][name])
        else:
            found += breaks_reader(name, definition, new["$defs"][name])
    return found


def breaks_sender(name: str, old: Schema, new: Schema) -> list[str]:
    """Return what an object of the old kind, sent to a new worker, would be refused for."""
    found = [
        f"{name}.{field} became required"
        for field in set(new.get("required", [])) - set(old.get("required", []))
    ]
    for field, kind in old["properties"].items():
        if field not in new["properties"]:
            found.append(f"{name}.{field} is gone")
        else:
            found += narrower(f"{name}.{field}", kind, new["properties"][field])
            if kind.get("default") != new["properties"][field].get("default"):
                found.append(f"{name}.{field} has another default")
    for form in old.get("oneOf", []):
        if form not in new.get("oneOf", [form]):
            found.append(f"{name} no longer takes {', '.join(form['required'])}")
    return found


def breaks_reader(name: str, old: Schema, new: Schema) -> list[str]:
    """Return what a reader of the old event would miss in, or not understand of, a new one."""
    found = [
        f"{name}.{field} is no longer certain"
        for field in set(old.get("required", [])) - set(new.get("required", []))
    ]
    for field, kind in old["properties"].items():
        if field not in new["properties"]:
            found.append(f"{name}.{field} is gone")
        else:
            # What is told now has to be within what the reader knows.
            found += narrower(f"{name}.{field}", new["properties"][field], kind)
    return found


def narrower(where: str, wide: Schema, kind: Schema) -> list[str]:
    """Return what the values of ``wide`` have that those of ``kind`` lack."""
    found: list[str] = []
    if types(wide) - types(kind):
        found.append(f"{where} is no longer {', '.join(sorted(types(wide) - types(kind)))}")
    if set(words(wide)) - set(words(kind) or words(wide)):
        found.append(f"{where} differs in {', '.join(sorted(set(words(wide)) - set(words(kind))))}")
    if words(kind) and not words(wide):
        found.append(f"{where} is free text on one side alone")
    for bound, sign in (("minimum", 1), ("minLength", 1), ("minItems", 1), ("maximum", -1)):
        if bound in kind and (bound not in wide or sign * kind[bound] > sign * wide[bound]):
            found.append(f"{where} has a tighter {bound}")
    if kind.get("pattern") not in {None, wide.get("pattern")}:
        found.append(f"{where} has another pattern")
    if kind.get("$ref") != wide.get("$ref"):
        found.append(f"{where} is another object")
    if "items" in kind and "items" in wide:
        found += narrower(f"{where}[]", wide["items"], kind["items"])
    return found


def types(kind: Schema) -> set[str]:
    """Return the JSON types that a field may have."""
    if "anyOf" in kind:
        return {each for choice in kind["anyOf"] for each in types(choice)}
    if "const" in kind:
        return {"string"}
    return {kind["type"]} if "type" in kind else set()


def words(kind: Schema) -> list[str]:
    """Return the closed set of a field's values, empty where it has none."""
    return kind.get("enum") or ([kind["const"]] if "const" in kind else [])
