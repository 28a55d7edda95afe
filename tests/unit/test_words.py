"""A set of words behaves as the enum that type checkers take it for."""

from __future__ import annotations

import json
from enum import Enum

import pytest

from store_workers.words import Words


class Colour(Words):
    """A set."""

    RED = "red"
    GREEN = "green"


class Same(str, Enum):
    """The same set as an enum."""

    RED = "red"
    GREEN = "green"


def test_a_set_is_used_as_an_enum() -> None:
    assert [(word.name, word.value) for word in Colour] == [(w.name, w.value) for w in Same]
    assert list(Colour) == ["red", "green"]
    assert Colour("green") is Colour.GREEN
    assert isinstance(Colour.RED, Colour)
    assert not isinstance("red", Colour)
    assert {Colour.RED: 1}["red"] == 1  # type: ignore[index]
    assert json.dumps(Colour.RED) == json.dumps(Same.RED)


@pytest.mark.parametrize("kind", [Colour, Same])
def test_another_word_is_refused_as_by_an_enum(kind: type[Colour | Same]) -> None:
    with pytest.raises(ValueError, match="'blue' is not a valid"):
        kind("blue")
