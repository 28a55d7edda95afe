"""From a message's `store` to the store: which kind it is, and what it needs to be opened.

Reading a location touches nothing; only `open` does.
"""

from __future__ import annotations

import os
import sys

from store_workers.errors import BadMessage, shown
from store_workers.files.paths import system_path
from store_workers.wire.records import is_encodable

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping
    from typing import Protocol

    from store_workers.files.atomic_file import TemporaryFiles
    from store_workers.stores.base import Store
    from store_workers.wire.messages import Settings, Start

    class Location(Protocol):
        """A place where chunks live, known but not yet touched.

        `shown` names it without secrets.
        """

        shown: str

        def open(self, settings: Settings, files: TemporaryFiles) -> Store:
            """The store itself."""


STORE_VARIABLE = "STORE_WORKERS_STORE"
SCHEMES = "file://, http://, https://, s3:// or a directory's path"


def locate(message: Start, environment: Mapping[str, str]) -> Location:
    """The store that a message means; raise `BadMessage` naming the field that is wrong."""
    if message.store is not None:
        return _locate(message.store, "store", message, environment)
    configured = environment.get(STORE_VARIABLE)
    if configured:
        return _locate(configured, STORE_VARIABLE, message, environment)
    return DirectoryLocation(default_directory(environment))


def _locate(text: str, field: str, message: Start, environment: Mapping[str, str]) -> Location:
    if not is_encodable(text):
        raise BadMessage(field, "holds a lone surrogate that stands for no byte")
    scheme, separator, _ = text.partition("://")
    if not separator or "/" in scheme or os.sep in scheme:
        if "\0" in text:
            raise BadMessage(field, "a file name cannot hold a NUL character")
        return DirectoryLocation(text)
    if any(character < " " or character == "\x7f" for character in text):
        raise BadMessage(field, "holds a control character")
    scheme = scheme.lower()
    if scheme == "file":
        return DirectoryLocation(_file_url_path(text, field))
    if scheme in ("http", "https"):
        from store_workers.stores.http.location import read_http_url

        return read_http_url(text, field, message.auth, message.tls, environment)
    if scheme == "s3":
        from store_workers.stores.s3.location import read_s3_url

        return read_s3_url(text, field, message.auth, message.tls, environment)
    raise BadMessage(field, f"the scheme is none of {SCHEMES}")


class DirectoryLocation:
    """A directory that holds chunks."""

    def __init__(self, root: str) -> None:
        self.root = root
        self.shown = shown(root)

    def open(self, settings: Settings, files: TemporaryFiles) -> Store:
        from store_workers.stores.directory import DirectoryStore

        return DirectoryStore(system_path(self.root), files)


def default_directory(environment: Mapping[str, str]) -> str:
    """Where chunks live with nothing configured: below the user's data directory."""
    if sys.platform == "win32":
        base = environment.get("LOCALAPPDATA") or os.path.expanduser("~\\AppData\\Local")
    elif sys.platform == "darwin":
        base = os.path.expanduser("~/Library/Application Support")
    else:
        # The XDG base directory specification: a relative path there is to be ignored.
        base = environment.get("XDG_DATA_HOME", "")
        if not base.startswith("/"):
            base = os.path.expanduser("~/.local/share")
    if base.startswith("~"):
        raise BadMessage(
            "store", f"is missing, {STORE_VARIABLE} is not set, and there is no home directory"
        )
    return os.path.join(base, "store-workers", "chunks")


def _file_url_path(url: str, field: str) -> str:
    """The path of a `file:` URL (RFC 8089), percent-encoded bytes decoded."""
    from urllib.parse import unquote_to_bytes

    host, slash, rest = url[len("file://") :].partition("/")
    if host not in ("", "localhost") or not slash:
        raise BadMessage(field, "expected file:///directory: a file URL has neither user nor host")
    if "?" in rest or "#" in rest:
        raise BadMessage(field, "a file URL has neither query nor fragment")
    data = unquote_to_bytes(b"/" + rest.encode("utf-8", "surrogateescape"))
    if b"\0" in data:
        raise BadMessage(field, "a file name cannot hold a NUL character")
    return data.decode("utf-8", "surrogateescape")
