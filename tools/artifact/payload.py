"""Put together what the artifact's first lines read: the table of contents and its parts.

The payload is one stored entry of the zip. It begins with the table of contents ("head": its
CRC-32 in eight hex digits, then marshalled, filled up to a fixed size), and goes on with parts
that are addressed by their offset in the file, each with its own CRC-32. ``loader.py`` has the
shapes of the tables.
"""

from __future__ import annotations

import marshal
import zlib
from typing import Any

import deflate

# Offset in the file, bytes there, their CRC-32, and the size once inflated (0: not deflated).
Place = tuple[int, int, int, int]

HEAD_BYTES = 1024
LEVEL = 12
# The form of marshalled data that every Python reads, 2.7 too, and writes alike.
MARSHAL_FOR_ALL = 2


class Payload:
    """Collects parts and knows where each will be in the finished file."""

    def __init__(self, offset: int) -> None:
        """``offset`` is where in the file the payload will begin."""
        self.offset = offset
        self._content = bytearray(HEAD_BYTES)
        self._places: dict[tuple[bytes, bool], Place] = {}

    def add(self, content: bytes, *, deflated: bool) -> Place:
        """Add a part, once for equal ones; return where it is."""
        known = self._places.get((content, deflated))
        if known:
            return known
        stored = deflate.deflate_compress(content, LEVEL) if deflated else content
        inflated = len(content)
        if not deflated or len(stored) >= len(content):
            stored, inflated = content, 0
        place = (self.offset + len(self._content), len(stored), self.crc(stored), inflated)
        self._content += stored
        self._places[content, deflated] = place
        return place

    @staticmethod
    def marshal(table: Any) -> bytes:
        """Return a table in the form that every Python reads."""
        return marshal.dumps(table, MARSHAL_FOR_ALL)

    @staticmethod
    def crc(content: bytes) -> int:
        """Return the checksum that parts are checked with."""
        return zlib.crc32(content)

    def finish(self, head: dict[str, Any]) -> bytes:
        """Return the payload with ``head`` in its place."""
        table = self.marshal(head)
        room = HEAD_BYTES - 8
        if len(table) > room:
            raise ValueError(f"the table of contents has {len(table)} bytes; room is for {room}")
        table += bytes(room - len(table))
        self._content[:HEAD_BYTES] = b"%08x" % self.crc(table) + table
        return bytes(self._content)
