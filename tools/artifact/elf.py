"""Cut an ELF library down to what is needed to load it.

Debug sections make up nine tenths of the Linux libraries. What the loader maps is listed in the
program headers; everything after the last of these segments, and the section table that names it,
can go. The same few lines serve every architecture, and what is left is what ``strip`` leaves.
Libraries of macOS and Windows are left alone: those for arm64 Macs are signed.
"""

from __future__ import annotations

import struct

MAGIC_64_LITTLE = b"\x7fELF\x02\x01"
# Offsets in the 64-bit header, and in an entry of the program header table.
PROGRAM_TABLE, SECTION_TABLE, PROGRAM_ENTRIES, SECTION_ENTRIES = 32, 40, 54, 58
FILE_OFFSET, FILE_SIZE = 8, 32


def cut(library: bytes) -> bytes:
    """Return ``library`` without what follows its last segment.

    Anything but a little-endian 64-bit ELF file is returned as it is.
    """
    if not library.startswith(MAGIC_64_LITTLE):
        return library
    (table,) = struct.unpack_from("<Q", library, PROGRAM_TABLE)
    entry_size, entries = struct.unpack_from("<HH", library, PROGRAM_ENTRIES)
    end = table + entry_size * entries
    for entry in range(table, end, entry_size):
        (offset,) = struct.unpack_from("<Q", library, entry + FILE_OFFSET)
        (size,) = struct.unpack_from("<Q", library, entry + FILE_SIZE)
        end = max(end, offset + size)
    left = bytearray(library[:end])
    struct.pack_into("<Q", left, SECTION_TABLE, 0)
    # The size of an entry stays; their number and the index of the names are none.
    struct.pack_into("<HH", left, SECTION_ENTRIES + 2, 0, 0)
    return bytes(left)
