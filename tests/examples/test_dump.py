"""`examples/dump.py`: the output of a command, stored and restored."""

from __future__ import annotations

import re
import subprocess
import sys
from typing import TYPE_CHECKING

from tests.support.data import MIB, noise
from tests.support.faulty_server import FaultyServer, Rule, status
from tests.support.manifests import read_manifest
from tests.support.worker import ARTIFACT, ROOT, bare_python, clean_environ

if TYPE_CHECKING:
    from pathlib import Path

DUMP = ROOT / "examples" / "dump.py"


def dump(folder: Path, *arguments: object) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [bare_python(), str(DUMP), *map(str, arguments)],
        cwd=folder,
        capture_output=True,
        text=True,
        env=clean_environ({"STORE_WORKERS": str(ARTIFACT)}),
        check=False,
        timeout=120,
    )


def test_a_dump_is_stored_and_restored_from_where_it_stopped(tmp_path: Path) -> None:
    content = noise(8 * MIB)
    (tmp_path / "data").write_bytes(content)
    with FaultyServer() as server:
        saved = dump(tmp_path, "save", server.url, "list", "cat", "data")
        assert (saved.returncode, saved.stdout) == (0, ""), saved.stderr
        (line,) = (tmp_path / "list").read_text().splitlines()
        assert re.fullmatch(r"[0-9a-f]{64}  \d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ cat data", line)
        # One chunk of the second half fails in every try of the first run.
        late = read_manifest(server.chunks.__getitem__, line[:64]).hashes[12]
        server.rules = [Rule(status(503), "GET", tries={1, 2, 3}, key=late)]
        restored = dump(tmp_path, "restore", server.url, line[:64], "copy")
    assert restored.returncode == 0, restored.stderr
    assert "STORE_UNAVAILABLE: " in restored.stderr
    (resumed,) = re.findall(r"(\d+) of them from an earlier run", restored.stderr)
    assert int(resumed) > 0
    assert (tmp_path / "copy").read_bytes() == content


def test_a_command_that_fails_is_not_listed(tmp_path: Path) -> None:
    (tmp_path / "list").write_text("as it was\n")
    script = "import sys; print('half'); sys.exit('the database is gone')"
    failed = dump(tmp_path, "save", "store", "list", sys.executable, "-c", script)
    assert failed.returncode == 1
    assert "the database is gone" in failed.stderr
    assert "FILE_READ_FAILED: " in failed.stderr
    assert "ended with status 1" in failed.stderr
    assert (tmp_path / "list").read_text() == "as it was\n"


def test_a_wrong_command_line_shows_the_right_ones(tmp_path: Path) -> None:
    wrong = dump(tmp_path, "save", "store")
    assert wrong.returncode == 1
    assert "dump.py restore STORE MANIFEST FILE" in wrong.stderr
