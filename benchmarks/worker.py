"""The artifact as something to measure: its messages, its stores, and proof of its work."""

from __future__ import annotations

import json
import shutil
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from benchmarks.measuring import RunFailed, Sample, Work

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

BAD_MESSAGE_STATUS = 2


@dataclass(frozen=True)
class Store:
    """A store as a message names it, and the folder in which its chunks lie."""

    url: str
    folder: Path

    def empty(self) -> None:
        """Remove every chunk."""
        for entry in self.folder.iterdir():
            if entry.is_dir():
                shutil.rmtree(entry)
            else:
                entry.unlink()

    def write_stream(self, hashes: list[str], target: Path) -> None:
        """Put a file's chunks together, to what other tools read."""
        with target.open("wb") as file:
            for wanted in hashes:
                places = (self.folder / wanted, self.folder / wanted[:2] / wanted)
                file.write(next(place for place in places if place.exists()).read_bytes())


class Artifact:
    """`store-workers.pyz`, run by an interpreter without libraries."""

    def __init__(self, python: str, path: Path) -> None:
        self.python = python
        self.path = path

    def upload(self, name: str, source: Path, store: Store, **fields: Any) -> Work:
        """Upload a file into the emptied store; further fields as keyword arguments."""
        message = {"type": "UPLOAD_START", "path": str(source), "store": store.url, **fields}
        return self._work(name, message, store.empty, check_upload)

    def download(
        self, name: str, store: Store, hashes: list[str], target: Path, source: Path
    ) -> Work:
        """Download to a path where nothing is; what comes must be as long as the source."""
        size = source.stat().st_size

        def check(sample: Sample) -> None:
            if last_event(sample)["size"] != size:
                raise RunFailed(f"{name}: not the size of the source")

        message = {"type": "DOWNLOAD_START", "path": str(target), "store": store.url}
        return self._work(
            name, {**message, "hashes": hashes}, lambda: target.unlink(missing_ok=True), check
        )

    def bad_message(self, name: str) -> Work:
        """Refuse a message: nothing but a start and an end."""
        command = [self.python, str(self.path)]
        return Work(name, command, b"{}\n", listen=True, status=BAD_MESSAGE_STATUS)

    def _work(
        self,
        name: str,
        message: dict[str, Any],
        prepare: Callable[[], None],
        check: Callable[[Sample], None],
    ) -> Work:
        line = json.dumps(message).encode() + b"\n"
        command = [self.python, str(self.path)]
        return Work(name, command, line, prepare=prepare, listen=True, check=check)


def last_event(sample: Sample) -> dict[str, Any]:
    """Return a run's terminal event."""
    return dict(json.loads(sample.output.splitlines()[-1]))


def check_upload(sample: Sample) -> None:
    """Hold an upload to what is measured: all of it was sent, nothing was there before.

    Raises:
        RunFailed: some chunk was in the store already.
    """
    told = last_event(sample)
    if told["new_chunks"] != len(set(told["hashes"])):
        raise RunFailed(f"the store was not empty: {told['new_chunks']} chunks were new")
