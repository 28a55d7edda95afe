"""Compile sources with the CPython that runs this file; started by ``compiled.py``.

Reads ``[[path in the artifact, file of its source], …]`` as JSON from stdin and writes the code
beside each file, as a ``.pyc`` that is never compared with its source (PEP 552).
"""

import json
import py_compile
import sys

# Without docstrings, as with -OO: they are a fifth of the code. Those of the messages stay: the
# JSON Schema quotes them.
WITH_DOCSTRINGS = "store_workers/wire/"

for path, file in json.load(sys.stdin):
    py_compile.compile(
        file,
        cfile=f"{file}.pyc",
        dfile=path,
        doraise=True,
        optimize=0 if path.startswith(WITH_DOCSTRINGS) else 2,
        invalidation_mode=py_compile.PycInvalidationMode.UNCHECKED_HASH,
    )
