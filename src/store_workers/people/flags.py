"""The three flags: what the worker says about itself, on standard output."""

from __future__ import annotations

import sys

BUNDLED = ("urllib3", "truststore", "botocore", "tqdm")
"""What is told beside the codec: modules that have a `__version__`."""


def answer(flag: str) -> int:
    """Print what `flag` asks for; the exit status: 0, or 1 where nobody reads it to the end."""
    text = {"--help": help_text, "--version": version_text, "--schema": schema_text}[flag]()
    try:
        sys.stdout.write(text + "\n")
        sys.stdout.flush()
    except (OSError, AttributeError):
        return 1
    return 0


def help_text() -> str:
    """One screen, in ASCII: what the worker is, and messages to paste."""
    return """\
store-workers puts a large file into a chunk store, and gets it back.
It takes one JSON message on stdin and writes JSON lines, its events, on stdout.

  echo '{"type":"UPLOAD_START","path":"big.tar","store":"chunks"}' |
      store-workers.pyz | tee events.jsonl

  echo '{"type":"DOWNLOAD_START","path":"copy.tar","store":"chunks",
      "hashes":["..."]}' | store-workers.pyz

The hashes are those of FILE_UPLOADED, the last line of the upload. A store is
a directory, http://..., https://... or s3://bucket/prefix.

Exit status: 0 done, 1 failed: the last line is an ERROR with a code, 2 message
not accepted, 128 + n stopped by signal n (130 Ctrl-C, 143 SIGTERM).

  --help     this text
  --version  the versions of the worker, of what is bundled and of Python
  --schema   the JSON Schema of every message and event

More: README.md and docs/ of the project, docs/quickstart.md first."""


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
