"""The three flags: what the worker says about itself, on standard output."""

from __future__ import annotations

import sys

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

BUNDLED = ("urllib3", "truststore", "botocore", "tqdm")
"""Modules with a `__version__`, reported beside the codec."""


PROTOCOL = "protocol"
"""The argument of `--help` that prints the protocol."""


def answer(flag: str, topic: str = "") -> int:
    """Print what `flag` asks for; the exit status: 0, or 1 where nobody reads it to the end.

    `topic` is the word behind `--help`.
    """
    texts = {"--help": help_text, "--version": version_text, "--schema": schema_text}
    text = protocol_text() if flag == "--help" and topic == PROTOCOL else texts[flag]()
    try:
        sys.stdout.write(text + "\n")
        sys.stdout.flush()
    except (OSError, AttributeError):
        return 1
    return 0


def help_text() -> str:
    """One screen, in ASCII: verbs, messages to paste, exit status, flags."""
    return """\
store-workers puts files into a chunk store and gets them back.

  store-workers.pyz upload FILE... [--store URL]      prints <manifest>  <path>
  store-workers.pyz upload --command -- pg_dump -Fc db
  store-workers.pyz download MANIFEST FILE            [--resume] [--range O:L]
  store-workers.pyz verify MANIFEST

A store is a directory, http://..., https://... or s3://bucket/prefix.
STORE_WORKERS_STORE is the default. "upload --help" lists all options.
Programs send the same as one JSON message on stdin. Events are JSON lines:

  echo '{"type":"UPLOAD_START","path":"big.tar","store":"chunks",
      "manifest":true}' | store-workers.pyz | tee events.jsonl
  echo '{"type":"DOWNLOAD_START","path":"copy.tar","store":"chunks",
      "manifest":"..."}' | store-workers.pyz

Exit status: 0 success, 1 failure, 2 message or command line not accepted,
128 + n stopped by signal n. The ERROR event has a code and the reason.

  --help           this text
  --help protocol  the reference: every message, field, event and code
  --version        versions of this program, its libraries and Python
  --schema         the JSON Schema of every message and event"""


def protocol_text() -> str:
    """The page `docs/protocol.md`, which is in the artifact beside the sources."""
    import os

    import store_workers
    from store_workers.people.page import as_text

    loader: Any = store_workers.__loader__
    for folder in store_workers.__path__:  # that of the compiled code, and that of the sources
        try:
            page: bytes = loader.get_data(os.path.join(folder, "protocol.md"))
        except OSError:
            continue
        return as_text(page.decode("utf-8"))
    return "This installation does not contain the page: see docs/protocol.md of the project."


def version_text() -> str:
    """The version of the worker, of its codec, of the bundled libraries and of Python."""
    from store_workers import __version__
    from store_workers.stream.codec import library_version

    python = ".".join(str(part) for part in sys.version_info[:3])
    lines = [f"store-workers {__version__}", library_version()]
    lines += [f"{name} {module_version(name)}" for name in BUNDLED]
    return "\n".join([*lines, f"CPython {python}"])


def module_version(name: str) -> str:
    """The version of a library that may be missing where the worker runs without its artifact."""
    from importlib import import_module

    try:
        return str(import_module(name).__version__)
    except ImportError:
        return "is missing"


def schema_text() -> str:
    """The JSON Schema of the wire."""
    import json

    from store_workers.wire.schema import schema

    return json.dumps(schema(), indent=2)
