"""Say what is inside: a CycloneDX SBOM."""

from __future__ import annotations

import email.parser
import hashlib
import json
import uuid
from typing import TYPE_CHECKING, Any

from .contents import NAME
from .failure import StepFailed

if TYPE_CHECKING:
    from email.message import Message
    from pathlib import Path

    from .interpreters import Interpreter

STEP = "SBOM"
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


def document(
    files: dict[str, bytes],
    version: str,
    wheels: list[Path],
    tools: list[tuple[str, str]],
    interpreters: list[Interpreter],
) -> dict[str, Any]:
    """Return the SBOM: the artifact, what is in it, and what it was made with.

    Nothing in it changes with time or place: the same artifact has the same SBOM.
    """
    bundled = distributions(files)
    return {
        "bomFormat": "CycloneDX",
        "specVersion": "1.5",
        "version": 1,
        "metadata": {
            "component": {
                "type": "application",
                "bom-ref": NAME,
                "name": NAME,
                "version": version,
                "licenses": [{"expression": "MIT"}],
            },
            "tools": {
                "components": [
                    {"type": "library", "name": name, "version": number} for name, number in tools
                ]
            },
            "properties": [
                {"name": f"{NAME}:compiled-by", "value": "CPython {}.{}.{}".format(*each.release)}
                for each in interpreters
            ],
        },
        "components": [component(each, wheels) for each in bundled],
        "dependencies": [{"ref": NAME, "dependsOn": sorted(map(reference, bundled))}],
    }


def text(sbom: dict[str, Any], artifact: bytes | None = None) -> bytes:
    """Return the SBOM as JSON; that beside the artifact has the artifact's hash."""
    if artifact is not None:
        digest = hash_of(artifact)
        serial = f"urn:uuid:{uuid.uuid5(uuid.NAMESPACE_OID, digest['content'])}"
        own = {**sbom["metadata"]["component"], "hashes": [digest]}
        sbom = {**sbom, "serialNumber": serial, "metadata": {**sbom["metadata"], "component": own}}
    return (json.dumps(sbom, indent=2) + "\n").encode()


def component(distribution: Message, wheels: list[Path]) -> dict[str, Any]:
    """Return one bundled distribution, with the file, or files, that it was taken from."""
    name, version = distribution["Name"], distribution["Version"]
    prefix = f"{name.replace('-', '_').lower()}-{version}-"
    taken = {each.name: each for each in sorted(wheels) if each.name.lower().startswith(prefix)}
    files = [
        {"type": "file", "name": each, "hashes": [hash_of(taken[each].read_bytes())]}
        for each in taken
    ]
    return {
        "type": "library",
        "bom-ref": reference(distribution),
        "name": name,
        "version": version,
        "licenses": [{"expression": licence(distribution)}],
        "purl": reference(distribution),
        **({"hashes": files[0]["hashes"]} if len(files) == 1 else {"components": files}),
    }


def distributions(files: dict[str, bytes]) -> list[Message]:
    """Return the metadata of everything bundled.

    Raises:
        StepFailed: something came without its licence.
    """
    folders = [name.rpartition("/")[0] for name in sorted(files) if name.endswith("/METADATA")]
    for folder in folders:
        words = ("license", "licence", "copying")
        names = [name.lower() for name in files if name.startswith(f"{folder}/")]
        if not any(word in name.rpartition("/")[2] for name in names for word in words):
            raise StepFailed(STEP, f"{folder} has no licence file")
    parser = email.parser.BytesHeaderParser()
    return [parser.parsebytes(files[f"{folder}/METADATA"]) for folder in folders]


def reference(distribution: Message) -> str:
    """Return the package URL of a distribution."""
    return f"pkg:pypi/{distribution['Name'].lower()}@{distribution['Version']}"


def licence(distribution: Message) -> str:
    """Return a distribution's licence as an SPDX expression.

    Raises:
        StepFailed: its metadata does not say it in known words.
    """
    stated = distribution["License-Expression"]
    words = str(distribution["License"])
    if not stated and words not in LICENCES:
        raise StepFailed(STEP, f"{distribution['Name']}: unknown licence {words!r}")
    return str(stated or LICENCES[words])


def hash_of(content: bytes) -> dict[str, str]:
    """Return a SHA-256 in CycloneDX's form."""
    return {"alg": "SHA-256", "content": hashlib.sha256(content).hexdigest()}
