"""Messages for the parsers of locations."""

from __future__ import annotations

from typing import Any

from store_workers.wire.messages import MessageType, UploadStart


def start(**fields: Any) -> UploadStart:
    """An upload's message with these fields, decoded already."""
    return UploadStart(type=MessageType.UPLOAD_START, path="file", **fields)
