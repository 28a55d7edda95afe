"""The script that deletes what no manifest names: it deletes nothing else, and nothing in doubt."""

from __future__ import annotations

import os
import shutil
import subprocess
from typing import TYPE_CHECKING

import pytest

from tests.docs.documents import ROOT
from tests.support.rclone import program
from tests.support.worker import run_worker, upload

if TYPE_CHECKING:
    from pathlib import Path

SCRIPT = ROOT / "examples" / "prune.sh"


def prune(*arguments: object, **environ: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [str(SCRIPT), *map(str, arguments)],
        env={**os.environ, **environ},
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )


def chunks(store: Path) -> set[str]:
    return {path.name for path in store.glob("??/*")}


@pytest.fixture
def kept(tmp_path: Path) -> str:
    """Two files in one store, both with a manifest; the first one's."""
    manifests = []
    for name in ("kept", "dropped"):
        path = tmp_path / name
        path.write_bytes(os.urandom(700_000))
        run = run_worker(upload(path, tmp_path / "store", manifest=True))
        manifests.append(run.terminal["manifest"])
    return str(manifests[0])


def test_it_deletes_what_no_manifest_names(kept: str, tmp_path: Path) -> None:
    store = tmp_path / "store"
    (tmp_path / "list").write_text(f"{kept}  kept\n")
    before = chunks(store)
    dry = prune(tmp_path / "list", store)
    assert dry.returncode == 0, dry.stderr
    assert chunks(store) == before
    done = prune(tmp_path / "list", store, "--delete")
    assert done.returncode == 0, done.stderr
    assert before - chunks(store) == set(dry.stdout.split("\n")[1:-1])
    assert len(chunks(store)) < len(before)
    message = {"type": "DOWNLOAD_START", "path": str(tmp_path / "copy"), "store": str(store)}
    assert run_worker({**message, "manifest": kept}).status == 0
    assert (tmp_path / "copy").read_bytes() == (tmp_path / "kept").read_bytes()


def test_a_name_with_escapes_is_kept_too(kept: str, tmp_path: Path) -> None:
    store = tmp_path / "store"
    (tmp_path / "list").write_text(f"# files\n\n\\{kept}  new\\nline\n")
    assert prune(tmp_path / "list", store, "--delete").returncode == 0
    message = {"type": "VERIFY_START", "store": str(store), "manifest": kept}
    assert run_worker(message).status == 0


@pytest.mark.parametrize(
    "lines", ["", "\n", "# none\n", "no digits\n", f"{'0' * 64}  missing\n", "{kept}\n0123456789\n"]
)
def test_it_deletes_nothing_in_doubt(lines: str, kept: str, tmp_path: Path) -> None:
    (tmp_path / "list").write_text(lines.replace("{kept}", kept))
    before = chunks(tmp_path / "store")
    done = prune(tmp_path / "list", tmp_path / "store", "--delete")
    assert done.returncode != 0
    assert "nothing is deleted" in done.stderr
    assert chunks(tmp_path / "store") == before


def test_a_damaged_manifest_deletes_nothing(kept: str, tmp_path: Path) -> None:
    (tmp_path / "list").write_text(f"{kept}  kept\n")
    path = tmp_path / "store" / kept[:2] / kept
    path.write_bytes(path.read_bytes()[:-20])
    before = chunks(tmp_path / "store")
    done = prune(tmp_path / "list", tmp_path / "store", "--delete")
    assert done.returncode != 0
    assert chunks(tmp_path / "store") == before


def test_a_store_behind_rclone(kept: str, tmp_path: Path) -> None:
    """A flat folder of chunks, as in a bucket, by rclone's remote for local folders."""
    rclone = program()
    flat = tmp_path / "flat"
    flat.mkdir()
    for path in (tmp_path / "store").glob("??/*"):
        shutil.copy(path, flat / path.name)
    (tmp_path / "list").write_text(f"{kept}  kept\n")
    before = {path.name for path in flat.iterdir()}
    places = f"{os.path.dirname(rclone)}:{os.environ['PATH']}"
    done = prune(tmp_path / "list", f":local:{flat}", "--delete", PATH=places)
    assert done.returncode == 0, done.stderr
    after = {path.name for path in flat.iterdir()}
    assert kept in after
    assert len(after) < len(before)
