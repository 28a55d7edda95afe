"""Messages to be refused: a right one, changed in one field."""

from __future__ import annotations

from typing import Any

HASH = "0" * 64


def up(**fields: Any) -> dict[str, Any]:
    """Return an upload of a file that exists, changed; `...` leaves a field out."""
    message = {"type": "UPLOAD_START", "path": __file__, "store": "store", **fields}
    return {name: value for name, value in message.items() if value is not ...}


def down(**fields: Any) -> dict[str, Any]:
    """Return a download, changed; `...` leaves a field out."""
    message = {"type": "DOWNLOAD_START", "path": "target", "store": "store", "hashes": [HASH]}
    return {name: value for name, value in {**message, **fields}.items() if value is not ...}


def with_setting(name: str, value: Any) -> dict[str, Any]:
    """Return an upload with one setting."""
    return up(settings={name: value})
