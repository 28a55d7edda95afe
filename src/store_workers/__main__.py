"""Compose the run of this process, run it, and exit."""

from __future__ import annotations

import os
import sys

from store_workers.errors import BadMessage
from store_workers.run.process_run import FAILURE, NOT_ACCEPTED, ProcessRun
from store_workers.run.supervisor import Signals
from store_workers.wire.events import error_event
from store_workers.wire.writer import EventWriter, OwnerGone, OwnerPipe

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping
    from typing import NoReturn

    from store_workers.wire.writer import Observer

LOG_VARIABLE = "STORE_WORKERS_LOG"
VERBS = ("upload", "download", "verify")


def run(arguments: list[str]) -> int:
    """Do what the command line and standard input ask for; the exit status."""
    if arguments and arguments[0] in VERBS:
        return run_verb(arguments)
    if arguments:
        from store_workers.people.flags import answer

        return answer(arguments)
    if sys.stdout is None:  # closed: nobody would hear how it went
        return FAILURE
    pipe = OwnerPipe(take_standard_output())
    problem = no_message()
    if problem:
        return refuse(pipe, problem)
    pipe.observer = find_observer(os.environ, pipe)
    return run_messages(sys.stdin.fileno(), pipe)


def run_messages(messages: int, pipe: OwnerPipe) -> int:
    """Do what the messages ask for that come from a descriptor; the exit status."""
    process_run = ProcessRun(messages, pipe, os.environ)
    with Signals(process_run.mailbox):
        status = process_run.status()
        # Threads that are held up in a silent store must not hold the exit up.
        process_run.close(0)
    return status


def run_verb(arguments: list[str]) -> int:
    """Do what a person asks for on the command line; the exit status."""
    from store_workers.people.standard_error import StandardError
    from store_workers.people.verbs import prepare

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
    """Why standard input has no message; "" if it may have one."""
    if sys.stdin is None:
        return "expected one JSON object on standard input, which is closed"
    if os.isatty(sys.stdin.fileno()):
        return "expected one JSON object on standard input, which is a terminal"
    return ""


def refuse(pipe: OwnerPipe, problem: str) -> int:
    """Report that there is no message; a person at a terminal is shown how to give one."""
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
    """Who is shown the events besides the owner: operators that ask for a log, else a person.

    Nothing is imported where nobody looks. What is reported is for a `ProgressBar`.
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
    """Keep standard output for events alone: a descriptor of our own for it.

    Whatever a library prints goes to standard error from here on.
    """
    events = os.dup(1)
    try:
        os.fstat(2)
    except OSError:  # closed: the next file to be opened must not be taken for it
        null = os.open(os.devnull, os.O_WRONLY)
        if null != 2:
            os.dup2(null, 2)
            os.close(null)
    os.dup2(2, 1)
    return events


def main() -> NoReturn:
    """Run, and exit at once: threads that are held up must not hold the exit up."""
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
