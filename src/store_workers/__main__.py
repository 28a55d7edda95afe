"""Compose the run of this process, run it, and exit."""

from __future__ import annotations

import os
import sys

from store_workers.errors import BadMessage
from store_workers.run.process_run import ProcessRun
from store_workers.run.supervisor import Mailbox, Signals, hold_signals
from store_workers.wire.events import FAILURE, NOT_ACCEPTED, error_event
from store_workers.wire.writer import EventWriter, OwnerGone, OwnerPipe

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping
    from typing import NoReturn

    from store_workers.wire.writer import Observer

LOG_VARIABLE = "STORE_WORKERS_LOG"


def run(arguments: list[str]) -> int:
    """Carry out the command line or the messages on standard input. Return the exit status."""
    if arguments:
        from store_workers.people.flags import VERBS, answer

        return run_verb(arguments) if arguments[0] in VERBS else answer(arguments)
    if sys.stdout is None:  # closed: the result could not be reported
        return FAILURE
    hold_signals()
    pipe = OwnerPipe(take_standard_output())
    problem = no_message()
    if problem:
        with Signals(Mailbox(pipe.hurry)):
            return refuse(pipe, problem)
    pipe.observer = find_observer(os.environ, pipe)
    return run_messages(sys.stdin.fileno(), pipe)


def run_messages(messages: int, pipe: OwnerPipe) -> int:
    """Carry out the messages that come from a descriptor. Return the exit status."""
    process_run = ProcessRun(messages, pipe, os.environ)
    with Signals(process_run.mailbox):
        status = process_run.status()
        # Threads that wait for a silent store must not delay the exit.
        process_run.close(0)
    return status


def run_verb(arguments: list[str]) -> int:
    """Carry out a verb. Return the exit status."""
    from store_workers.people.standard_error import StandardError
    from store_workers.people.verbs import prepare

    hold_signals()
    invocation = prepare(arguments, StandardError())
    if isinstance(invocation, int):
        return invocation
    pipe = OwnerPipe(invocation.events)
    observer = find_observer(
        os.environ, pipe, tells_files=invocation.is_single, tells_failures=False
    )
    pipe.observer = invocation.printer(observer)
    return invocation.status(run_messages(invocation.messages, pipe))


def no_message() -> str:
    """Return why standard input has no message, or ""."""
    if sys.stdin is None:
        return "expected one JSON object on standard input, which is closed"
    if os.isatty(sys.stdin.fileno()):
        return "expected one JSON object on standard input, which is a terminal"
    return ""


def refuse(pipe: OwnerPipe, problem: str) -> int:
    """Report that there is no message. A person at a terminal gets the help."""
    typed = pipe.is_on_screen()
    if typed or (sys.stdin is not None and os.isatty(sys.stdin.fileno())):
        from store_workers.people.flags import help_text
        from store_workers.people.standard_error import StandardError

        StandardError().write(help_text() + "\n" + (f"\n{problem}\n" if typed else ""))
    if typed:
        return NOT_ACCEPTED
    try:
        EventWriter(pipe).emit(error_event(BadMessage("", problem)))
    except OwnerGone:
        return FAILURE
    return NOT_ACCEPTED


def find_observer(
    environment: Mapping[str, str],
    pipe: OwnerPipe,
    *,
    tells_files: bool = True,
    tells_failures: bool = True,
) -> Observer | None:
    """Return the observer of the events: a log if requested, a progress bar on a terminal, or None.

    Imports only what is used. `tells_files` and `tells_failures` are for a `ProgressBar`.
    """
    level = environment.get(LOG_VARIABLE)
    if level:
        from store_workers.people.log import Log
        from store_workers.people.standard_error import StandardError

        return Log(level, StandardError())
    if os.isatty(2):
        from store_workers.people.progress_bar import ProgressBar
        from store_workers.people.standard_error import StandardError

        return ProgressBar(
            StandardError(),
            on_screen=pipe.is_on_screen(),
            tells_files=tells_files,
            tells_failures=tells_failures,
        )
    return None


def take_standard_output() -> int:
    """Reserve standard output for events, on a descriptor of its own. Return that descriptor.

    Output of libraries goes to standard error from here on.
    """
    events = os.dup(1)
    try:
        os.fstat(2)
    except OSError:  # closed: the next file that is opened must not get this number
        null = os.open(os.devnull, os.O_WRONLY)
        if null != 2:
            os.dup2(null, 2)
            os.close(null)
    os.dup2(2, 1)
    return events


def main() -> NoReturn:
    """Run, and exit at once, without waiting for threads that block."""
    status = run(sys.argv[1:])
    for stream in (sys.stdout, sys.stderr):
        try:
            if stream is not None:
                stream.flush()
        except OSError:
            pass
    os._exit(status)


if __name__ == "__main__":
    main()
