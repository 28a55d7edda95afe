"""The commands of docs/stores.md, run in another directory."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sysconfig
from typing import TYPE_CHECKING

import pytest

from tests.docs.documents import ROOT, Block, blocks
from tests.support import nginx, rclone
from tests.support.data import noise
from tests.support.processes import free_port, serving
from tests.support.worker import ARTIFACT, bare_python

if TYPE_CHECKING:
    from pathlib import Path

DOCUMENT = ROOT / "docs" / "stores.md"
SERVERS = ("nginx ", "rclone ")
# An address of nobody, and a command for a cluster: the tests with a real Ceph run its like.
NOT_RUN = ("s3.example.com", "radosgw-admin")
RUN = [block for block in blocks(DOCUMENT, "sh") if not any(word in block.text for word in NOT_RUN)]


def moved(text: str, folder: Path) -> str:
    """Replace the directories and ports of a text by free ones."""
    text = text.replace("/srv", str(folder)).replace("./store-workers.pyz", str(ARTIFACT))
    for port in sorted(set(re.findall(r"127\.0\.0\.1:(80\d\d)", text))):
        text = text.replace(f":{port}", f":{PORTS.setdefault(port, free_port())}")
    return text


PORTS: dict[str, int] = {}


def test_every_block_is_known() -> None:
    assert len(RUN) == 4
    assert len(blocks(DOCUMENT, "sh")) == 4 + len(NOT_RUN)


@pytest.mark.parametrize("block", RUN, ids=lambda block: block.text.split()[0] + str(block.line))
def test_commands(block: Block, tmp_path: Path) -> None:
    tmp_path.chmod(0o755)
    PORTS.clear()
    (tmp_path / "chunks").mkdir()
    (tmp_path / "backup.tar").write_bytes(noise(600_000))
    configuration = moved(blocks(DOCUMENT, "nginx")[0].text, tmp_path)
    if os.getuid() == 0:
        configuration = f"user root;\n{configuration}"  # as the document says
    (tmp_path / "chunks.conf").write_text(configuration)
    *before, last = moved(block.text, tmp_path).strip().splitlines()
    servers = [line for line in before if line.startswith(SERVERS)]
    for line in before:
        if line not in servers:
            subprocess.run(line, shell=True, check=True, cwd=tmp_path)
    if not servers:
        upload(last, tmp_path)
        return
    [command] = [line.split() for line in servers]
    command[0] = nginx.program() if command[0] == "nginx" else rclone.program()
    address = re.search(r"127\.0\.0\.1:(\d+)", last)
    assert address
    with serving(command, int(address[1]), tmp_path / "output.log"):
        upload(last, tmp_path)


def upload(line: str, folder: Path) -> None:
    """Run a line that pipes a message into the worker."""
    places = [sysconfig.get_path("scripts"), os.environ["PATH"]]
    environ = {"PATH": os.pathsep.join(places), "HOME": str(folder)}
    line = line.replace(str(ARTIFACT), f"{bare_python()} {ARTIFACT}")
    shell = shutil.which("sh")
    assert shell
    done = subprocess.run(
        [shell, "-c", line], cwd=folder, env=environ, capture_output=True, check=False, timeout=60
    )
    assert json.loads(done.stdout.splitlines()[-1])["type"] == "FILE_UPLOADED", done
    assert done.stderr == b""
