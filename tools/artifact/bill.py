"""Say what is inside: a CycloneDX bill of materials, and one text with all licences."""

from __future__ import annotations

import email.parser
import json
import uuid
from typing import TYPE_CHECKING, Any

from .failure import StepFailed
from .wheels import sha256

if TYPE_CHECKING:
    from email.message import Message
    from pathlib import Path

    from .interpreters import Interpreter
    from .tree import Tree
    from .wheels import Pin

STEP = "bill of materials"
NAME = "store-workers"
# In SPDX's words, for those whose metadata says it in words of their own.
LICENCES = {
    "3-clause BSD License": "BSD-3-Clause",
    "Apache-2.0": "Apache-2.0",
    "Apache License 2.0": "Apache-2.0",
    "BSD-3-Clause": "BSD-3-Clause",
    "Dual License": "Apache-2.0 OR BSD-3-Clause",
    "MIT": "MIT",
    "MPL-2.0 AND MIT": "MPL-2.0 AND MIT",
    "PSFL": "PSF-2.0",
}


def bill_of_materials(
    tree: Tree,
    version: str,
    digest: str,
    wheels: list[Path],
    tools: list[Pin],
    interpreters: list[Interpreter],
) -> str:
    """Return the bill as JSON: the artifact, what is in it, and what it was made with.

    Nothing in it changes with time or place: the same artifact has the same bill.
    """
    bill = {
        "bomFormat": "CycloneDX",
        "specVersion": "1.5",
        "serialNumber": f"urn:uuid:{uuid.uuid5(uuid.NAMESPACE_OID, digest)}",
        "version": 1,
        "metadata": {
            "component": {
                "type": "application",
                "bom-ref": NAME,
                "name": NAME,
                "version": version,
                "licenses": [{"expression": "MIT"}],
                "hashes": [hash_of(digest)],
            },
            "tools": {
                "components": [
                    {"type": "library", "name": each.name, "version": each.version}
                    for each in tools
                ]
            },
            "properties": [
                {"name": f"{NAME}:compiled-by", "value": "CPython {}.{}.{}".format(*each.release)}
                for each in interpreters
            ],
        },
        "components": [component(message, wheels) for message in distributions(tree)],
        "dependencies": [
            {"ref": NAME, "dependsOn": sorted(map(reference, distributions(tree)))},
        ],
    }
    return json.dumps(bill, indent=2) + "\n"


def component(distribution: Message, wheels: list[Path]) -> dict[str, Any]:
    """Return one bundled distribution, with the file, or files, that it was taken from."""
    name, version = distribution["Name"], distribution["Version"]
    prefix = f"{name.replace('-', '_').lower()}-{version}-"
    taken = sorted(each for each in wheels if each.name.lower().startswith(prefix))
    found: dict[str, Any] = {
        "type": "library",
        "bom-ref": reference(distribution),
        "name": name,
        "version": version,
        "licenses": [{"expression": licence(distribution)}],
        "purl": reference(distribution),
    }
    if len(taken) == 1:
        return {**found, "hashes": [hash_of(sha256(taken[0]))]}
    files = [
        {"type": "file", "name": each.name, "hashes": [hash_of(sha256(each))]} for each in taken
    ]
    return {**found, "components": files}


def distributions(tree: Tree) -> list[Message]:
    """Return the metadata of everything bundled."""
    parser = email.parser.BytesHeaderParser()
    return [parser.parsebytes(content) for content in tree.metadata().values()]


def reference(distribution: Message) -> str:
    """Return the package URL of a distribution."""
    return f"pkg:pypi/{distribution['Name'].lower()}@{distribution['Version']}"


def licence(distribution: Message) -> str:
    """Return a distribution's licence as an SPDX expression.

    Raises:
        StepFailed: its metadata does not say it in known words.
    """
    stated = distribution["License-Expression"]
    if stated:
        return str(stated)
    words = str(distribution["License"])
    if words not in LICENCES:
        raise StepFailed(STEP, f"{distribution['Name']}: unknown licence {words!r}")
    return LICENCES[words]


def hash_of(digest: str) -> dict[str, str]:
    """Return a SHA-256 in CycloneDX's form."""
    return {"alg": "SHA-256", "content": digest}


def licence_text(tree: Tree, own: bytes) -> bytes:
    """Return the texts of all licences, the project's own first, each under a line that names it.

    Raises:
        StepFailed: something bundled came without its licence.
    """
    texts = tree.licences()
    for folder in tree.metadata():
        if not any(path.startswith(folder + "/") for path in texts):
            raise StepFailed(STEP, f"{folder} has no licence file")
    sections = [f"== {NAME} ==\n\n".encode() + own]
    sections += [f"== {path} ==\n\n".encode() + text for path, text in texts.items()]
    return b"\n\n".join(section.rstrip() for section in sections) + b"\n"
