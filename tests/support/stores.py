"""The stores that the integration tests run against, with a way to their chunks on the disk."""

from __future__ import annotations

import contextlib
from dataclasses import dataclass
from typing import TYPE_CHECKING

from tests.support.nginx import Nginx
from tests.support.rclone import Rclone

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path


@dataclass(frozen=True)
class Store:
    """A store as a message names it, and the folder in which its chunks lie.

    Args:
        url: what the message says.
        root: the folder.
        folders: chunks lie in folders named by the first two digits.
        server: the nginx behind it, where it is one.
    """

    url: str
    root: Path
    folders: bool = False
    server: Nginx | None = None

    def path(self, wanted: str) -> Path:
        """Return the file of a chunk."""
        return self.root / wanted[:2] / wanted if self.folders else self.root / wanted

    def read(self, wanted: str) -> bytes:
        """Return a chunk's bytes."""
        return self.path(wanted).read_bytes()

    def files(self) -> set[str]:
        """Return the names of all files in the store."""
        return {path.name for path in self.root.rglob("*") if path.is_file()}


@contextlib.contextmanager
def directory_store(folder: Path) -> Iterator[Store]:
    """A directory."""
    yield Store(str(folder / "store"), folder / "store", folders=True)


@contextlib.contextmanager
def nginx_store(folder: Path) -> Iterator[Store]:
    """A plain nginx."""
    with Nginx(folder / "nginx") as server:
        yield Store(server.url, server.chunks, server=server)


@contextlib.contextmanager
def webdav_store(folder: Path) -> Iterator[Store]:
    """``rclone serve webdav``."""
    with Rclone(folder / "rclone", "webdav") as server:
        yield Store(server.url, server.data)


STORES: dict[str, Callable[[Path], contextlib.AbstractContextManager[Store]]] = {
    "directory": directory_store,
    "nginx": nginx_store,
    "webdav": webdav_store,
}
