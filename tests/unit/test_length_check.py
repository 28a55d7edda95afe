"""The check of a chunk after its PUT."""

from __future__ import annotations

import pytest

from store_workers.errors import ErrorCode, StoreFailure
from store_workers.stores.base import Chunk
from store_workers.stores.length_check import LengthCheck

HASHES = ["0" * 64, "1" * 64]


def chunk(hash: str = HASHES[0], size: int = 5) -> Chunk:
    return Chunk(hash, [memoryview(bytes(size))])


class Store:
    """Answers with the lengths that it was given, and counts the questions."""

    def __init__(self, *answers: int | StoreFailure | None) -> None:
        self.answers = list(answers)
        self.asked: list[str] = []
        self.pauses: list[float] = []
        self.check = LengthCheck(self.length, "the store", "is it a store?", self.pauses.append)

    def length(self, hash: str) -> int | None:
        self.asked.append(hash)
        answer = self.answers.pop(0)
        if isinstance(answer, StoreFailure):
            raise answer
        return answer


@pytest.mark.parametrize("answer", [5, None])
def test_only_the_first_chunk_is_asked_for(answer: int | None) -> None:
    store = Store(answer)
    store.check.after_put(chunk())
    store.check.after_put(chunk(HASHES[1]))
    store.check.after_put(chunk())
    assert store.asked == [HASHES[0]]


def test_chunk_of_another_length_is_asked_for_until_it_is_right() -> None:
    store = Store(5, 5)
    store.check.after_put(chunk())
    assert not store.check.is_right(HASHES[1], 5, 3)
    assert store.check.doubts(HASHES[1])
    store.check.after_put(chunk(HASHES[1]))
    store.check.after_put(chunk(HASHES[1]))
    assert store.asked == HASHES
    assert not store.check.doubts(HASHES[1])


@pytest.mark.parametrize(("length", "right"), [(5, True), (None, False)])
def test_right_length_or_none_leaves_no_doubt(length: int | None, right: bool) -> None:
    store = Store()
    assert store.check.is_right(HASHES[0], 5, length) is right
    assert not store.check.doubts(HASHES[0])


@pytest.mark.parametrize(("length", "asked"), [(0, 3), (4, 3), (6, 1)])
def test_store_that_does_not_store_is_refused_each_time(length: int, asked: int) -> None:
    """It is not tried again, but a shorter length is asked for three times."""
    store = Store(5, *[length] * 2 * asked)
    store.check.after_put(chunk())
    store.check.is_right(HASHES[1], 5, 3)
    for _ in range(2):
        with pytest.raises(StoreFailure) as caught:
            store.check.after_put(chunk(HASHES[1]))
        assert caught.value.code is ErrorCode.STORE_REJECTED
        assert not caught.value.transient
        assert caught.value.message == (
            "the store does not store chunks: it accepted 5 bytes, and reports"
            f" {length} bytes under the same name; is it a store?"
        )
    assert not store.answers


@pytest.mark.parametrize("lengths", [(3, 5), (0, 4, 5), (2, None)])
def test_the_partial_put_of_another_worker_is_waited_for(lengths: tuple[int | None, ...]) -> None:
    store = Store(*lengths)
    store.check.after_put(chunk())
    assert not store.answers
    assert len(store.pauses) == len(lengths) - 1
    assert not store.check.doubts(HASHES[0])


def test_question_that_failed_is_asked_with_the_next_chunk() -> None:
    store = Store(StoreFailure(ErrorCode.STORE_UNAVAILABLE, "away", transient=True), 5)
    with pytest.raises(StoreFailure, match="away"):
        store.check.after_put(chunk())
    store.check.after_put(chunk(HASHES[1]))
    assert store.asked == HASHES
