#!/usr/bin/env python3
"""Build the documentation as a site, or serve it.

    python3 tools/site.py           builds build/site; a warning fails
    python3 tools/site.py --serve   shows it at http://127.0.0.1:8000, and again after a change

The pages are the Markdown files of the repository. They are copied to ``build/site-source`` at
the same relative places, with all files that they link to, so that the same links work on the site
and in the repository.
"""

from __future__ import annotations

import argparse
import runpy
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
SOURCE = ROOT / "build" / "site-source"
PINS = ROOT / "tools" / "requirements" / "site.txt"
LEFT_OUT = (".github/", ".ci/", "tests/", "dist/", "tools/requirements/")


def main(arguments: list[str]) -> int:
    """Build or serve; return the exit status of the generator."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--serve", action="store_true", help="serve the site on loopback")
    options = parser.parse_args(arguments)
    copy_pages()
    if options.serve:
        return generate("serve", "--quiet", "--watch=docs", "--watch=examples").returncode
    done = build()
    if done.returncode != 0:
        print(done.stdout, file=sys.stderr)
    return done.returncode


def build(*options: str) -> subprocess.CompletedProcess[str]:
    """Build the site; a warning fails. With ``--quiet``, the generator would not count warnings."""
    return generate("build", "--strict", *options, stdout=subprocess.PIPE, stderr=subprocess.STDOUT)


def generate(*arguments: str, **streams: Any) -> subprocess.CompletedProcess[str]:
    """Run the generator in its environment."""
    tools: dict[str, Any] = runpy.run_path(str(ROOT / "tools" / "test.py"))
    command = [tools["environment"]("site", [PINS]), "-m", "mkdocs", *arguments]
    # The generator advertises its successor at every start.
    environ = {**tools["clean_environ"](), "NO_MKDOCS_2_WARNING": "1"}
    return subprocess.run(command, cwd=ROOT, env=environ, text=True, check=False, **streams)


def copy_pages() -> None:
    """Copy every file that a page may link to."""
    shutil.rmtree(SOURCE, ignore_errors=True)
    for name in tracked():
        if not name.startswith(LEFT_OUT) and (ROOT / name).is_file():
            target = SOURCE / name
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(ROOT / name, target)


def tracked() -> list[str]:
    """Return the repository's files, those not yet committed among them."""
    command = ["git", "ls-files", "--cached", "--others", "--exclude-standard", "-z"]
    listed = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True).stdout
    return [name for name in listed.split("\0") if name]


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
