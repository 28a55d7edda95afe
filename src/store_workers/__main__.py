"""Compose the run of this process, run it, and exit."""

from __future__ import annotations

import os
import sys
from contextlib import suppress

from store_workers.errors import BadMessage
from store_workers.run.failures import DEBUG_VARIABLE, as_worker_error
from store_workers.run.message_run import conclude
from store_workers.run.process_run import ProcessRun
from store_workers.run.supervisor import Mailbox, Signals, hold_signals
from store_workers.wire.events import FAILURE, NOT_ACCEPTED, error_event
from store_workers.wire.writer import EventWriter, OwnerGone, OwnerPipe

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping
    from typing import NoReturn

    from store_workers.people.verbs import Invocation
    from store_workers.wire.writer import Observer

LOG_VARIABLE = "STORE_WORKERS_LOG"


def run(arguments: list[str]) -> int:
    """Carry out the command line or the messages on standard input. Return the exit status."""
    if arguments:
        return run_command_line(arguments)
    if sys.stdout is None:  # closed: the result could not be reported
        return FAILURE
    hold_signals()
    try:
        events = take_standard_output()
    except OSError as failure:
        return report(failure, OwnerPipe(1))
    pipe = OwnerPipe(events)
    try:
        return run_owner(pipe)
    except Exception as failure:  # noqa: BLE001 - whatever it is, it is reported
        return report(failure, pipe)


def report(failure: Exception, pipe: OwnerPipe) -> int:
    """Report a failure outside of the work, such as a lack of memory. Return the exit status."""
    with suppress(OwnerGone):
        conclude(failure, EventWriter(pipe))
    return FAILURE


def run_owner(pipe: OwnerPipe) -> int:
    """Carry out the messages of an owner, who reads events from the pipe. Return the status."""
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


def run_command_line(arguments: list[str]) -> int:
    """Carry out a verb or a flag. Return the exit status."""
    from store_workers.people.standard_error import StandardError

    stderr = StandardError()
    try:
        from store_workers.people.flags import VERBS, answer

        if arguments[0] not in VERBS:
            return answer(arguments)
        from store_workers.people.verbs import prepare

        hold_signals()
        invocation = prepare(arguments, stderr)
        if isinstance(invocation, int):
            return invocation
        return run_invocation(invocation)
    except Exception as failure:  # noqa: BLE001 - whatever it is, it is reported
        error = as_worker_error(failure)
        stderr.write(f"store-workers: {error.message} ({error.code.value})\n")
        return FAILURE


def run_invocation(invocation: Invocation) -> int:
    """Carry out the messages of a command line. Return the exit status."""
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
    if sys.__stderr__ is None:  # closed: a command and libraries get the null device
        null = os.open(os.devnull, os.O_WRONLY)
        os.dup2(null, 2)
        if null != 2:
            os.close(null)
    os.dup2(2, 1)
    return events


class Silence:
    """Python's standard error, without effect.

    The worker writes to the descriptor (`StandardError`). What Python and libraries would write, as
    of exceptions that they ignore, is no result, and can contain tracebacks.
    """

    def write(self, text: str) -> int:
        """Drop the text."""
        return len(text)

    def flush(self) -> None:
        """Do nothing."""


def main() -> NoReturn:
    """Run, and exit at once, without waiting for threads that block."""
    if os.environ.get(DEBUG_VARIABLE) != "1":
        sys.stderr = Silence()
    status = run(sys.argv[1:])
    with suppress(OSError):
        if sys.stdout is not None:
            sys.stdout.flush()
    os._exit(status)


if __name__ == "__main__":
    main()
