"""Manifests read and written from the contract alone: nothing of store_workers is used."""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from tests.support.reference import check_stream, digest, zstd_decode

if TYPE_CHECKING:
    from collections.abc import Callable

LONGEST_PIECE = 512 * 1024


@dataclass(frozen=True)
class Manifest:
    """A manifest's first line, and the hashes and sizes that follow."""

    header: dict[str, Any]
    hashes: list[str]
    sizes: list[int]


def parse(text: bytes) -> Manifest:
    """Parse a manifest's text, and check that its totals are those of its lines."""
    first, *lines = text.decode("utf-8").split("\n")
    assert lines[-1] == "", "the last line has no end"
    rows = [re.fullmatch("([0-9a-f]{64}) ([1-9][0-9]*)", line) for line in lines[:-1]]
    assert all(rows), "a line is not a hash with a size"
    found = Manifest(
        json.loads(first), [row[1] for row in rows if row], [int(row[2]) for row in rows if row]
    )
    header = found.header
    assert header["store_workers_manifest"] == 1
    assert header["chunks"] == len(found.hashes)
    assert header["compressed_size"] == sum(found.sizes)
    assert max(found.sizes) <= header["chunk_size"]
    return found


def read_levels(read: Callable[[str], bytes], name: str) -> list[Manifest]:
    """Read a manifest and those that it is the list of: the last one lists the file's chunks."""
    pieces, size = [name], None
    levels: list[Manifest] = []
    while not levels or levels[-1].header["of"] == "manifest":
        chunks = [read(piece) for piece in pieces]
        assert [digest(chunk) for chunk in chunks] == pieces
        assert all(len(chunk) == LONGEST_PIECE for chunk in chunks[:-1])
        stream = b"".join(chunks)
        text = zstd_decode(stream)
        check_stream(stream, text)
        assert size in {None, len(text)}
        levels.append(parse(text))
        pieces, size = levels[-1].hashes, levels[-1].header["size"]
    return levels


def read_manifest(read: Callable[[str], bytes], name: str) -> Manifest:
    """Read the list of a file's chunks by the hash that names it."""
    return read_levels(read, name)[-1]
