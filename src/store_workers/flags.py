"""The three flags: what the worker says about itself, on standard output."""

from __future__ import annotations

import sys


def answer(flag: str) -> int:
    """Print what `flag` asks for; the exit status."""
    text = {"--help": help_text, "--version": version_text, "--schema": schema_text}[flag]()
    sys.stdout.write(text + "\n")
    return 0


def help_text() -> str:
    """One screen: what the worker is, and a message to paste."""
    return """store-workers: puts a large file into a chunk store, and gets it back.

It takes one JSON message on standard input and writes JSON lines on standard output.

  echo '{"type":"UPLOAD_START","path":"FILE","store":"DIR"}' | store-workers.pyz
  echo '{"type":"DOWNLOAD_START","path":"FILE","store":"DIR","hashes":[…]}' | store-workers.pyz

The hashes are those of FILE_UPLOADED, the last line of an upload. A store is a directory,
http://…, https://… or s3://bucket/prefix.

Exit status: 0 done; 1 failed: the last line is an ERROR with a code; 2 the message was not
accepted; 128 + n stopped by signal n.

  --help     this text
  --version  the versions of the worker and of what is bundled
  --schema   the JSON Schema of every message and event"""


def version_text() -> str:
    """The version of the worker, of its codec and of Python."""
    from store_workers import __version__
    from store_workers.codec import library_version

    python = ".".join(str(part) for part in sys.version_info[:3])
    return f"store-workers {__version__}\n{library_version()}\nCPython {python}"


def schema_text() -> str:
    """The JSON Schema of the wire."""
    import json

    from store_workers.schema import schema

    return json.dumps(schema(), indent=2)
