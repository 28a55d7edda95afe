# mypy: ignore-errors
"""Check the copy, cut loose from the surroundings, and hand over to the importer.

Parses on Python 2.7 and later. Compiled anew at every start, so it is short; the archive's
``__main__.py``, in whose namespace this runs, has seen that not a bit of it is flipped, and all
that comes after it is checked before it runs.
"""

import sys

try:
    import _signal  # what `signal` is made of, without the enumerations that it imports
except ImportError:
    import signal as _signal

# Where the table of contents stands in this file: written by the build.
HEAD, HEAD_BYTES = 0x00000000, 0x00000000
# Whose finders stay: those of Python itself.
OWN = ("_frozen_importlib", "_frozen_importlib_external", "zipimport")
FAILED = '{"type":"ERROR","code":"%s","message":"%s","retryable":false}\n'
DAMAGED = "this copy of store-workers.pyz is damaged: copy the file again"
STOPPED = "stopped by a signal while starting"
NO_ZLIB = "this Python was built without zlib, which the artifact needs: use another one"


def stopped(number, _frame):
    """End at once and say so: nothing is open yet. The worker's own handling replaces this."""
    import os

    os.write(1, (FAILED % ("CANCELLED", STOPPED)).replace("false", "true").encode("ascii"))
    os._exit(128 + number)


def part(archive, offset, size, crc, inflated=0):
    """Return one part of the file, inflated, or raise ValueError if it is not as it was built."""
    archive.seek(offset)
    content = archive.read(size)
    if zlib.crc32(content) & 0xFFFFFFFF != crc:
        raise ValueError("checksum")
    return zlib.decompress(content, -15, inflated) if inflated else content


def contents(archive):
    """Return the table of contents; its own checksum is the eight hex digits before it."""
    import marshal

    archive.seek(HEAD)
    crc = int(archive.read(8), 16)
    return marshal.loads(part(archive, HEAD + 8, HEAD_BYTES - 8, crc))


def prepare(archive):
    """Install the importer. Return the code that tells this host why not, and what it lacks."""
    head = contents(archive)
    part(archive, *head["first lines"])
    if sys.version_info < (3, 10) or sys.implementation.name != "cpython":
        return part(archive, *head["refuse"]), None
    import marshal
    from importlib.util import MAGIC_NUMBER

    magic = int.from_bytes(MAGIC_NUMBER[:2], "little")
    tables = marshal.loads(part(archive, *head["code"].get(magic, head["source"])))
    loader = tables["loader"]  # code made for this Python, or else its source
    namespace = {"__name__": "store_workers_bootstrap.loader"}
    exec(marshal.loads(loader) if tables["compiled"] else loader, namespace)
    missing = namespace["install"](archive, tables, head["build"])
    return missing and part(archive, *head["refuse"]), missing


def alone():
    """Leave Python's own library as the only other place that modules come from."""
    import os

    stdlib = os.path.dirname(os.__file__)
    base, exec_base = (getattr(sys, "base_" + name, stdlib) for name in ("prefix", "exec_prefix"))
    allowed = [stdlib, os.path.join(base, "DLLs")] + ([base] if os.name == "nt" else [])
    sys.path[:] = [
        folder
        for folder in sys.path
        if folder in allowed
        or os.path.basename(folder) == "lib-dynload"
        and folder.startswith((stdlib, exec_base))
    ]
    for finders in (sys.meta_path, sys.path_hooks):
        finders[:] = [each for each in finders if getattr(each, "__module__", 0) in OWN]
    sys.dont_write_bytecode = True
    sys.pycache_prefix = None
    if sys.warnoptions:
        import warnings

        del sys.warnoptions[:]
        warnings.resetwarnings()
        warnings.simplefilter("ignore")


def give_up(code, message):
    """Say in one event why nothing was done, and end with status 1."""
    sys.stdout.write(FAILED % (code, message))
    sys.exit(1)


for name in ("SIGINT", "SIGTERM"):
    _signal.signal(getattr(_signal, name), stopped)
if sys.version_info >= (3, 10):
    alone()
try:
    import zlib
except ImportError:
    give_up("HOST_UNSUPPORTED", NO_ZLIB)
try:
    refusal, reason = prepare(open(__loader__.archive, "rb", 0))
except Exception:
    give_up("INTERNAL", DAMAGED)
if refusal:
    exec(refusal, {"reason": reason})
else:
    from store_workers.__main__ import main

    main()
