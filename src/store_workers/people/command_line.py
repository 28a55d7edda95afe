"""The command line for people, as the messages that it stands for.

Verbs do nothing that a message cannot: what is given here is put into the fields of a message and
checked by its decoder. Loaded only where there are arguments.
"""

from __future__ import annotations

import argparse
import os
import re
import sys
from itertools import takewhile

from store_workers.wire.messages import Settings
from store_workers.wire.records import Boolean, Choice, Integer

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, NoReturn

    from store_workers.wire.records import Field

    Message = dict[str, Any]

VERBS = ("upload", "download", "verify")
STANDARD_STREAM = "-"
UNITS = {"": 1, "K": 1 << 10, "M": 1 << 20, "G": 1 << 30, "T": 1 << 40}
_QUANTITY = re.compile(r"([0-9]+)([KMGT]?)(?:i?B)?", re.IGNORECASE)
TLS_FILES = ("ca_file", "cert_file", "key_file")


class WrongCommandLine(Exception):
    """What was typed is not a command; `usage` is the line that shows how one looks."""

    def __init__(self, problem: str, usage: str) -> None:
        super().__init__(problem)
        self.problem = problem
        self.usage = usage


class Command:
    """What a command line asks for.

    `messages` are its messages in order, without their `id`; `paths` names the file of each as it
    was typed. `is_json`: are the events to be printed? `streams`: does standard input, or output,
    stand for a file?
    """

    def __init__(self, messages: list[Message], paths: list[str], *, is_json: bool) -> None:
        self.messages = messages
        self.paths = paths
        self.is_json = is_json

    @property
    def has_stream(self) -> bool:
        """Does a standard stream stand for a file?"""
        return any(message.get("path") == STANDARD_STREAM for message in self.messages)


def parse(arguments: list[str]) -> Command:
    """Read a command line. Raises `WrongCommandLine`; ends by `SystemExit` where help was shown."""
    command: list[str] | None = None
    typed = list(takewhile(lambda word: word != "--", arguments))
    if "--command" in typed and len(typed) < len(arguments):
        command = arguments[len(typed) + 1 :]
        arguments = typed
    given = _parser().parse_args(arguments)
    build = {"upload": _uploads, "download": _downloads, "verify": _verifications}[given.verb]
    if command is not None:
        given.files += command
    found = build(given)
    if found.is_json and given.verb == "download" and found.has_stream:
        raise WrongCommandLine("--json and - cannot both use standard output", given.usage)
    return found


def _uploads(given: argparse.Namespace) -> Command:
    files: list[str] = given.files
    if not files:
        wanted = "a command after --" if given.command else "a FILE, or - for standard input"
        raise WrongCommandLine(f"expected {wanted}", given.usage)
    common = {"type": "UPLOAD_START", **_common(given), "manifest": True}
    common |= {name: True for name in ("sha256", "verify") if getattr(given, name)}
    if given.size is not None:
        common["size"] = given.size
    if given.command:
        words = [_on_the_wire(word) for word in files]
        return Command([{**common, "command": words}], ["-"], is_json=given.json)
    if files.count(STANDARD_STREAM) > 1:
        raise WrongCommandLine("standard input can be read only once", given.usage)
    messages = [{**common, "path": _on_the_wire(path)} for path in files]
    return Command(messages, files, is_json=given.json)


def _downloads(given: argparse.Namespace) -> Command:
    message = {"type": "DOWNLOAD_START", **_common(given), "manifest": given.manifest}
    message["path"] = _on_the_wire(given.file)
    if given.resume:
        message["resume"] = True
    if given.range is not None:
        message["range"] = given.range
    return Command([message], [given.file], is_json=given.json)


def _verifications(given: argparse.Namespace) -> Command:
    message = {"type": "VERIFY_START", **_common(given), "manifest": given.manifest}
    if given.quick:
        message["content"] = False
    return Command([message], [given.manifest], is_json=given.json)


def _common(given: argparse.Namespace) -> Message:
    message: Message = {}
    if given.store is not None:
        message["store"] = _on_the_wire(given.store)
    tls = {name: _on_the_wire(getattr(given, name)) for name in TLS_FILES if getattr(given, name)}
    if tls:
        message["tls"] = tls
    chosen = {name: getattr(given, name) for name in Settings.FIELDS}
    settings = {name: value for name, value in chosen.items() if value is not None}
    if not given.json:  # nobody reads them
        settings = {"chunk_events": False, "progress_interval_ms": 0, **settings}
    message["settings"] = settings
    return message


class _Parser(argparse.ArgumentParser):
    """A parser that says in one line what is wrong, below one line that shows what is right."""

    def error(self, message: str) -> NoReturn:
        raise WrongCommandLine(message, self.format_usage().strip())


def _parser() -> argparse.ArgumentParser:
    parser = _Parser(prog=program_name(), add_help=False, usage="%(prog)s upload|download|verify …")
    verbs = parser.add_subparsers(dest="verb", required=True, parser_class=_Parser)
    upload = _add(verbs, "upload", "FILE... [--store URL]", "Put files into a store.")
    upload.add_argument("files", metavar="FILE", nargs="*", help="a file, or - for standard input")
    upload.add_argument(
        "--command",
        action="store_true",
        help="run the command after -- and store its output",
    )
    upload.add_argument(
        "--sha256", action="store_true", help="also compute the SHA-256 of the file"
    )
    upload.add_argument(
        "--verify", action="store_true", help="decode and compare every frame before it is stored"
    )
    upload.add_argument("--size", type=_quantity, help="the expected size in bytes")
    download = _add(verbs, "download", "MANIFEST FILE [--store URL]", "Get a file back.")
    download.add_argument("manifest", metavar="MANIFEST", help="the manifest that upload printed")
    download.add_argument("file", metavar="FILE", help="the target, or - for standard output")
    download.add_argument("--resume", action="store_true", help="continue an interrupted download")
    download.add_argument(
        "--range", type=_range, metavar="OFFSET:LENGTH", help="write only these bytes of the file"
    )
    verify = _add(verbs, "verify", "MANIFEST [--store URL]", "Check a file in its store.")
    verify.add_argument("manifest", metavar="MANIFEST", help="the manifest that upload printed")
    verify.add_argument(
        "--quick",
        action="store_true",
        help="check only that each chunk is present and how long it is",
    )
    return parser


def _add(verbs: Any, name: str, usage: str, text: str) -> argparse.ArgumentParser:
    """Add a verb with the options that all have."""
    line = f"{program_name()} {name} {usage} [options]"
    verb: argparse.ArgumentParser = verbs.add_parser(
        name, usage=line, description=text, allow_abbrev=False
    )
    verb.set_defaults(usage=f"usage: {line}")
    verb.add_argument(
        "--store", metavar="URL", help="a directory, http://..., https://... or s3://bucket/prefix"
    )
    verb.add_argument("--json", action="store_true", help="print the events, one per line")
    tls = verb.add_argument_group("https")
    for option in TLS_FILES:
        tls.add_argument(_option(option), metavar="FILE", help=argparse.SUPPRESS)
    settings = verb.add_argument_group("settings")
    for field, spec in Settings.FIELDS.items():
        _add_setting(settings, field, spec)
    return verb


def _add_setting(group: Any, name: str, spec: Field) -> None:
    sentence = spec.doc.partition(". ")[0].rstrip(".").replace("`", "")
    brief = sentence[:1].lower() + sentence[1:]
    options: dict[str, Any] = {"default": None, "help": brief.replace("%", "%%")}
    if isinstance(spec.kind, Boolean):
        group.add_argument(_option(name), action=argparse.BooleanOptionalAction, **options)
        return
    options["metavar"] = "N" if isinstance(spec.kind, Integer) else "WORD"
    if isinstance(spec.kind, Choice):
        options["choices"] = [str(word.value) for word in spec.kind.words]
        del options["metavar"]
    elif type(spec.default) is int:
        options["type"] = _quantity
    group.add_argument(_option(name), **options)


def _option(name: str) -> str:
    return "--" + name.replace("_", "-")


def _quantity(text: str) -> int:
    """A number, in which K, M, G and T stand for powers of 1024."""
    match = _QUANTITY.fullmatch(text)
    if match is None:
        raise argparse.ArgumentTypeError(f"expected a number such as 32 or 10M, got {text!r}")
    return int(match[1]) * UNITS[match[2].upper()]


def _range(text: str) -> Message:
    """`OFFSET:LENGTH`, of which the length may be missing: up to the end."""
    offset, colon, length = text.partition(":")
    found = {"offset": _quantity(offset or "0")}
    if not colon:
        raise argparse.ArgumentTypeError(f"expected OFFSET:LENGTH, got {text!r}")
    return {**found, "length": _quantity(length)} if length else found


def program_name() -> str:
    """What the program was started as."""
    return os.path.basename(sys.argv[0]) or "store-workers.pyz"


def _on_the_wire(text: str) -> str:
    """An argument as a message spells it: its bytes as UTF-8, whatever the locale is."""
    return text if os.name == "nt" else os.fsencode(text).decode("utf-8", "surrogateescape")
