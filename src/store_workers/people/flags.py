"""`--help`, `--version` and `--schema`: what the worker says about itself."""

from __future__ import annotations

import sys

from store_workers.wire.events import FAILURE, NOT_ACCEPTED, SUCCESS
from store_workers.wire.records import printable

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

BUNDLED = ("urllib3", "truststore", "botocore", "tqdm")
"""Modules with a `__version__`, reported beside the codec."""

VERBS = ("upload", "download", "verify")
FLAGS = ("--help", "--version", "--schema")
TOPICS = (*VERBS, "settings", "protocol")
"""The words that `--help` explains."""


def answer(arguments: list[str]) -> int:
    """Print what the command line asks for on standard output. Return the exit status.

    It is 0; 1 if standard output cannot be written; 2, with one line on standard error, if the
    command line is not one of those that `--help` shows.
    """
    flag, *words = ["--help" if word == "-h" else word for word in arguments]
    problem = problem_of(flag, words)
    if problem:
        return refuse(problem)
    text = {"--help": help_on, "--version": version_text, "--schema": schema_text}[flag](*words)
    try:
        sys.stdout.write(text + "\n")
        sys.stdout.flush()
    except (OSError, AttributeError):
        return FAILURE
    return SUCCESS


def problem_of(flag: str, words: list[str]) -> str:
    """Return what is wrong with a command line that does not begin with a verb, or ""."""
    if flag not in FLAGS:
        known = ", ".join((*VERBS, *FLAGS))
        return f"{printable(flag)}: unknown command: expected {known}, or a message on stdin"
    if len(words) > (flag == "--help"):
        return f"{printable(words[-1])}: unexpected argument after {flag}"
    if words and words[0] not in TOPICS:
        return f"{printable(words[0])}: unknown topic: expected --help with {', '.join(TOPICS)}"
    return ""


def refuse(problem: str) -> int:
    """Write one line on standard error. Return the exit status."""
    from store_workers.people.command_line import program_name
    from store_workers.people.standard_error import StandardError

    StandardError().write(f"{program_name()}: {problem}\n")
    return NOT_ACCEPTED


def help_on(topic: str = "") -> str:
    """Return the help on one of `TOPICS`, or the overview."""
    if topic in VERBS:
        from store_workers.people.command_line import help_of

        return help_of(topic).rstrip()
    if topic == "settings":
        from store_workers.people.settings_help import settings_text

        return settings_text()
    return protocol_text() if topic == "protocol" else help_text()


def help_text() -> str:
    """Return the overview: verbs, example messages, exit status and flags, on one screen."""
    return """\
store-workers puts files into a chunk store and gets them back.

  store-workers.pyz upload FILE... [--store URL]      prints <manifest>  <path>
  store-workers.pyz upload --command -- pg_dump -Fc db
  store-workers.pyz download MANIFEST FILE            [--resume] [--range O:L]
  store-workers.pyz verify MANIFEST

A store is a directory, http://..., https://... or s3://bucket/prefix.
Default: STORE_WORKERS_STORE, else a directory in the user's data directory.
Programs send the same as one JSON message on stdin. Events are JSON lines:
  echo '{"type":"UPLOAD_START","path":"big.tar","store":"chunks",
      "manifest":true}' | store-workers.pyz | tee events.jsonl
  echo '{"type":"DOWNLOAD_START","path":"copy.tar","store":"chunks",
      "manifest":"..."}' | store-workers.pyz

Exit status: 0 success, 1 failure, 2 message or command line not accepted,
128 + n stopped by signal n. A failure is one line: the code and the reason.

  --help           this text
  --help WORD      upload, download, verify, settings: their options
  --help protocol  the reference: every message, field, event and code
  --version        versions of this program, its libraries and Python
  --schema         the JSON Schema of every message and event"""


def protocol_text() -> str:
    """Return the page `docs/protocol.md`, which the artifact contains beside the sources."""
    import os

    import store_workers
    from store_workers.people.page import as_text

    loader: Any = store_workers.__loader__
    for folder in store_workers.__path__:  # the folders of the compiled code and of the sources
        try:
            page: bytes = loader.get_data(os.path.join(folder, "protocol.md"))
        except OSError:
            continue
        return as_text(page.decode("utf-8"))
    return "This installation does not contain the page: see docs/protocol.md of the project."


def version_text() -> str:
    """Return the versions of the worker, its codec, the bundled libraries and Python."""
    from store_workers import __version__
    from store_workers.stream.codec import library_version

    python = ".".join(str(part) for part in sys.version_info[:3])
    lines = [f"store-workers {__version__}", library_version()]
    lines += [f"{name} {module_version(name)}" for name in BUNDLED]
    return "\n".join([*lines, f"CPython {python}"])


def module_version(name: str) -> str:
    """Return the version of a library, which can be missing if the artifact is not used."""
    from importlib import import_module

    try:
        return str(import_module(name).__version__)
    except ImportError:
        return "is missing"


def schema_text() -> str:
    """Return the JSON Schema of messages and events."""
    import json

    from store_workers.wire.schema import schema

    return json.dumps(schema(), indent=2)
