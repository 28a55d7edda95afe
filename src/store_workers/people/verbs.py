"""Verbs: runs the messages of a command line and prints results for people.

Standard output has what the next program needs: for an upload `<manifest>  <path>`, in the format
of sha256sum. On standard error, a failure is one line with a remedy.
"""

from __future__ import annotations

import json
import os
import re
import sys
import threading

from store_workers.errors import ErrorCode, shown
from store_workers.people.command_line import (
    STANDARD_STREAM,
    WrongCommandLine,
    option,
    parse,
    program_name,
)
from store_workers.wire.events import NOT_ACCEPTED, ErrorEvent, FileUploaded, FileVerified, Warning

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

    from store_workers.errors import Try
    from store_workers.people.command_line import Command
    from store_workers.people.standard_error import StandardError
    from store_workers.wire.events import Event
    from store_workers.wire.messages import Message
    from store_workers.wire.writer import Observer

HINTS = {
    ErrorCode.BAD_MESSAGE: "see --help",
    ErrorCode.STORE_UNAVAILABLE: "try again later: stored chunks are not sent again",
    ErrorCode.STORE_ACCESS_DENIED: "check the credentials",
    ErrorCode.STORE_REJECTED: "check the store: trying again will not help",
    ErrorCode.CHUNK_NOT_FOUND: "check the store, or upload the original again",
    ErrorCode.CHUNK_CORRUPT: "upload the original with --overwrite to repair the store",
    ErrorCode.STREAM_CORRUPT: "check that the manifest is the one that the upload printed",
    ErrorCode.CANCELLED: "run the same command again to continue",
    ErrorCode.INTERNAL: "please report it, with what STORE_WORKERS_DEBUG=1 shows",
}
"""The remedy for a failure, if its message does not contain one."""


def prepare(arguments: list[str], stderr: StandardError) -> Invocation | int:
    """Return the invocation of a command line, or the exit status if nothing is left to do."""
    try:
        return Invocation(parse(arguments), stderr)
    except WrongCommandLine as wrong:
        stderr.write(f"{wrong.usage}\n{program_name()}: {wrong.problem}\n")
        return NOT_ACCEPTED
    except SystemExit as ended:  # help was printed
        return int(ended.code or 0)


class Invocation:
    """One command: its messages in a pipe, its standard streams on other descriptors.

    `messages` and `events` are the descriptors that the run reads from and writes to.
    """

    def __init__(self, command: Command, stderr: StandardError) -> None:
        self._command = command
        self._stderr = stderr
        self._printer: Printer | None = None
        stdin, self._stdout = moved_streams()
        self._replace_streams(stdin)
        self.events = self._stdout if command.is_json else os.open(os.devnull, os.O_WRONLY)
        self.messages = self._feed()

    @property
    def is_single(self) -> bool:
        """Return whether there is only one file."""
        return len(self._command.messages) == 1

    def printer(self, inner: Observer | None) -> Observer | None:
        """Return the observer: a `Printer` around `inner`, or `inner` with `--json`."""
        if self._command.is_json:
            return inner
        self._printer = Printer(self._command.paths, self._stdout, self._stderr, inner)
        return self._printer

    def status(self, status: int) -> int:
        """Return the exit status: a success that could not be printed is a failure."""
        return 1 if status == 0 and self._printer is not None and self._printer.failed else status

    def _replace_streams(self, stdin: int) -> None:
        """Name standard input or output as a descriptor that an owner passes on."""
        for message in self._command.messages:
            if message.get("path") == STANDARD_STREAM:
                number = stdin if message["type"] == "UPLOAD_START" else self._stdout
                if number != CLOSED:
                    os.set_inheritable(number, True)
                message["path"] = f"/dev/fd/{number}"

    def _feed(self) -> int:
        """Return the read end of a pipe with the messages."""
        reading, writing = os.pipe()
        lines = "".join(json.dumps(message) + "\n" for message in session(self._command.messages))

        def write() -> None:
            with os.fdopen(writing, "wb") as pipe:
                pipe.write(lines.encode("ascii"))

        threading.Thread(target=write, daemon=True, name="messages").start()
        return reading


def session(messages: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Return the lines for some messages: a single one unchanged, several as a session."""
    if len(messages) == 1:
        return messages
    first = messages[0]
    shared: dict[str, Any] = {name: first[name] for name in OF_A_SESSION if name in first}
    own = [
        {"id": str(number), **{name: value for name, value in m.items() if name not in shared}}
        for number, m in enumerate(messages)
    ]
    return [{"type": "SESSION_START", **shared}, *own]


def moved_streams() -> tuple[int, int]:
    """Return standard input and output as other descriptors, `CLOSED` for closed ones.

    After that, descriptor 0 is empty and output on 1 goes to 2. The number of a stream that was
    closed can belong to another file by now and is not touched.
    """
    stdin, stdout = (CLOSED if stream is None else os.dup(number) for number, stream in streams())
    null = os.open(os.devnull, os.O_RDWR)
    if sys.stdin is not None:
        os.dup2(null, 0)
    if sys.stdout is not None:
        os.dup2(null if sys.__stderr__ is None else 2, 1)
    if null > 2:  # otherwise it replaced a closed stream
        os.close(null)
    return stdin, stdout


def streams() -> tuple[tuple[int, Any], tuple[int, Any]]:
    """Return standard input and output by their numbers; None if closed at the start."""
    return (0, sys.stdin), (1, sys.stdout)


CLOSED = 999_999
"""A descriptor that does not exist: using it gives an error that says so."""

OF_A_SESSION = ("store", "tls", "settings")
"""Fields with the same value in every message of a command."""


class Printer:
    """An observer that prints the result of each file, in the order of the command line.

    `inner` receives everything, too.
    """

    def __init__(
        self, paths: list[str], stdout: int, stderr: StandardError, inner: Observer | None
    ) -> None:
        self._paths = paths
        self._stdout = stdout
        self._stderr = stderr
        self._inner = inner
        self._results: dict[int, str] = {}
        self._printed = 0
        self.failed = False  # a result could not be printed

    def begin(self, message: Message, store: str, progress: Callable[[], Any]) -> None:
        if self._inner is not None:
            self._inner.begin(message, store, progress)

    def tried(self, id: str | None, result: Try) -> None:
        if self._inner is not None:
            self._inner.tried(id, result)

    def before(self) -> None:
        if self._inner is not None:
            self._inner.before()

    def after(self, event: Event, id: str | None) -> None:
        """Print the line for an event, if it has one."""
        if self._inner is not None:
            self._inner.after(event, id)
        number = int(id or 0)
        path = self._paths[number]
        if isinstance(event, FileUploaded):
            self._result(number, checksum_line(event.manifest or "", path))
        elif isinstance(event, FileVerified):
            self._result(number, f"{path}: OK\n")
        elif isinstance(event, ErrorEvent):
            self._failed(event, number, path, is_files=id is not None or len(self._paths) == 1)
        elif isinstance(event, Warning):
            self._stderr.write(f"{program_name()}: warning: {event.message}\n")

    def tick(self) -> None:
        if self._inner is not None:
            self._inner.tick()

    def close(self) -> None:
        if self._inner is not None:
            self._inner.close()

    def _failed(self, event: ErrorEvent, number: int, path: str, *, is_files: bool) -> None:
        """Report that one file or all failed. A signal that stops many is reported once."""
        if is_files:
            self._result(number, "")
            if event.code is ErrorCode.CANCELLED and len(self._paths) > 1:
                return
        self._stderr.write(failure_line(event, path if is_files else ""))

    def _result(self, number: int, line: str) -> None:
        """Print the results that are next in order."""
        self._results[number] = line
        while self._printed in self._results:
            data = memoryview(os.fsencode(self._results.pop(self._printed)))
            self._printed += 1
            try:
                while data:
                    data = data[os.write(self._stdout, data) :]
            except OSError as error:
                self.failed = True
                self._stderr.write(f"{program_name()}: standard output: {error.strerror}\n")
                return


def checksum_line(digest: str, path: str) -> str:
    """Return a line in the format of sha256sum, with its escapes for unusual file names."""
    escaped = path.replace("\\", "\\\\").replace("\n", "\\n").replace("\r", "\\r")
    return f"{'' if escaped == path else chr(92)}{digest}  {escaped}\n"


def failure_line(event: ErrorEvent, path: str) -> str:
    """Return one line with the failure and a remedy."""
    message = re.sub(r"/dev/fd/[0-9]+", STANDARD_STREAM, event.message)
    message = re.sub(r"^settings\.([a-z_]+)", lambda found: option(found[1]), message)
    if path and event.code is not ErrorCode.BAD_MESSAGE and not message.startswith(shown(path)):
        message = f"{shown(path)}: {message}"
    notes = [event.code.value, HINTS.get(event.code, "")]
    return f"{program_name()}: {message} ({'; '.join(note for note in notes if note)})\n"
