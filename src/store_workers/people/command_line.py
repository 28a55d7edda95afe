"""Translates a command line into messages.

A verb can do nothing that a message cannot: arguments become fields of a message, which the decoder
of messages checks. Loaded only if there are arguments.
"""

from __future__ import annotations

import argparse
import os
import re
import sys
from itertools import takewhile

from store_workers.wire.messages import Settings
from store_workers.wire.records import Boolean, Choice, OneOf

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, NoReturn

    from store_workers.wire.records import Field

    Message = dict[str, Any]

STANDARD_STREAM = "-"
UNITS = {"": 1, "K": 1 << 10, "M": 1 << 20, "G": 1 << 30, "T": 1 << 40}
_QUANTITY = re.compile(r"([0-9]+)([KMGT]?)(?:i?B)?", re.IGNORECASE)
TLS_FILES = ("ca_file", "cert_file", "key_file")

UPLOAD = """\
Put files into a store, and print <manifest>  <path> for each.

  {program} upload --store /srv/chunks backup.tar
  {program} upload --store /srv/chunks --command -- pg_dump -Fc db"""

DOWNLOAD = """\
Get a file back. It appears under its name when it is complete and checked.

  {program} download --store /srv/chunks MANIFEST backup.tar
  {program} download --store /srv/chunks MANIFEST - | tar -x"""

VERIFY = """\
Fetch and check every chunk of a file, and write nothing.

  {program} verify --store /srv/chunks MANIFEST"""

TRANSFER_SETTINGS = {
    "concurrency": "requests in flight; 0: adapted while running",
    "rate_limit": "bytes per second, such as 10M; 0: no limit",
    "max_attempts": "tries per chunk",
    "timeout_ms": "the longest silence of the store",
}
COMMON_SETTINGS = {
    "upload": {
        **TRANSFER_SETTINGS,
        "boundaries": "content: versions of a file share chunks",
        "chunk_size": "the largest chunk: 512K, 1M, 2M, 4M or 8M",
        "compression_level": "the zstd level, 1 to 19",
        "overwrite": "send every chunk, to repair a damaged store",
        "create_store": "fail if the store's directory does not exist",
    },
    "download": TRANSFER_SETTINGS,
    "verify": TRANSFER_SETTINGS,
}
"""What the help of a verb says about the settings that it lists. A verb accepts all settings."""


class WrongCommandLine(Exception):
    """The command line is wrong; `usage` is a line that shows the correct form."""

    def __init__(self, problem: str, usage: str) -> None:
        super().__init__(problem)
        self.problem = problem
        self.usage = usage


class Command:
    """What a command line asks for.

    `messages` are its messages in order, without `id`; `paths` are their files, as typed.
    `is_json`: print the events.
    """

    def __init__(self, messages: list[Message], paths: list[str], *, is_json: bool) -> None:
        self.messages = messages
        self.paths = paths
        self.is_json = is_json

    @property
    def has_stream(self) -> bool:
        """Return whether a standard stream is used as a file."""
        return any(message.get("path") == STANDARD_STREAM for message in self.messages)


def parse(arguments: list[str]) -> Command:
    """Parse a command line. Raises `WrongCommandLine`, or `SystemExit` after help was printed."""
    command: list[str] | None = None
    typed = list(takewhile(lambda word: word != "--", arguments))
    if "--command" in typed and len(typed) < len(arguments):
        command = arguments[len(typed) + 1 :]
        arguments = typed
    given, unknown = _parsers()[0].parse_known_args(arguments)
    if unknown:
        raise WrongCommandLine(f"unrecognized arguments: {' '.join(unknown)}", given.usage)
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
    """A parser that raises `WrongCommandLine` in place of printing and exiting."""

    def error(self, message: str) -> NoReturn:
        raise WrongCommandLine(message, self.format_usage().strip())


def help_of(verb: str) -> str:
    """Return what `VERB --help` prints: at most a screen of 40 lines."""
    return _parsers()[1][verb].format_help()


def _parsers() -> tuple[argparse.ArgumentParser, dict[str, argparse.ArgumentParser]]:
    """Return the parser of a command line, and those of its verbs by name."""
    parser = _Parser(prog=program_name(), add_help=False, usage="%(prog)s upload|download|verify …")
    verbs = parser.add_subparsers(dest="verb", required=True, parser_class=_Parser)
    upload = _add(verbs, "upload", "FILE... [options]", UPLOAD)
    upload.add_argument("files", metavar="FILE", nargs="*", help="a file, or - for standard input")
    _add_upload_options(upload)
    download = _add(verbs, "download", "MANIFEST FILE [options]", DOWNLOAD)
    download.add_argument("manifest", metavar="MANIFEST", help="what upload printed: 64 digits")
    download.add_argument("file", metavar="FILE", help="the target, or - for standard output")
    _add_download_options(download)
    verify = _add(verbs, "verify", "MANIFEST [options]", VERIFY)
    verify.add_argument("manifest", metavar="MANIFEST", help="what upload printed: 64 digits")
    verify.add_argument(
        "--quick", action="store_true", help="check only presence and length of each chunk"
    )
    return parser, {**verbs.choices}


def _add_upload_options(group: Any) -> None:
    group.add_argument(
        "--command",
        action="store_true",
        help="store the output of the program after --, if it ends with status 0",
    )
    group.add_argument("--sha256", action="store_true", help="also compute the file's SHA-256")
    group.add_argument(
        "--verify", action="store_true", help="decode and compare each frame before it is sent"
    )
    group.add_argument(
        "--size", type=_quantity, metavar="N", help="the expected bytes: fewer or more fail"
    )


def _add_download_options(group: Any) -> None:
    group.add_argument(
        "--resume",
        action="store_true",
        help="keep a partial file; continue from it if there is one",
    )
    group.add_argument(
        "--range", type=_range, metavar="OFFSET:LENGTH", help="write only these bytes of the file"
    )


def _add(verbs: Any, name: str, usage: str, text: str) -> argparse.ArgumentParser:
    """Add a verb with the options that all have."""
    line = f"{program_name()} {name} {usage}"
    verb: argparse.ArgumentParser = verbs.add_parser(
        name,
        usage=line,
        description=text.format(program=program_name()),
        epilog=f'"{program_name()} --help settings" explains all settings and TLS files.',
        allow_abbrev=False,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    verb.set_defaults(usage=f"usage: {line}")
    verb.add_argument(
        "--store", metavar="URL", help="a directory, http://..., https://... or s3://bucket/prefix"
    )
    verb.add_argument("--json", action="store_true", help="print the events, one per line")
    for file in TLS_FILES:
        verb.add_argument(option(file), metavar="FILE", help=argparse.SUPPRESS)
    settings = verb.add_argument_group("settings")
    for field in {**COMMON_SETTINGS[name], **Settings.FIELDS}:
        _add_setting(settings, field, COMMON_SETTINGS[name].get(field, ""))
    return verb


def _add_setting(group: Any, name: str, text: str) -> None:
    """Add the option of a setting; its help is `text`, or none if that is empty."""
    spec = Settings.FIELDS[name]
    default = default_of(spec)
    if isinstance(spec.kind, Boolean):
        for on in (True, False):
            group.add_argument(
                option(name, on=on),
                dest=name,
                action="store_const",
                const=on,
                help=text if text and on != spec.default else argparse.SUPPRESS,
            )
        return
    options: dict[str, Any] = {"help": f"{text} ({default})" if text else argparse.SUPPRESS}
    if isinstance(spec.kind, Choice):
        options["choices"] = [str(word.value) for word in spec.kind.words]
    else:
        options |= {"metavar": "N", "type": _quantity}
    group.add_argument(option(name), **options)


def default_of(spec: Field) -> str:
    """Return the default of a setting, as it can be typed."""
    if isinstance(spec.kind, OneOf):
        return size(spec.default)
    return str(getattr(spec.default, "value", spec.default))


def size(number: int) -> str:
    """Return a number of bytes, a multiple of 1024, as it can be typed."""
    return f"{number >> 20}M" if number >= 1 << 20 else f"{number >> 10}K"


def option(name: str, *, on: bool = True) -> str:
    """Return the option for a field of the wire; `on=False`: the one that sets it to false."""
    return ("--" if on else "--no-") + name.replace("_", "-")


def _quantity(text: str) -> int:
    """Parse a number; K, M, G and T are powers of 1024."""
    match = _QUANTITY.fullmatch(text)
    if match is None:
        raise argparse.ArgumentTypeError(f"expected a number such as 32 or 10M, got {text!r}")
    return int(match[1]) * UNITS[match[2].upper()]


def _range(text: str) -> Message:
    """Parse `OFFSET:LENGTH`. Without a length, the range extends to the end."""
    offset, colon, length = text.partition(":")
    found = {"offset": _quantity(offset or "0")}
    if not colon:
        raise argparse.ArgumentTypeError(f"expected OFFSET:LENGTH, got {text!r}")
    return {**found, "length": _quantity(length)} if length else found


def program_name() -> str:
    """Return the name under which the program was started."""
    return os.path.basename(sys.argv[0]) or "store-workers.pyz"


def _on_the_wire(text: str) -> str:
    """Return an argument as a message spells it: its bytes as UTF-8, whatever the locale."""
    return text if os.name == "nt" else os.fsencode(text).decode("utf-8", "surrogateescape")
