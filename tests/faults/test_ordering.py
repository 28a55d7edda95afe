"""Power can fail after any system call: reported chunks must be durable before the report.

strace is the witness. A chunk is synced before it has its name, its directory is synced before its
CHUNK line is written, and a new directory is durable in the one above it by then.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
from dataclasses import dataclass
from typing import TYPE_CHECKING

from tests.support.worker import ARTIFACT, bare_python, clean_environ, download, upload

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from tests.faults.conftest import Stored
    from tests.support.worker import Message

CALLS = (
    "openat,close,write,writev,pwrite64,fsync,fdatasync,rename,renameat,renameat2,link,linkat,mkdir"
)


@dataclass(frozen=True)
class Call:
    """One finished system call: its name, its arguments as strace shows them, and its result."""

    name: str
    arguments: str
    result: str

    def paths(self) -> list[str]:
        """Return the paths among the arguments, also those of descriptors (strace -y)."""
        return [a or b for a, b in re.findall(r'"([^"]*)"|<([^>]*)>', self.arguments)]

    def file(self) -> str:
        """Return the path of the descriptor that is the first argument."""
        found = re.match(r"\d+<([^>]*)>", self.arguments)
        return found[1] if found else ""


def traced(
    message: Message, folder: Path, *more: str
) -> tuple[list[Call], subprocess.CompletedProcess[bytes]]:
    """Run a worker under strace; return its calls in the order in which they ended."""
    strace = shutil.which("strace")
    assert strace, "strace is not installed"
    log = folder / "strace.log"
    command = [bare_python(), str(ARTIFACT)]
    done = subprocess.run(
        [strace, "-f", "-y", "-s", "200", "-e", f"trace={CALLS}", "-o", str(log), *more, *command],
        check=False,
        input=json.dumps(message).encode() + b"\n",
        capture_output=True,
        env=clean_environ(),
        timeout=60,
    )
    return parse_calls(log.read_text(errors="replace")), done


def parse_calls(log: str) -> list[Call]:
    """Parse strace's lines, those together that another thread's line stands between."""
    begun: dict[str, str] = {}
    calls = []
    for line in log.splitlines():
        thread, _, text = line.partition(" ")
        text = text.strip()
        if text.endswith("<unfinished ...>"):
            begun[thread] = text.removesuffix("<unfinished ...>")
            continue
        resumed = re.match(r"<\.\.\. \w+ resumed>(.*)", text)
        if resumed:
            text = begun.pop(thread, "") + resumed[1]
        found = re.match(r"(\w+)\((.*)\)\s+= (.*)", text)
        if found:
            calls.append(Call(found[1], found[2], found[3]))
    return calls


def place(calls: Sequence[Call], name: str, *paths: str, after: int = -1) -> int:
    """Return where the first successful call of a kind about some paths is, behind a place."""
    for number, call in enumerate(calls):
        fits = call.name.startswith(name) and not call.result.startswith("-1")
        if number > after and fits and set(paths) <= set(call.paths()):
            return number
    raise AssertionError(f"no {name} of {paths} after {after}")


def synced(calls: Sequence[Call], path: str, begin: int, end: int) -> bool:
    """Tell whether a file or directory was synced between two places."""
    return any(
        call.name in {"fsync", "fdatasync"} and call.paths() == [path] and call.result == "0"
        for call in calls[begin + 1 : end]
    )


def test_a_chunk_is_synced_then_named_then_told(small: Stored, tmp_path: Path) -> None:
    store = tmp_path / "a" / "b" / "store"
    calls, process = traced(upload(small.path, store), tmp_path)
    assert process.returncode == 0
    for name in small.hashes:
        prefix = f"{store}/{name[:2]}"
        final = f"{prefix}/{name}"
        renamed = next(n for n, c in enumerate(calls) if c.name == "rename" and final in c.paths())
        aside = calls[renamed].paths()[0]
        told = next(
            n
            for n, call in enumerate(calls)
            if call.name == "write" and "CHUNK" in call.arguments and name in call.arguments
        )
        assert synced(calls, aside, -1, renamed), "named before its bytes are durable"
        assert not any(
            call.name.startswith("write") and f"<{final}>" in call.arguments
            for call in calls[renamed:]
        ), "written to after it had its name"
        assert synced(calls, prefix, renamed, told), "told before its name is durable"
        made = place(calls, "mkdir", prefix)
        assert synced(calls, str(store), made, told), "told before its directory is durable"
    for folder in (store, store.parent, store.parent.parent):
        made = place(calls, "mkdir", str(folder))
        assert synced(calls, str(folder.parent), made, len(calls)), f"{folder} is not durable"


def test_what_another_run_stored_is_made_durable_before_it_is_told(
    small: Stored, tmp_path: Path
) -> None:
    """The other run may have been killed between naming a chunk and syncing its directory."""
    store = tmp_path / "store"
    traced(upload(small.path, store), tmp_path)
    calls, process = traced(upload(small.path, store), tmp_path)
    assert b'"new":true' not in process.stdout
    first = next(n for n, c in enumerate(calls) if "CHUNK" in c.arguments and c.name == "write")
    assert synced(calls, str(tmp_path), -1, first), "the store's own name is not durable"
    for name in small.hashes:
        told = next(
            n for n, c in enumerate(calls) if c.name == "write" and f"{name}" in c.arguments
        )
        assert synced(calls, f"{store}/{name[:2]}", -1, told)
        assert synced(calls, str(store), -1, told)


def test_a_file_is_synced_then_named_then_told(small: Stored, target: Path, tmp_path: Path) -> None:
    calls, process = traced(download(target, small.path.parent / "store", small.hashes), tmp_path)
    assert process.returncode == 0
    assert target.read_bytes() == small.content
    assert os.listdir(target.parent) == [target.name]
    renamed = place(calls, "rename", str(target))
    linked = place(calls, "linkat", calls[renamed].paths()[0])
    assert linked < renamed
    written = max(n for n, c in enumerate(calls[:linked]) if c.name == "pwrite64")
    assert any(
        call.name == "fsync" and call.file() == calls[written].file() and call.result == "0"
        for call in calls[written:linked]
    ), "named before its bytes are durable"
    told = next(n for n, c in enumerate(calls) if "FILE_DOWNLOADED" in c.arguments)
    assert synced(calls, str(target.parent), renamed, told), "told before its name is durable"


def test_a_file_system_without_unnamed_files(small: Stored, target: Path, tmp_path: Path) -> None:
    message = download(target, small.path.parent / "store", small.hashes)
    without = ("-P", str(target.parent), "-e", "inject=openat:error=EOPNOTSUPP:when=1")
    _, process = traced(message, tmp_path, *without)
    assert process.returncode == 0
    assert target.read_bytes() == small.content
    assert os.listdir(target.parent) == [target.name]
