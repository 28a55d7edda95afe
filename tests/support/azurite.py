"""Azurite, Azure's own emulator of its blob storage, from npm: reached through a SAS.

`.ci/run` installs it into build/azurite, by the pins in tools/requirements/azurite; where it is
not there the tests are skipped. It keeps everything in memory.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import http.client
import shutil
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import quote

import pytest

from tests.support.processes import HOST, Server, Started, serving, start

if TYPE_CHECKING:
    import contextlib

ACCOUNT = "devstoreaccount1"
VERSION = "2021-12-02"
FOLDER = Path(__file__).resolve().parents[2] / "build" / "azurite"


class Azurite(Server):
    """A running Azurite with one container; use it in a ``with`` block."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        folder.mkdir(parents=True, exist_ok=True)
        self.key = base64.b64encode(b"a key of the tests' own" * 2).decode()
        self._started: Started | None = None

    def start(self) -> None:
        """Start on a free port, and make the container."""

        def run(port: int) -> contextlib.AbstractContextManager[int]:
            options = ["--blobHost", HOST, "--blobPort", str(port), "--inMemoryPersistence"]
            options += ["--silent", "--skipApiVersionCheck", "--disableTelemetry"]
            command = ["env", f"AZURITE_ACCOUNTS={ACCOUNT}:{self.key}", *program(), *options]
            return serving(command, port, self.folder / "output.log", timeout=60)

        self._started = start(run)
        connection = http.client.HTTPConnection(HOST, self._started.port, timeout=30)
        path = f"/{ACCOUNT}/chunks?restype=container&{self.sas()}"
        connection.request("PUT", path, headers={"Content-Length": "0"})
        assert connection.getresponse().status == 201
        connection.close()

    def stop(self) -> None:
        """Stop, without keeping the stored data."""
        if self._started:
            self._started.stop()
            self._started = None

    def store(self, sas: str | None = None) -> str:
        """Return the store's URL, the SAS being its query."""
        assert self._started
        place = f"http://{HOST}:{self._started.port}/{ACCOUNT}/chunks/some/prefix"
        return f"{place}?{self.sas() if sas is None else sas}"

    def sas(self, rights: str = "rwdlac") -> str:
        """Return a shared access signature of the account, as a query."""
        ends = "2099-01-01T00:00:00Z"
        lines = (ACCOUNT, rights, "b", "sco", "", ends, "", "http,https", VERSION, "", "")
        text = "\n".join(lines).encode()
        digest = hmac.digest(base64.b64decode(self.key), text, hashlib.sha256)
        signature = quote(base64.b64encode(digest), safe="")
        return (
            f"sv={VERSION}&ss=b&srt=sco&sp={rights}&se={quote(ends, safe='')}"
            f"&spr=http,https&sig={signature}"
        )


def program() -> list[str]:
    """Return the command that is Azurite, or skip the test."""
    script = FOLDER / "node_modules" / "azurite" / "dist" / "src" / "blob" / "main.js"
    node = shutil.which("node")
    if node is None or not script.exists():
        pytest.skip("Azurite is not installed")
    return [node, str(script)]
