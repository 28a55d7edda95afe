"""Keys that expire: renewed in advance, used while valid, with bounded waits."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING

import pytest

from store_workers.errors import ErrorCode, StoreFailure
from store_workers.stores.s3.keyring import PAUSE, ChainKeys
from store_workers.stores.s3.signing import Keys

if TYPE_CHECKING:
    from collections.abc import Callable

AHEAD = 900.0
LONG = 30.0


class Role:
    """Credentials as botocore has them, with a clock that is moved by hand.

    Each is good for an hour, and asked for anew in its last quarter.
    """

    def __init__(self) -> None:
        self.now = 0.0
        self.expires = 0.0
        self.asked = 0
        self.trouble: Callable[[], None] = lambda: None
        self.ended = threading.Event()

    def look_up(self) -> Role:
        return self

    def refresh_needed(self, seconds: float | None = None) -> bool:
        return self.expires - self.now < (AHEAD if seconds is None else seconds)

    def freeze(self, _credentials: object) -> Keys:
        try:
            self.asked += 1
            self.trouble()
            self.expires = self.now + 3600
            return Keys(f"id-{self.asked}", "secret", "token")
        finally:
            self.ended.set()

    def keyring(self, seconds: float = LONG) -> ChainKeys:
        return ChainKeys(self.look_up, self.freeze, seconds, clock=lambda: self.now)


def fails() -> None:
    raise StoreFailure(ErrorCode.STORE_UNAVAILABLE, "throttled", transient=True)


def settled(role: Role) -> None:
    """Wait until what is asked for beside has ended."""
    assert role.ended.wait(LONG)
    for thread in threading.enumerate():
        if thread.name == "credentials":
            thread.join(LONG)
    role.ended.clear()


def test_keys_are_looked_up_once() -> None:
    role = Role()
    keyring = role.keyring()
    assert {keyring.current().access_key_id for _ in range(5)} == {"id-1"}
    assert role.asked == 1


def test_keys_are_renewed_ahead_of_time_and_used_meanwhile() -> None:
    role = Role()
    keyring = role.keyring()
    keyring.current()
    settled(role)
    go_on = threading.Event()
    role.trouble = lambda: assert_set(go_on)
    role.now = 3600 - AHEAD + 1
    assert keyring.current().access_key_id == "id-1"
    assert keyring.current().access_key_id == "id-1"
    go_on.set()
    settled(role)
    assert keyring.current().access_key_id == "id-2"
    assert role.asked == 2


def assert_set(event: threading.Event) -> None:
    assert event.wait(LONG)


def test_keys_that_are_good_are_kept_where_renewing_fails() -> None:
    role = Role()
    keyring = role.keyring()
    keyring.current()
    settled(role)
    role.trouble = fails
    role.now = 3000.0
    assert keyring.current().access_key_id == "id-1"
    settled(role)
    assert keyring.current().access_key_id == "id-1"
    assert role.asked == 2, "the source is not asked again at once"
    role.now += PAUSE
    assert keyring.current().access_key_id == "id-1"
    settled(role)
    assert role.asked == 3


def test_expired_keys_that_cannot_be_renewed_are_a_failure_that_is_tried_again() -> None:
    role = Role()
    keyring = role.keyring()
    keyring.current()
    settled(role)
    role.trouble = fails
    role.now = 4000.0
    with pytest.raises(StoreFailure, match="throttled") as raised:
        keyring.current()
    assert raised.value.transient
    role.trouble = lambda: None
    assert keyring.current().access_key_id == "id-3"


@pytest.mark.parametrize("renewal", [False, True])
def test_a_source_that_hangs_is_given_up_and_asked_once(renewal: bool) -> None:
    role = Role()
    keyring = role.keyring(seconds=0.05)
    go_on = threading.Event()
    if renewal:
        role.keyring()
        keyring.current()
        settled(role)
        role.now = 4000.0
    asked = role.asked
    role.trouble = lambda: assert_set(go_on)
    for _ in range(3):
        with pytest.raises(StoreFailure, match="did not answer") as raised:
            keyring.current()
        assert (raised.value.code, raised.value.transient) == (ErrorCode.STORE_UNAVAILABLE, True)
    assert role.asked == asked + 1
    go_on.set()
    settled(role)
    assert keyring.current().access_key_id == f"id-{asked + 1}"
