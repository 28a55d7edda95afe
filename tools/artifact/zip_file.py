"""Write a zip whose bytes depend on nothing but its contents.

The standard library's zlib differs from Python to Python, so entries are deflated by a pinned
library. ``zipfile``, with which zipapp and shiv write, then writes them as they are.
"""

from __future__ import annotations

import io
import zipfile
import zlib

import deflate

from .bundle import STORED, matches

LEVEL = 9  # 12 takes six times as long, for 2 % fewer bytes
UNIX = 3
MODE = 0o100644

# A copy whose end is lost is no zip: Python then reads the file as a script, and the second line
# makes it say so.
PRELUDE = b"#!/usr/bin/env python3\n# coding: this-copy-is-damaged--copy-the-file-again\n"
FIRST = "store_workers_bootstrap/__main__.py"
BOOT = "store_workers_bootstrap/boot.py"


def assemble(files: dict[str, bytes]) -> bytes:
    """Return the artifact: the same bytes for the same files.

    The first entry, which Python runs, knows the sums of what it runs next, and the checksum of the
    directory's other lines, which know that of everything else.
    """
    boots = {name.partition(BOOT)[0]: sum(files[name]) for name in sorted(files) if BOOT in name}
    first = files[FIRST].replace(b"sums = {}", f"sums = {boots}".encode())
    entries = [entry(name, files[name]) for name in sorted(files.keys() - {FIRST})]
    unchecked = packed([entry("__main__.py", first), *entries])
    checksum = zlib.crc32(directory_after_the_first_line(unchecked))
    # Of the same length: the directory has the places of all that follows.
    first = first.replace(b"DIRECTORY = 0x00000000", b"DIRECTORY = 0x%08x" % checksum)
    return packed([entry("__main__.py", first), *entries])


def entry(name: str, content: bytes) -> tuple[zipfile.ZipInfo, bytes]:
    """Return a file's facts, and what is stored of it: deflated where that makes it shorter."""
    facts = zipfile.ZipInfo(name)  # of 1 January 1980, the first day a zip can tell
    facts.create_system, facts.external_attr = UNIX, MODE << 16
    facts.CRC, facts.file_size = zlib.crc32(content), len(content)
    data = content if matches(name, STORED) else deflate.deflate_compress(content, LEVEL)
    if len(data) < len(content):
        facts.compress_type = zipfile.ZIP_DEFLATED
    else:
        data = content
    facts.compress_size = len(data)
    return facts, data


def packed(entries: list[tuple[zipfile.ZipInfo, bytes]]) -> bytes:
    """Return a zip of data that is deflated already, which ``ZipFile.writestr`` can't take."""
    content = io.BytesIO()
    content.write(PRELUDE)
    with zipfile.ZipFile(content, "w") as archive:
        for facts, data in entries:
            facts.header_offset = content.tell()
            content.write(facts.FileHeader() + data)
            archive.filelist.append(facts)
        archive.start_dir = content.tell()
    return content.getvalue()


def directory_after_the_first_line(content: bytes) -> bytes:
    """Return the lines of a zip's directory but the first, which is that of ``__main__.py``."""
    begin = int.from_bytes(content[-6:-2], "little")
    return content[begin + 46 + len("__main__.py") : -22]
