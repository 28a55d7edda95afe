"""Parses paths and `file:` URLs of directory stores."""

from __future__ import annotations

import os
import sys

from store_workers.errors import BadMessage, ErrorCode, StoreFailure, shown
from store_workers.files.paths import system_path

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping

    from store_workers.stores.base import Store
    from store_workers.transfer.rate_limit import RateLimit
    from store_workers.wire.messages import Settings


class DirectoryLocation:
    """A directory that holds chunks."""

    def __init__(self, root: str) -> None:
        self.root = root
        self.shown = shown(root)

    def open(self, settings: Settings, rate_limit: RateLimit | None = None) -> Store:
        from store_workers.stores.directory.store import DirectoryStore

        root = system_path(self.root)
        if not settings.create_store and not os.path.isdir(root):
            raise StoreFailure(
                ErrorCode.STORE_UNAVAILABLE,
                f"the store directory {self.shown} does not exist, and settings.create_store is"
                " false: mount or create it",
            )
        return DirectoryStore(root, create=settings.create_store, rate_limit=rate_limit)


def read_path(path: str, field: str) -> DirectoryLocation:
    """Return the location of a plain path."""
    if "\0" in path:
        raise BadMessage(field, "must not contain a NUL character")
    return DirectoryLocation(path)


def read_file_url(url: str, field: str) -> DirectoryLocation:
    """Return the location of a `file:` URL (RFC 8089), with percent-encoded bytes decoded."""
    from urllib.parse import unquote_to_bytes

    host, slash, rest = url[len("file://") :].partition("/")
    if host not in ("", "localhost") or not slash:
        raise BadMessage(field, "expected file:///directory, without user and host")
    if "?" in rest or "#" in rest:
        raise BadMessage(field, "a file URL must not have a query or fragment")
    data = unquote_to_bytes(b"/" + rest.encode("utf-8", "surrogateescape"))
    return read_path(data.decode("utf-8", "surrogateescape"), field)


def default_directory(environment: Mapping[str, str]) -> str | None:
    """Return the default store: in the user's data directory, if there is one.

    On Linux that is by the XDG base directory specification.
    """
    if sys.platform == "win32":
        base = environment.get("LOCALAPPDATA") or os.path.expanduser("~\\AppData\\Local")
    elif sys.platform == "darwin":
        base = os.path.expanduser("~/Library/Application Support")
    else:
        # A relative path must be ignored.
        base = environment.get("XDG_DATA_HOME", "")
        if not base.startswith("/"):
            base = os.path.expanduser("~/.local/share")
    return None if base.startswith("~") else os.path.join(base, "store-workers", "chunks")
