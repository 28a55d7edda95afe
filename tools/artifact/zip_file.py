"""Write a zip whose bytes depend on nothing but its contents.

The standard library's writer can neither take data that is deflated already (so that the bytes
would depend on the building Python's zlib) nor say where an entry's content will stand.
"""

from __future__ import annotations

import struct
import zlib
from dataclasses import dataclass

STORED, DEFLATED = 0, 8
VERSION = 20  # 2.0: what deflated entries need
UNIX = 3
MODE = 0o100644
DATE = (1 << 5) | 1  # 1 January 1980, the first day a zip can tell
LOCAL = struct.Struct("<4s5H3I2H")
CENTRAL = struct.Struct("<4s6H3I5H2I")
END = struct.Struct("<4s4H2IH")


@dataclass(frozen=True)
class Entry:
    """One file in a zip. ``deflated`` is its raw deflate stream, None where it is stored."""

    name: str
    content: bytes
    deflated: bytes | None = None


class ZipFile:
    """A zip in the making, after a ``prelude`` that is no part of it."""

    def __init__(self, prelude: bytes) -> None:
        self._content = bytearray(prelude)
        self._directory: list[bytes] = []

    @property
    def content(self) -> bytes:
        """What is written so far."""
        return bytes(self._content)

    def offset_of_next(self, name: str) -> int:
        """Return where in the file the content of an entry called ``name`` would begin now."""
        return len(self._content) + LOCAL.size + len(name.encode())

    def add(self, entry: Entry) -> None:
        """Add an entry after those that are there."""
        name = entry.name.encode()
        data = entry.content if entry.deflated is None else entry.deflated
        method = STORED if entry.deflated is None else DEFLATED
        facts = (method, 0, DATE, zlib.crc32(entry.content), len(data), len(entry.content))
        offset = len(self._content)
        self._content += LOCAL.pack(b"PK\3\4", VERSION, 0, *facts, len(name), 0) + name + data
        made_by = UNIX << 8 | VERSION
        self._directory.append(
            CENTRAL.pack(
                *(b"PK\1\2", made_by, VERSION, 0, *facts),
                *(len(name), 0, 0, 0, 0, MODE << 16, offset),
            )
            + name
        )

    def finish(self) -> bytes:
        """Return the whole file."""
        directory = b"".join(self._directory)
        count = len(self._directory)
        end = END.pack(b"PK\5\6", 0, 0, count, count, len(directory), len(self._content), 0)
        return bytes(self._content) + directory + end
