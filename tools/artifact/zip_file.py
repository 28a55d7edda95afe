"""Write a zip whose bytes depend on nothing but its contents.

The standard library's writer can't take data that is deflated already, so that its bytes depend on
the zlib that the building Python came with; nor can zipapp and shiv, which write with it.
"""

from __future__ import annotations

import re
import struct
import zlib
from dataclasses import dataclass

import deflate

from .bundle import STORED as NOT_DEFLATED
from .bundle import matches

STORED, DEFLATED = 0, 8
LEVEL = 9  # 12 takes six times as long, for 2 % fewer bytes
VERSION = 20  # 2.0: what deflated entries need
UNIX = 3
MODE = 0o100644
DATE = (1 << 5) | 1  # 1 January 1980, the first day a zip can tell
LOCAL = struct.Struct("<4s5H3I2H")
CENTRAL = struct.Struct("<4s6H3I5H2I")
END = struct.Struct("<4s4H2IH")

# A copy whose end is lost is no zip: Python then reads the file as a script, and the second line
# makes it say so.
PRELUDE = b"#!/usr/bin/env python3\n# coding: this-copy-is-damaged--copy-the-file-again\n"
FIRST = "store_workers_bootstrap/__main__.py"
BOOT = "store_workers_bootstrap/boot.py"


@dataclass(frozen=True)
class Entry:
    """One file in a zip: its name, the CRC-32 and length of its content, and what is stored."""

    name: bytes
    crc: int
    length: int
    method: int
    data: bytes

    def local(self) -> bytes:
        """Return the entry as it stands in the file."""
        header = (b"PK\3\4", VERSION, 0, *self._facts(), len(self.name), 0)
        return LOCAL.pack(*header) + self.name + self.data

    def central(self, offset: int) -> bytes:
        """Return the entry's line in the directory."""
        header = (b"PK\1\2", UNIX << 8 | VERSION, VERSION, 0, *self._facts(), len(self.name))
        return CENTRAL.pack(*header, 0, 0, 0, 0, MODE << 16, offset) + self.name

    def _facts(self) -> tuple[int, ...]:
        return (self.method, 0, DATE, self.crc, len(self.data), self.length)


def entry(name: str, content: bytes, *, stored: bool = False) -> Entry:
    """Return a file as an entry, deflated where that makes it shorter."""
    method, data = DEFLATED, b"" if stored else deflate.deflate_compress(content, LEVEL)
    if stored or len(data) >= len(content):
        method, data = STORED, content
    return Entry(name.encode(), zlib.crc32(content), len(content), method, data)


def packed(entries: list[Entry]) -> tuple[bytes, list[bytes]]:
    """Return a zip and the lines of its directory."""
    content = bytearray(PRELUDE)
    lines = []
    for each in entries:
        lines.append(each.central(len(content)))
        content += each.local()
    directory = b"".join(lines)
    count = len(entries)
    content += directory
    content += END.pack(
        b"PK\5\6", 0, 0, count, count, len(directory), len(content) - len(directory), 0
    )
    return bytes(content), lines


def assemble(files: dict[str, bytes]) -> bytes:
    """Return the artifact: the same bytes for the same files.

    The first entry, which Python runs, knows the sums of what it runs next, and the checksum of the
    directory's other lines, which know that of everything else.
    """
    boots = {name.partition(BOOT)[0]: sum(files[name]) for name in sorted(files) if BOOT in name}
    first = files[FIRST].replace(b"SUMS = {}", f"SUMS = {boots}".encode())
    names = sorted(set(files) - {FIRST})
    entries = [entry(name, files[name], stored=matches(name, NOT_DEFLATED)) for name in names]
    _, lines = packed([entry("__main__.py", first, stored=True), *entries])
    checksum = zlib.crc32(b"".join(lines[1:]))
    first = filled(first, rb"DIRECTORY = 0x0{8}", b"DIRECTORY = 0x%08x" % checksum)
    content, _ = packed([entry("__main__.py", first, stored=True), *entries])
    return content


def filled(source: bytes, placeholder: bytes, number: bytes) -> bytes:
    """Return ``source``, as long as it was, with a number in the place that is kept for it."""
    done, count = re.subn(placeholder, number, source)
    if count != 1 or len(done) != len(source):
        raise ValueError(f"{placeholder!r} is there {count} times, not once")
    return done
