"""What both bindings of zstd raise, and the limit that both keep."""

from __future__ import annotations

LARGEST_WINDOW = 128 * 1024 * 1024
"""Bytes of history that a frame may ask the decoder to keep: the limit of `zstd -d`."""


class CodecError(Exception):
    """The bytes are no valid zstd frame, or their checksum does not fit."""
