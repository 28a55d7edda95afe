"""What both bindings of zstd have in common: their error, and the parameters they are given."""

from __future__ import annotations

LARGEST_WINDOW = 128 * 1024 * 1024
"""Bytes of history that a frame may ask the decoder to keep: the limit of `zstd -d`."""

TABLE_LOGS = {3: (16, 15)}
"""By level, the logarithms of the sizes of zstd's two hash tables, where not the level's own.

Half of level 3's own: then the tables of two threads fit into the cache that two threads of one
core share: some 10 % faster, for 0.7 % more bytes. Part of the stored form: it decides hashes.
"""


class CodecError(Exception):
    """The bytes are not a valid zstd frame, or their checksum does not fit."""
