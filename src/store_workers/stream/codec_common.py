"""Common to both bindings of zstd: the error and the parameters."""

from __future__ import annotations

LARGEST_WINDOW = 128 * 1024 * 1024
"""Largest window, in bytes, that a frame may require: the limit of `zstd -d`."""

TABLE_LOGS = {3: (16, 15)}
"""By level, the logarithms of the sizes of zstd's two hash tables, if changed.

Half of level 3's sizes: the tables of two threads then fit into the cache of a core, which is 10 %
faster, with 0.7 % more bytes. Part of the stored form: it decides hashes.
"""


class CodecError(Exception):
    """The bytes are not a valid zstd frame, or their checksum does not match."""
