"""Every kind of store for the contract suite: opened as in a run, with direct access to its data.

A kind is added by a function that yields an `Opened`, and its name in `KINDS`.
"""

from __future__ import annotations

import contextlib
import http.client
from typing import TYPE_CHECKING, Any

from store_workers.stores.location import locate
from store_workers.wire.messages import decode_message
from tests.stores.memory_store import MemoryStore
from tests.support.faulty_server import FaultyServer
from tests.support.nginx import Nginx
from tests.support.rclone import Rclone
from tests.support.waiting import wait_until

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, MutableMapping
    from pathlib import Path

    from store_workers.stores.base import Store


class Opened:
    """A store, and what lies in it: `objects` are the bytes by their hash, past all checks.

    `go_away` ends the server, where there is one. `busy_statuses` are what it may answer to one
    of several that put the same chunk at the same time.
    """

    def __init__(
        self,
        store: Store,
        objects: MutableMapping[str, bytes],
        go_away: Callable[[], None] | None = None,
        *,
        busy_statuses: frozenset[int] = frozenset(),
    ) -> None:
        self.store = store
        self.objects = objects
        self.go_away = go_away
        self.busy_statuses = busy_statuses


class FilesByHash(dict[str, bytes]):
    """The files in a folder, as a dictionary that reads and writes through."""

    def __init__(self, root: Path, *, in_folders: bool = False) -> None:
        super().__init__()
        self._root = root
        self._in_folders = in_folders

    def __getitem__(self, hash: str) -> bytes:
        return self._path(hash).read_bytes()

    def __setitem__(self, hash: str, data: bytes) -> None:
        path = self._path(hash)
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data)

    def __contains__(self, hash: object) -> bool:
        return self._path(str(hash)).exists()

    def __len__(self) -> int:
        return sum(1 for path in self._root.rglob("*") if path.is_file())

    def _path(self, hash: str) -> Path:
        return self._root / hash[:2] / hash if self._in_folders else self._root / hash


class FilesSeen(FilesByHash):
    """The same behind a server that may read its folder late: written is what it has seen."""

    def __init__(self, root: Path, url: str) -> None:
        super().__init__(root)
        self._address = url.partition("://")[2]

    def __setitem__(self, hash: str, data: bytes) -> None:
        super().__setitem__(hash, data)
        wait_until(lambda: self._length(hash) == len(data))

    def _length(self, hash: str) -> int | None:
        connection = http.client.HTTPConnection(self._address, timeout=5)
        with contextlib.closing(connection):
            connection.request("HEAD", f"/{hash}")
            answer = connection.getresponse()
            return int(answer.headers["Content-Length"]) if answer.status == 200 else None


def open_store(url: str, **fields: Any) -> Store:
    """Open the store of a message, as a run does."""
    settings = {"timeout_ms": 5000, **fields.pop("settings", {})}
    start = {"type": "UPLOAD_START", "path": "file", "store": url, "settings": settings, **fields}
    message = decode_message(start)
    return locate(message, {}).open(message.settings)


@contextlib.contextmanager
def memory(folder: Path) -> Iterator[Opened]:
    """The store of other tests fulfils the same contract."""
    store = MemoryStore()
    yield Opened(store, store.chunks)


@contextlib.contextmanager
def directory(folder: Path) -> Iterator[Opened]:
    """A directory that does not exist yet."""
    root = folder / "deep" / "store"
    yield Opened(open_store(str(root)), FilesByHash(root, in_folders=True))


@contextlib.contextmanager
def loopback(folder: Path) -> Iterator[Opened]:
    """The simplest server there is, in this process."""
    with FaultyServer() as server:
        yield Opened(open_store(server.url), server.chunks, server.go_away)


@contextlib.contextmanager
def nginx(folder: Path) -> Iterator[Opened]:
    """A plain nginx."""
    with Nginx(folder / "nginx") as server:
        yield Opened(open_store(server.url), FilesByHash(server.chunks), server.stop)


@contextlib.contextmanager
def webdav(folder: Path) -> Iterator[Opened]:
    """``rclone serve webdav``."""
    with Rclone(folder / "rclone", "webdav") as server:
        # WebDAV locks what is being written (RFC 4918, 9.10.6): the others may come later.
        busy = frozenset({423})
        files = FilesSeen(server.data, server.url)
        yield Opened(open_store(server.url), files, server.stop, busy_statuses=busy)


KINDS: dict[str, Callable[[Path], contextlib.AbstractContextManager[Opened]]] = {
    "memory": memory,
    "directory": directory,
    "loopback": loopback,
    "nginx": nginx,
    "webdav": webdav,
}
