"""What the far benchmark runs: SeaweedFS, lines with a delay, and the peers."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import socket
import subprocess
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator

BUCKET = "chunks"
KEYS = {"AWS_ACCESS_KEY_ID": "AKIDEXAMPLE", "AWS_SECRET_ACCESS_KEY": "secret-of-the-benchmark"}
OF_THE_WORKER = {**KEYS, "AWS_REGION": "us-east-1"}
ENVIRON = {**os.environ, **OF_THE_WORKER}
LINE = Path(__file__).resolve().parent / "line"


@contextlib.contextmanager
def process(command: list[str], log: Path) -> Iterator[subprocess.Popen[str]]:
    """A process that runs as long as the block does."""
    with log.open("w") as output:
        running = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=output, text=True)
        try:
            yield running
        finally:
            running.kill()
            running.communicate()  # waits, and closes the pipe


@contextlib.contextmanager
def seaweedfs(folder: Path) -> Iterator[str]:
    """SeaweedFS with its S3 gateway and an empty bucket; yields the gateway's address."""
    identity = {
        "name": "benchmark",
        "credentials": [
            {"accessKey": KEYS["AWS_ACCESS_KEY_ID"], "secretKey": KEYS["AWS_SECRET_ACCESS_KEY"]}
        ],
        "actions": ["Admin", "Read", "Write", "List", "Tagging"],
    }
    folder.mkdir()
    config = folder / "s3.json"
    config.write_text(json.dumps({"identities": [identity]}))
    ports = {name: free_port() for name in ("master", "volume", "filer", "s3")}
    command = [
        *(program("weed"), "server", f"-dir={folder}", "-s3", f"-s3.config={config}"),
        *("-ip=127.0.0.1", "-ip.bind=127.0.0.1", "-master.volumeSizeLimitMB=1024"),
        *("-volume.max=30", "-s3.port.iceberg=0", "-s3.port.lance=0"),
        *(f"-{name}.port={port}" for name, port in ports.items()),
    ]
    address = f"127.0.0.1:{ports['s3']}"
    with process(command, folder / "log"):
        make_bucket(f"http://{address}")
        yield address


def make_bucket(endpoint: str) -> None:
    """Wait until the gateway takes a bucket."""
    command = [program("s5cmd"), "--endpoint-url", endpoint, "mb", f"s3://{BUCKET}"]
    for _ in range(120):
        if subprocess.run(command, env=ENVIRON, capture_output=True, check=False).returncode == 0:
            return
        time.sleep(0.5)
    raise SystemExit("SeaweedFS does not come up")


@contextlib.contextmanager
def line(folder: Path, server: str, milliseconds: float, megabits: float) -> Iterator[str]:
    """A line to a server, with a round trip and a rate; yields the URL at its near end."""
    binary = folder / "line"
    if not binary.exists():
        command = ["go", "build", "-o", str(binary), "main.go"]
        subprocess.run(command, cwd=LINE, check=True)
    options = ["-to", server, "-delay", f"{milliseconds / 2}ms", "-rate", str(megabits * 1e6 / 8)]
    with process([str(binary), *options], folder / "line.log") as running:
        assert running.stdout is not None
        yield f"http://{running.stdout.readline().strip()}"


def copy_by_peer(
    peer: str, endpoint: str, source: Path, name: str, back: Path
) -> tuple[float, float]:
    """Copy a file to S3 and back with a program's defaults: the seconds of both."""
    command = {"s5cmd": s5cmd, "rclone": rclone}[peer]
    up = timed(command(endpoint, (str(source), name), up=True))
    return up, timed(command(endpoint, (str(back), name), up=False))


def s5cmd(endpoint: str, ends: tuple[str, str], *, up: bool) -> list[str]:
    """The command that copies between a path and an object's name."""
    both = (ends[0], f"s3://{BUCKET}/{ends[1]}")
    return [program("s5cmd"), "--endpoint-url", endpoint, "cp", *(both if up else both[::-1])]


def rclone(endpoint: str, ends: tuple[str, str], *, up: bool) -> list[str]:
    """The same by rclone."""
    both = (ends[0], f":s3:{BUCKET}/{ends[1]}")
    return [
        *(program("rclone"), "copyto", *(both if up else both[::-1]), "--config", os.devnull),
        *rclone_options(endpoint),
    ]


def rclone_options(endpoint: str) -> list[str]:
    """What rclone has to know of the gateway."""
    return [
        *("--s3-provider", "SeaweedFS", "--s3-endpoint", endpoint, "--s3-no-check-bucket"),
        *("--s3-access-key-id", KEYS["AWS_ACCESS_KEY_ID"]),
        *("--s3-secret-access-key", KEYS["AWS_SECRET_ACCESS_KEY"]),
    ]


def timed(command: list[str]) -> float:
    """The seconds of a process from its start to its end."""
    began = time.monotonic()
    subprocess.run(command, env=ENVIRON, check=True, stdout=subprocess.DEVNULL)
    return time.monotonic() - began


def program(name: str) -> str:
    """The path of a program, of this environment's before the system's."""
    beside = Path(sys.executable).parent / name
    found = str(beside) if beside.exists() else shutil.which(name)
    if found is None:
        raise SystemExit(f"{name} is not installed")
    return found


def free_port() -> int:
    """A port of this host whose ten thousandth after it is free, too (SeaweedFS's gRPC)."""
    while True:
        with socket.socket() as first:
            first.bind(("127.0.0.1", 0))
            port: int = first.getsockname()[1]
        if port < 55000:
            with contextlib.suppress(OSError), socket.socket() as second:
                second.bind(("127.0.0.1", port + 10000))
                return port
