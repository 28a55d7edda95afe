"""A few thousand inputs in every run of the tests; without an end by `tests/fuzz/run.py`."""

from __future__ import annotations

import json
import random
import struct
from functools import cache
from typing import TYPE_CHECKING, Any

import pytest
import zstandard
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from store_workers.stream.seek_table import SeekTable
from tests.fuzz import targets
from tests.support.data import KIB, noise, text

if TYPE_CHECKING:
    from pathlib import Path

PROFILE = settings(max_examples=120, deadline=None, suppress_health_check=list(HealthCheck))
FEWER = settings(PROFILE, max_examples=50)

INPUTS = [
    pytest.param(name, path, id=f"{name}-{path.name}")
    for name in targets.TARGETS
    for path in targets.corpus(name)
]


@pytest.mark.parametrize(("name", "path"), INPUTS)
def test_the_corpus(name: str, path: Path) -> None:
    targets.TARGETS[name](path.read_bytes())


# Messages.

FIELDS = [
    *("type", "path", "store", "id", "auth", "tls", "settings", "size", "sha256", "verify"),
    *("manifest", "content"),
    *("hashes", "max_attempts", "timeout_ms", "concurrency", "bearer_token", "username"),
    *("password", "ca_file", "cert_file", "access_key_id", "secret_access_key"),
]
WORDS = [
    *(
        "UPLOAD_START",
        "DOWNLOAD_START",
        "VERIFY_START",
        "file:///a",
        "http://h/",
        "https://u:p@h:1/x?y",
        "s3://b/p",
    ),
    *("ftp://x", "http://", "http://[::1]:99999/", "://", "\x00", "\ud800", "\udcff", "0" * 64, ""),
]
LEAVES = (
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats()
    | st.sampled_from(WORDS)
    | st.text(st.characters(codec=None), max_size=8)
)
VALUES = st.recursive(
    LEAVES,
    lambda inner: (
        st.lists(inner, max_size=4)
        | st.dictionaries(st.sampled_from(FIELDS) | st.text(max_size=3), inner, max_size=5)
    ),
    max_leaves=12,
)
OBJECTS = st.dictionaries(st.sampled_from(FIELDS), VALUES, max_size=8)


@PROFILE
@given(st.binary(max_size=200))
@example(b"{" * 5000)
@example(b"\xef\xbb\xbf{}")
def test_any_bytes_as_a_message(data: bytes) -> None:
    targets.message(data)


@PROFILE
@given(OBJECTS, st.booleans())
def test_any_object_as_a_message(value: dict[str, Any], is_escaped: bool) -> None:
    line = json.dumps(value, ensure_ascii=is_escaped)
    targets.message(line.encode("utf-8", "surrogatepass") + b"\n")


@PROFILE
@given(
    st.sampled_from(["UPLOAD_START", "DOWNLOAD_START", "VERIFY_START"]),
    st.sampled_from(WORDS) | st.text(st.characters(codec=None), min_size=1),
    OBJECTS,
)
def test_nearly_good_messages(kind: str, store: str, more: dict[str, Any]) -> None:
    value = {"hashes": ["0" * 64], **more, "type": kind, "path": "x", "store": store}
    if kind == "UPLOAD_START":
        del value["hashes"]
    if kind == "VERIFY_START":
        del value["path"]
    for name in list(more):
        # One foreign field at a time lets the others be looked at as well.
        targets.message(json.dumps({**value, name: more[name]}).encode() + b"\n")
        value.pop(name, None) if name not in {"type", "path", "store"} else None
    targets.message(json.dumps(value).encode() + b"\n")


# Streams.


@cache
def frames() -> list[bytes]:
    """Frames as the worker makes them, of contents that compress differently."""
    contents = [b"", b"x", bytes(5 * KIB), text(3 * KIB), noise(2 * KIB), text(9 * KIB, seed=5)]
    make = zstandard.ZstdCompressor(level=3, write_checksum=True, write_content_size=True)
    return [make.compress(content) for content in contents]


def sealed(picked: list[bytes]) -> bytes:
    """Return frames with their seek table: a worker's stream."""
    table = SeekTable()
    for frame in picked:
        size = len(targets.reference(frame))
        table.add(len(frame), size, int.from_bytes(frame[-4:], "little"))
    return b"".join(picked) + table.encode()


STREAMS = st.lists(st.sampled_from(range(6)), min_size=1, max_size=5).map(
    lambda numbers: sealed([frames()[number] for number in numbers])
)
SIZES = st.binary(min_size=4, max_size=4)


@PROFILE
@given(SIZES, st.binary(max_size=300))
def test_any_bytes_as_a_stream(sizes: bytes, data: bytes) -> None:
    targets.stream(sizes + b"\x28\xb5\x2f\xfd" + data)


@PROFILE
@given(
    STREAMS, SIZES, st.lists(st.tuples(st.integers(0, 3), st.integers(0), st.binary(max_size=4)))
)
def test_streams_with_a_few_bytes_changed(
    whole: bytes, sizes: bytes, edits: list[tuple[int, int, bytes]]
) -> None:
    data = bytearray(whole)
    for kind, place, new in edits:
        position = place % (len(data) + 1)
        if kind == 0:
            data[position : position + len(new)] = new
        elif kind == 1:
            data[position:position] = new
        elif kind == 2:
            del data[position : position + len(new)]
        else:
            del data[position:]
    targets.stream(sizes + bytes(data))


@PROFILE
@given(st.lists(st.integers(0, 255), min_size=1, max_size=6), st.integers(0), SIZES)
def test_frames_and_skippable_ones_in_any_order(picked: list[int], seed: int, sizes: bytes) -> None:
    """All of it is a standard stream: whatever the worker takes, zstd restores the same."""
    chance = random.Random(seed)
    pieces = []
    for number in picked:
        pieces.append(frames()[number % 6])
        if number > 128:
            length = chance.randrange(40)
            magic = 0x184D2A50 + chance.randrange(16)
            pieces.append(struct.pack("<II", magic, length) + chance.randbytes(length))
    targets.stream(sizes + b"".join(pieces))


@FEWER
@given(st.data(), st.integers(1, 60))
def test_no_list_of_a_files_chunks_but_the_right_one(data: st.DataObject, length: int) -> None:
    """Omission, repetition, reordering, the chunks of another file: refused, or the same bytes."""
    one, other = (
        sealed(
            [frames()[n] for n in data.draw(st.lists(st.integers(0, 5), min_size=2, max_size=6))]
        )
        for _ in range(2)
    )
    chunks = [one[start : start + length] for start in range(0, len(one), length)]
    foreign = [other[start : start + length] for start in range(0, len(other), length)]
    listed = list(chunks)
    for _ in range(data.draw(st.integers(1, 4))):
        place = data.draw(st.integers(0, len(listed)))
        kind = data.draw(st.sampled_from(["omit", "repeat", "swap", "cut", "foreign"]))
        if kind == "omit":
            listed[place : place + 1] = []
        elif kind == "repeat":
            listed[place:place] = listed[place : place + data.draw(st.integers(1, 5))]
        elif kind == "swap":
            listed[place : place + 2] = reversed(listed[place : place + 2])
        elif kind == "cut":
            del listed[place:]
        else:
            listed[place:place] = [data.draw(st.sampled_from(foreign))]
    content = targets.decoded(listed, vouched_only=True)
    wanted = targets.reference(one)
    # Whole files, by whatever way one comes to them, are these files behind each other.
    joined = b"".join(listed)
    assert content in {None, wanted} or not joined.replace(one, b"").replace(other, b"")
    if joined and not joined.replace(one, b"") and joined != one:
        assert content is None, "a list that was repeated"


# Manifests.

HEAD = {"store_workers_manifest": 1, "of": "file", "size": 9, "compressed_size": 30, "chunks": 2}
HEAD |= {"chunk_size": 524288, "boundaries": "fixed"}
NUMBERS = st.integers(-1, 40) | st.integers() | st.sampled_from(["file", "manifest", None, "1"])
HEADS = st.dictionaries(st.sampled_from([*HEAD, "sha256", "later"]), NUMBERS | VALUES, max_size=2)
ROWS = st.lists(
    st.tuples(st.sampled_from(["a" * 64, "b" * 64, "A" * 64, "a"]), st.integers(-1, 30)), max_size=3
)


@PROFILE
@given(st.binary(max_size=300))
@example(b"{" + b" " * 5000)
def test_any_bytes_as_a_manifest(data: bytes) -> None:
    targets.manifest(data)


@PROFILE
@given(HEADS, ROWS, st.binary(max_size=3), st.booleans())
def test_nearly_good_manifests(
    changes: dict[str, Any], rows: list[tuple[str, int]], end: bytes, counted: bool
) -> None:
    totals = {"chunks": len(rows), "compressed_size": sum(size for _, size in rows)}
    head = json.dumps({**HEAD, **(totals if counted else {}), **changes})
    lines = [head, *(f"{hash} {size}" for hash, size in rows)]
    text = "".join(line + "\n" for line in lines).encode("utf-8", "surrogatepass")
    targets.manifest(text + end)
