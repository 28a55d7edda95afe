"""A run imports nothing unnecessary, since imports take most of the time of a short run."""

from __future__ import annotations

import json
import subprocess
from typing import TYPE_CHECKING, Any

from tests.support.worker import ARTIFACT, bare_python, clean_environ, download, run_worker, upload

if TYPE_CHECKING:
    from pathlib import Path

    from tests.support.data import Inputs
    from tests.support.stores import Store

DEAR = {
    "argparse",
    "asyncio",
    "concurrent.futures",
    "dataclasses",
    "inspect",
    "logging",
    "multiprocessing",
    "pathlib",
    "shutil",
    "subprocess",
    "tempfile",
    "tqdm",
    "typing",
    "zipfile",
}
NETWORK = {"ssl", "email", "http", "http.client", "socket", "truststore", "urllib3"}
S3 = {"botocore", "jmespath", "xml"}


def imported(*command: str, stdin: bytes = b"") -> set[str]:
    """Return all modules that a run of the bare interpreter imports."""
    done = subprocess.run(
        [bare_python(), "-X", "importtime", *command],
        input=stdin,
        capture_output=True,
        check=False,
        env=clean_environ(),
        timeout=30,
    )
    assert done.returncode == 0, done
    lines = done.stderr.decode().splitlines()
    return {line.rpartition("|")[2].strip() for line in lines if line.startswith("import time:")}


def imported_for(message: dict[str, Any]) -> set[str]:
    """Return what the artifact imports for a message, beyond what each interpreter does."""
    line = json.dumps(message).encode() + b"\n"
    found = imported(str(ARTIFACT), stdin=line) - imported("-c", "pass")
    assert "store_workers.wire.messages" in found
    return found


def test_directory_needs_no_network(directory: Store, inputs: Inputs, tmp_path: Path) -> None:
    source = inputs.path("4096 bytes")
    up = imported_for(upload(source, directory.url))
    assert sorted(up & (DEAR | NETWORK | S3)) == []
    assert "store_workers.workers.download" not in up

    hashes = run_worker(upload(source, directory.url)).terminal["hashes"]
    down = imported_for(download(tmp_path / "target", directory.url, hashes))
    assert sorted(down & (DEAR | NETWORK | S3)) == []
    assert "store_workers.workers.upload" not in down


def test_http_needs_no_trust_store_and_no_s3(nginx: Store, inputs: Inputs) -> None:
    found = imported_for(upload(inputs.path("4096 bytes"), nginx.url))
    assert "store_workers.stores.http.transport" in found
    unneeded = {"asyncio", "argparse", "multiprocessing", "tqdm", "truststore", "zipfile"}
    unneeded |= {"email", "http", "http.client", "ssl", "urllib3"}
    assert sorted(found & (unneeded | S3)) == []
