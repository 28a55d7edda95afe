"""Fuzz without an end, led by coverage: ``python -m tests.fuzz.run TARGET [libFuzzer options]``.

Needs atheris beside the tests' own environment (``tools/requirements/fuzz.txt``). The corpus in the
repository is read and not written; what is found goes to ``build/fuzz/TARGET``, and what breaks a
promise to the folder that it is started in, as ``crash-…``: put it into the corpus with its fix.

    python -m tests.fuzz.run stream -max_total_time=600
"""

from __future__ import annotations

import sys
from pathlib import Path

import atheris  # type: ignore[import-not-found, import-untyped, unused-ignore]

ROOT = Path(__file__).parent.parent.parent

with atheris.instrument_imports(include=["store_workers"]):
    sys.path[:0] = [str(ROOT / "src"), str(ROOT)]
    from tests.fuzz import targets


def main() -> None:
    """Run one target until it is stopped, or breaks."""
    name, *options = sys.argv[1:]
    found = ROOT / "build" / "fuzz" / name
    found.mkdir(parents=True, exist_ok=True)
    arguments = [sys.argv[0], *options, str(found), str(targets.CORPUS / name)]
    atheris.Setup(arguments, targets.TARGETS[name])
    atheris.Fuzz()


if __name__ == "__main__":
    main()
