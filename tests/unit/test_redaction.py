"""Text of others, made fit to be shown: no secret in any spelling, no control character, short."""

from __future__ import annotations

import base64
import json
from html import escape
from urllib.parse import quote, quote_plus

import pytest
from hypothesis import given
from hypothesis import strategies as st

from store_workers.stores.redaction import HIDDEN, LONGEST_SHOWN, Redactor

SECRET = 'p@ss/w+rd=<"ä">&'


@pytest.mark.parametrize(
    "spelled",
    [
        SECRET,
        SECRET.upper(),
        quote(SECRET),
        quote(SECRET, safe=""),
        quote(SECRET, safe="").lower(),
        quote_plus(SECRET),
        json.dumps(SECRET),
        json.dumps(SECRET, ensure_ascii=False),
        escape(SECRET),
        escape(SECRET, quote=False),
        base64.b64encode(SECRET.encode()).decode(),
        base64.urlsafe_b64encode(SECRET.encode()).decode(),
        SECRET.encode().decode("latin-1"),
    ],
)
def test_a_secret_is_hidden_however_it_is_spelled(spelled: str) -> None:
    said = Redactor(SECRET).clean(f"bad token {spelled} here")
    assert said.replace('"', "").replace("=", "") == f"bad token {HIDDEN} here"


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("plain", "plain"),
        ("two\r\n lines\t and\x0b more", "two lines and more"),
        ("\x1b[2Jgone", "?[2Jgone"),
        ("a\u202eb\x00c\x7f", "a?b?c?"),
        ("ümlaut 漢字", "ümlaut 漢字"),
        ("x" * 1000, "x" * (LONGEST_SHOWN - 1) + "…"),
    ],
)
def test_what_is_shown_is_one_printable_line(text: str, shown: str) -> None:
    assert Redactor().clean(text) == shown


@given(st.text(min_size=4, max_size=40).filter(str.strip), st.text(), st.text())
def test_no_text_shows_a_secret(secret: str, before: str, after: str) -> None:
    said = Redactor(secret).clean(before + secret + after, longest=10_000)
    assert said.isprintable()
    assert secret.lower() not in said.replace(HIDDEN, "").lower()


def test_short_secrets_are_hidden_where_they_stand_alone() -> None:
    redactor = Redactor("7")
    assert redactor.clean("tenant=7, 507 and 7x") == f"tenant={HIDDEN}, 507 and 7x"


def test_half_a_secret_at_a_cut_end_is_not_shown() -> None:
    redactor = Redactor("topsecret")
    assert redactor.clean("no: topsec", cut=True) == "no:"
    assert redactor.clean("no: topsec") == "no: topsec"
    assert redactor.clean("no: to be", cut=True) == "no: to be"


def test_what_is_learned_later_counts() -> None:
    redactor = Redactor()
    redactor.learn("session-token", None, "")
    assert redactor.clean("session-token") == HIDDEN
