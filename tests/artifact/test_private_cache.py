"""Where a library can't be loaded from memory: a private folder, one file, many starts at once."""

from __future__ import annotations

import fcntl
import os
import subprocess
import sys
import time
import zlib
from typing import TYPE_CHECKING

import pytest

from store_workers_bootstrap import private_cache
from tests.support.worker import ROOT

if TYPE_CHECKING:
    from pathlib import Path

CONTENT = bytes(range(256)) * 20_000
BUILD = f"{zlib.crc32(CONTENT):08x}"
KEEP = """
import sys
from store_workers_bootstrap.private_cache import keep
sys.stdin.readline()
print(keep("library.so", bytes(range(256)) * 20_000))
"""


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    folder = tmp_path / "cache"
    monkeypatch.setenv(private_cache.VARIABLE, str(folder))
    return folder


def kept(cache: Path) -> Path:
    path = private_cache.keep("library.so", CONTENT)
    assert path == str(cache / BUILD / "library.so")
    return cache / BUILD / "library.so"


def started() -> subprocess.Popen[str]:
    """Start a process that keeps the same content once it is sent a line."""
    environ = {**os.environ, "PYTHONPATH": str(ROOT / "src")}
    return subprocess.Popen(
        [sys.executable, "-c", KEEP],
        env=environ,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )


def test_it_is_private_and_used_again(cache: Path) -> None:
    path = kept(cache)
    assert path.read_bytes() == CONTENT
    assert path.parent.stat().st_mode & 0o777 == 0o700
    before = path.stat()
    assert kept(cache).stat() == before
    assert os.listdir(path.parent) == ["library.so"]


def test_what_lies_there_and_differs_is_replaced(cache: Path) -> None:
    path = kept(cache)
    path.write_bytes(CONTENT[:-1] + b"?")
    assert kept(cache).read_bytes() == CONTENT


@pytest.mark.parametrize("mode", [0o755, 0o770, 0o707])
def test_a_folder_open_to_others_is_not_used(cache: Path, mode: int) -> None:
    (cache / BUILD).mkdir(parents=True)
    (cache / BUILD).chmod(mode)
    path = private_cache.keep("library.so", CONTENT)
    assert not path.startswith(str(cache))
    with open(path, "rb") as stream:
        assert stream.read() == CONTENT
    assert os.stat(os.path.dirname(path)).st_mode & 0o777 == 0o700
    assert os.listdir(cache / BUILD) == []


def test_a_link_to_a_folder_is_not_used(cache: Path, tmp_path: Path) -> None:
    (tmp_path / "elsewhere").mkdir(mode=0o700)
    cache.mkdir()
    (cache / BUILD).symlink_to(tmp_path / "elsewhere")
    assert not private_cache.keep("library.so", CONTENT).startswith(str(cache))


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give a folder away")
def test_a_folder_of_somebody_else_is_not_used(cache: Path) -> None:
    (cache / BUILD).mkdir(parents=True, mode=0o700)
    os.chown(cache / BUILD, 54321, 54321)
    assert not private_cache.keep("library.so", CONTENT).startswith(str(cache))


def test_a_place_that_is_a_file(cache: Path) -> None:
    cache.write_bytes(b"")
    assert not private_cache.keep("library.so", CONTENT).startswith(str(cache))


def test_eight_at_once_use_one_file(cache: Path) -> None:
    processes = [started() for _ in range(8)]
    told = []
    for process in processes:
        assert process.stdin
        process.stdin.write("\n")
        process.stdin.flush()
    for process in processes:
        out, _ = process.communicate(timeout=60)
        assert process.returncode == 0
        told.append(out.strip())
    assert set(told) == {str(cache / BUILD / "library.so")}
    assert os.listdir(cache / BUILD) == ["library.so"]
    assert kept(cache).read_bytes() == CONTENT


def is_waiting_for_a_lock(process: subprocess.Popen[str]) -> bool:
    with open("/proc/locks", encoding="ascii") as locks:
        waiting = [line.split() for line in locks if "->" in line]
    return any(str(process.pid) in words for words in waiting)


@pytest.mark.skipif(not os.path.exists("/proc/locks"), reason="tells who waits; Linux has it")
def test_who_waits_for_the_lock_uses_what_it_finds_then(cache: Path) -> None:
    private_cache.make_private(str(cache / BUILD))
    lock = os.open(cache / BUILD, os.O_RDONLY)
    fcntl.flock(lock, fcntl.LOCK_EX)
    with started() as process:
        assert process.stdin
        process.stdin.write("\n")
        process.stdin.flush()
        while not is_waiting_for_a_lock(process):
            assert process.poll() is None
            time.sleep(0.01)
        assert os.listdir(cache / BUILD) == []  # it writes nothing as long as somebody else may
        path = cache / BUILD / "library.so"
        path.write_bytes(CONTENT)
        before = path.stat().st_ino
        os.close(lock)
        out, _ = process.communicate(timeout=30)
    assert out.strip() == str(path)
    assert path.stat().st_ino == before
    assert os.listdir(cache / BUILD) == ["library.so"]


def test_a_lock_that_is_not_to_be_had(cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object) -> None:
        raise OSError("no locks here")

    monkeypatch.setattr(fcntl, "flock", refuse)
    assert kept(cache).read_bytes() == CONTENT


@pytest.mark.parametrize(
    ("platform", "environ", "place"),
    [
        ("linux", {}, "/home/me/.cache/store-workers"),
        ("linux", {"XDG_CACHE_HOME": "/far"}, "/far/store-workers"),
        ("darwin", {}, "/home/me/Library/Caches/store-workers"),
        ("win32", {"LOCALAPPDATA": "/local"}, "/local/store-workers"),
        ("win32", {}, "/home/me/AppData/Local/store-workers"),
        ("linux", {"STORE_WORKERS_CACHE": "/named"}, "/named"),
    ],
)
def test_places(
    platform: str, environ: dict[str, str], place: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in (private_cache.VARIABLE, "XDG_CACHE_HOME", "LOCALAPPDATA"):
        monkeypatch.delenv(name, raising=False)
    for name, value in {"HOME": "/home/me", **environ}.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setattr(sys, "platform", platform)
    assert private_cache.cache_root() == place
