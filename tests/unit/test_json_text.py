"""JSON by the C functions alone is JSON as `json` reads and writes it."""

from __future__ import annotations

import json
import sys
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from store_workers.wire import json_text
from store_workers.wire.json_text import Decoder

VALUES = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
)
INVALID = ["", "  ", "{", '{"a":}', "[1,]", "nul", "{} {}", "\ufeff{}", '"\n"', "1" * 5000, "\x0b1"]


def refuse(word: str) -> Any:
    raise LookupError(word)


def test_the_c_functions_are_there() -> None:
    """Where they are not, all works, but starts more slowly: no test would tell."""
    assert Decoder(dict, refuse)._scan is not None


@pytest.fixture(params=[True, False], ids=["C", "json"])
def decoder(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Decoder:
    """A decoder on a Python with, and on one without, the C functions."""
    if not request.param:
        monkeypatch.setitem(sys.modules, "_json", None)
    return Decoder(dict, refuse)


@given(VALUES, st.sampled_from(["", " ", "\r\n\t "]))
def test_what_is_written_is_read(value: Any, around: str) -> None:
    text = json_text.encode(value)
    assert text == json.dumps(value, separators=(",", ":")).encode()
    assert Decoder(dict, refuse).decode(around + text.decode() + around) == value


@pytest.mark.parametrize("text", INVALID)
def test_errors_are_those_of_json(text: str, decoder: Decoder) -> None:
    with pytest.raises(ValueError) as expected:  # noqa: PT011 - compared with another one
        json.loads(text)
    with pytest.raises(type(expected.value)) as found:
        decoder.decode(text)
    assert str(found.value) == str(expected.value)


def test_errors_are_the_same_if_json_was_not_imported(monkeypatch: pytest.MonkeyPatch) -> None:
    decoder = Decoder(dict, refuse)
    for name in ("json", "json.decoder", "json.scanner", "json.encoder"):
        monkeypatch.delitem(sys.modules, name)
    with pytest.raises(ValueError, match="line 1 column 6"):
        decoder.decode('{"a":}')


def test_what_the_functions_raise_passes(decoder: Decoder) -> None:
    with pytest.raises(LookupError, match="NaN"):
        decoder.decode('{"a": [NaN]}')


def test_without_the_c_functions_the_text_is_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "_json", None)
    value = {"a": ["ü", 1, None, True], "b": {"c": 1.5}}
    assert "".join(json_text._encoder()(value, 0)).encode() == json_text.encode(value)
