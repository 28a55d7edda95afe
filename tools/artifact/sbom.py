"""Say what is inside: a CycloneDX SBOM."""

from __future__ import annotations

import email.parser
import hashlib
import json
import uuid
from typing import TYPE_CHECKING, Any

from .contents import NAME
from .environment import StepFailed

if TYPE_CHECKING:
    from email.message import Message
    from pathlib import Path

    from .compiled import Interpreter

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

    Raises:
        StepFailed: something came without its licence, or with one in unknown words.
    """
    components = [component(each, wheels) for each in distributions(files)]
    own = {"type": "application", "bom-ref": NAME, "name": NAME, "version": version}
    made_with = [{"type": "library", "name": name, "version": number} for name, number in tools]
    return {
        "bomFormat": "CycloneDX",
        "specVersion": "1.5",
        "version": 1,
        "metadata": {
            "component": {**own, "licenses": [{"expression": "MIT"}]},
            "tools": {"components": made_with},
            "properties": [
                {"name": f"{NAME}:compiled-by", "value": "CPython {}.{}.{}".format(*each.release)}
                for each in interpreters
            ],
        },
        "components": components,
        "dependencies": [
            {"ref": NAME, "dependsOn": sorted(each["bom-ref"] for each in components)}
        ],
    }


def text(sbom: dict[str, Any], digest: str | None = None) -> bytes:
    """Return the SBOM as JSON; that beside the artifact has the artifact's SHA-256."""
    if digest is not None:
        serial = f"urn:uuid:{uuid.uuid5(uuid.NAMESPACE_OID, digest)}"
        own = {**sbom["metadata"]["component"], "hashes": [hash_of(digest)]}
        sbom = {**sbom, "serialNumber": serial, "metadata": {**sbom["metadata"], "component": own}}
    return (json.dumps(sbom, indent=2) + "\n").encode()


def component(distribution: Message, wheels: list[Path]) -> dict[str, Any]:
    """Return one bundled distribution, with the file, or files, that it was taken from."""
    name, version = distribution["Name"], distribution["Version"]
    url = f"pkg:pypi/{name.lower()}@{version}"
    prefix = f"{name.replace('-', '_').lower()}-{version}-"
    files = [
        {
            "type": "file",
            "name": wheel,
            "hashes": [hash_of(hashlib.sha256(path.read_bytes()).hexdigest())],
        }
        for wheel, path in {path.name: path for path in sorted(wheels)}.items()
        if wheel.lower().startswith(prefix)
    ]
    return {
        "type": "library",
        "bom-ref": url,
        "name": name,
        "version": version,
        "licenses": [{"expression": licence(distribution)}],
        "purl": url,
        **({"hashes": files[0]["hashes"]} if len(files) == 1 else {"components": files}),
    }


def distributions(files: dict[str, bytes]) -> list[Message]:
    """Return the metadata of everything bundled; each must have come with its licence."""
    folders = [name.rpartition("/")[0] for name in sorted(files) if name.endswith("/METADATA")]
    for folder in folders:
        words = ("license", "licence", "copying")
        names = [name[len(folder) :].lower() for name in files if name.startswith(f"{folder}/")]
        if not any(word in name for name in names for word in words):
            raise StepFailed("SBOM", f"{folder} has no licence file")
    parser = email.parser.BytesHeaderParser()
    return [parser.parsebytes(files[f"{folder}/METADATA"]) for folder in folders]


def licence(distribution: Message) -> str:
    """Return a distribution's licence as an SPDX expression."""
    stated = distribution["License-Expression"] or LICENCES.get(str(distribution["License"]))
    if not stated:
        raise StepFailed("SBOM", f"{distribution['Name']}: its licence is in unknown words")
    return str(stated)


def hash_of(digest: str) -> dict[str, str]:
    """Return a SHA-256 in CycloneDX's form."""
    return {"alg": "SHA-256", "content": digest}
