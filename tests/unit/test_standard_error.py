"""Writing to standard error never waits for its reader."""

from __future__ import annotations

import os
import time
from contextlib import suppress

from store_workers.people.standard_error import PATIENCE, StandardError


def test_text_goes_out_whole_and_in_order() -> None:
    ours, theirs = os.pipe()
    stream = StandardError(theirs)
    assert stream.write("a ä\n" * 3000) == 12000
    stream.write("end\n")
    stream.flush()
    os.close(theirs)
    with open(ours, encoding="utf-8") as written:
        assert written.read() == "a ä\n" * 3000 + "end\n"


def test_what_nobody_takes_is_dropped_after_one_wait() -> None:
    ours, theirs = os.pipe()
    stream = StandardError(theirs)
    started = time.monotonic()
    for _ in range(200):
        stream.write("x" * 8192)
    assert PATIENCE * 0.9 < time.monotonic() - started < 50 * PATIENCE  # not 200 of them
    os.set_blocking(ours, False)
    with suppress(BlockingIOError):
        while os.read(ours, 65536):
            pass
    stream.write("again\n")  # somebody reads again
    assert os.read(ours, 100).endswith(b"again\n")
    os.close(ours)
    os.close(theirs)


def test_nobody_at_the_other_end_is_no_failure() -> None:
    ours, theirs = os.pipe()
    os.close(ours)
    StandardError(theirs).write("to nobody\n")
    os.close(theirs)
    StandardError(theirs).write("to nothing\n")


def test_it_is_no_terminal() -> None:
    ours, theirs = os.pipe()
    assert not StandardError(theirs).isatty()
    assert StandardError(theirs).fileno() == theirs
    os.close(ours)
    os.close(theirs)
