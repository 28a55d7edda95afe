"""Late requests: derived from the others, after at least a second, and few of them."""

from __future__ import annotations

from store_workers.transfer.stragglers import Stragglers


class Watched:
    """Stragglers with a clock that stands still until it is moved."""

    def __init__(self, requests: int) -> None:
        self.now = 100.0
        self.requests = Stragglers(requests, clock=lambda: self.now)

    def whole(self, number: int, seconds: float) -> None:
        """A request from its beginning to its end."""
        self.requests.begin(number)
        self.now += seconds
        assert self.requests.end(number)


def test_nothing_is_late_before_anything_was_learned() -> None:
    watched = Watched(10)
    watched.requests.begin(0)
    watched.now += 3600
    assert watched.requests.wait() is None


def test_a_second_is_given_to_every_request() -> None:
    watched = Watched(10)
    watched.whole(0, 0.01)
    watched.requests.begin(1)
    assert watched.requests.wait() == 1.0
    watched.now += 1.0
    assert watched.requests.wait() == 0


def test_slow_lines_get_more_time() -> None:
    watched = Watched(10)
    watched.whole(0, 2.0)
    watched.whole(1, 4.0)
    watched.requests.begin(2)
    assert watched.requests.wait() == 12.0


def test_each_is_repeated_once_and_few_are() -> None:
    watched = Watched(100)
    watched.whole(0, 0.1)
    for number in range(1, 6):
        watched.requests.begin(number)
    watched.now += 60
    repeated = []
    while watched.requests.wait() == 0:
        repeated.append(watched.requests.repeat())
    assert repeated == [1, 2]


def test_the_first_end_counts() -> None:
    watched = Watched(10)
    watched.whole(0, 0.1)
    watched.requests.begin(1)
    assert 1 in watched.requests
    assert watched.requests.end(1)
    assert not watched.requests.end(1)
    assert 1 not in watched.requests
    assert len(watched.requests) == 0
