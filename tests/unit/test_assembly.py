"""Frames in any order become one stream, listed and cut."""

from __future__ import annotations

import itertools

from hypothesis import given
from hypothesis import strategies as st

from store_workers.stream.assembly import Assembler
from store_workers.stream.compression import CompressedSpan
from tests.support.reference import cut_sizes
from tests.unit.streams import decode, frame

CONTENTS = [bytes([number]) * (1 + 997 * number) for number in range(12)]


@given(st.permutations(range(len(CONTENTS))))
def test_any_order_gives_the_same_stream(order: list[int]) -> None:
    frames = [CompressedSpan(frame(content), len(content)) for content in CONTENTS]
    assembler = Assembler(512 * 1024)
    appended = 0
    cuts = []
    for place, number in enumerate(order):
        added = assembler.add(number, frames[number])
        appended += len(added)
        # Each frame is appended as soon as those before it are there.
        came = set(order[: place + 1])
        assert appended == next(n for n in itertools.count() if n not in came)
        cuts += [cut for chunks in added for cut in chunks]
    cuts += assembler.finish()
    assert [index for index, _ in cuts] == list(range(assembler.chunks))
    chunks = [b"".join(pieces) for _, pieces in cuts]
    assert [len(chunk) for chunk in chunks] == cut_sizes(sum(map(len, chunks)))
    assert decode(chunks) == (b"".join(CONTENTS), True)
