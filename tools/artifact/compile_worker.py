"""Compile sources with the CPython that runs this file; started by ``compiled.py``.

Reads ``[[module's file name, path of its source, level of optimization], …]`` as JSON from stdin
and writes to stdout, for each in that order, the length of its marshalled code (8 bytes,
little-endian) and the code.
"""

import json
import marshal
import sys


def main() -> None:
    """Compile everything that stdin names."""
    for name, path, level in json.load(sys.stdin):
        with open(path, "rb") as stream:
            source = stream.read()
        code = compile(source, name, "exec", dont_inherit=True, optimize=level)
        content = marshal.dumps(code)
        sys.stdout.buffer.write(len(content).to_bytes(8, "little") + content)


main()
