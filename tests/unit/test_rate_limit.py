"""The rate limit in virtual time: rate, bursts, and returned allowance."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from store_workers.threads import Abandoned
from store_workers.transfer.rate_limit import RateLimit

MIB = 1024 * 1024


class Limited:
    """A limit with a clock that only sleeping moves."""

    def __init__(self, rate: int) -> None:
        self.now = 100.0
        self.limit = RateLimit(rate, clock=lambda: self.now, sleep=self._sleep)

    def _sleep(self, seconds: float) -> None:
        self.now += seconds


@pytest.mark.parametrize("rate", [1000, 50_000, MIB, 100 * MIB])
def test_what_passes_in_any_five_seconds(rate: int) -> None:
    limited = Limited(rate)
    passed: list[tuple[float, int]] = []
    view = memoryview(bytes(max(1024, min(rate, 8 * MIB))))
    while limited.now < 120:
        for piece in limited.limit.pieces([view]):
            passed.append((limited.now, len(piece)))
            if limited.now >= 120:
                break
    for begin in (100, 101.3, 107, 114.9):
        count = sum(size for now, size in passed if begin <= now < begin + 5)
        assert 0.9 * 5 * rate <= count <= 1.1 * 5 * rate


@given(st.integers(1, 1 << 40), st.integers(0, 3 * MIB))
def test_pieces_are_small_and_whole(rate: int, size: int) -> None:
    limited = Limited(rate)
    size = min(size, 300 * limited.limit.piece)
    pieces = list(limited.limit.pieces([memoryview(bytes(size))]))
    assert sum(map(len, pieces)) == size
    assert all(len(piece) <= max(256, min(64 * 1024, rate / 20)) for piece in pieces)


def test_a_pause_is_not_made_up_for() -> None:
    limited = Limited(MIB)
    limited.limit.take(MIB)
    limited.now += 60
    before = limited.now
    for _ in range(64):
        limited.limit.take(MIB // 32)
    assert limited.now - before >= 2 - 0.25


def test_what_did_not_pass_is_there_for_others() -> None:
    limited = Limited(MIB)
    limited.limit.take(MIB)
    limited.limit.give_back(MIB)
    before = limited.now
    limited.limit.take(1)
    assert limited.now - before < 0.01


def test_a_wait_ends_with_the_work() -> None:
    def sleep(_seconds: float) -> None:
        raise Abandoned

    limit = RateLimit(1000, clock=lambda: 0.0, sleep=sleep)
    with pytest.raises(Abandoned):
        limit.take(10_000)


def test_each_request_has_to_be_worth_it() -> None:
    assert RateLimit(1).most_requests == 1
    assert RateLimit(100_000).most_requests == 6
    assert RateLimit(100 * MIB).most_requests > 256
