"""Say what is inside: a CycloneDX SBOM."""

from __future__ import annotations

import hashlib
import json
import uuid
from importlib.metadata import Distribution, distributions
from itertools import groupby
from typing import TYPE_CHECKING, Any

import store_workers

from . import StepFailed

if TYPE_CHECKING:
    from pathlib import Path

    from .compiled import Interpreter

NAME = "store-workers"
# In SPDX's words, for those whose metadata has no ``License-Expression``.
LICENCES = {
    "Apache-2.0": "Apache-2.0",
    "Dual License": "Apache-2.0 OR BSD-3-Clause",
    "MIT": "MIT",
    "MPL-2.0 AND MIT": "MPL-2.0 AND MIT",
}


def document(
    wheels: list[Path], tools: list[Path], interpreters: list[Interpreter]
) -> dict[str, Any]:
    """Return the SBOM: the artifact, what is in it, and what it was made with.

    Nothing in it changes with time or place: the same artifact has the same SBOM.

    Raises:
        StepFailed: something came without its licence, or with one in unknown words.
    """
    unique = sorted({path.name: path for path in wheels}.values(), key=lambda path: path.name)
    releases = groupby(unique, key=lambda path: path.name.split("-")[:2])
    components = [component(list(files)) for _, files in releases]
    own = {
        "type": "application",
        "bom-ref": NAME,
        "name": NAME,
        "version": store_workers.__version__,
        "licenses": [{"expression": "MIT"}],
    }
    made_with = [
        {"type": "library", "name": tool.name, "version": tool.version}
        for tool in map(distribution, tools)
    ]
    compiled_by = ["CPython {}.{}.{}".format(*each.release) for each in interpreters]
    return {
        "bomFormat": "CycloneDX",
        "specVersion": "1.5",
        "version": 1,
        "metadata": {
            "component": own,
            "tools": {"components": made_with},
            "properties": [{"name": f"{NAME}:compiled-by", "value": each} for each in compiled_by],
        },
        "components": components,
        "dependencies": [{"ref": NAME, "dependsOn": [each["bom-ref"] for each in components]}],
    }


def text(sbom: dict[str, Any], artifact: bytes | None = None) -> bytes:
    """Return the SBOM as JSON; that beside the artifact has the artifact's SHA-256."""
    if artifact is not None:
        own = {**sbom["metadata"]["component"], "hashes": hashes(artifact)}
        serial = f"urn:uuid:{uuid.uuid5(uuid.NAMESPACE_OID, own['hashes'][0]['content'])}"
        sbom = {**sbom, "serialNumber": serial, "metadata": {**sbom["metadata"], "component": own}}
    return (json.dumps(sbom, indent=2) + "\n").encode()


def component(wheels: list[Path]) -> dict[str, Any]:
    """Return one bundled distribution, with the wheels that it was taken from."""
    bundled = distribution(wheels[0])
    url = f"pkg:pypi/{bundled.name.lower().replace('_', '-')}@{bundled.version}"
    files = [
        {"type": "file", "name": wheel.name, "hashes": hashes(wheel.read_bytes())}
        for wheel in wheels
    ]
    return {
        "type": "library",
        "bom-ref": url,
        "name": bundled.name,
        "version": bundled.version,
        "licenses": [{"expression": licence(bundled)}],
        "purl": url,
        **({"hashes": files[0]["hashes"]} if len(files) == 1 else {"components": files}),
    }


def distribution(wheel: Path) -> Distribution:
    """Return what is told of a wheel by the metadata in it."""
    (found,) = distributions(path=[str(wheel)])
    return found


def licence(bundled: Distribution) -> str:
    """Return a distribution's licence as an SPDX expression; its text must be with it."""
    said = bundled.metadata
    if "License-File" not in said:
        raise StepFailed("SBOM", f"{bundled.name} has no licence file")
    if "License-Expression" in said:
        return said["License-Expression"]
    if "License" in said and said["License"] in LICENCES:
        return LICENCES[said["License"]]
    raise StepFailed("SBOM", f"{bundled.name}: its licence is in unknown words")


def hashes(content: bytes) -> list[dict[str, str]]:
    """Return a file's SHA-256 in CycloneDX's form."""
    return [{"alg": "SHA-256", "content": hashlib.sha256(content).hexdigest()}]
