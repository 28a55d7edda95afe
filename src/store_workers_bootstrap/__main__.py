# damaged? copy the file again
"""The artifact's first lines: check the copy, then hand over to the importer.

Parses on Python 2.7 and later. Python reads this file unchecked and compiles it anew at every
start, so it is short; all that comes after it is checked before it runs, and checks it in turn.
"""

import sys

# Where the table of contents stands in this file: written by the build, never longer than this.
HEAD, HEAD_BYTES = 0x00000000, 0x00000000
DAMAGED = (
    '{"type":"ERROR","code":"INTERNAL","message":"this copy of store-workers.pyz is damaged:'
    ' copy the file again","retryable":false}\n'
)


def part(archive, offset, size, crc, *_):
    """Return one part of the file, or raise ValueError if it is not as it was built."""
    from zlib import crc32

    archive.seek(offset)
    content = archive.read(size)
    if crc32(content) & 0xFFFFFFFF != crc:
        raise ValueError("checksum")
    return content


def contents(archive):
    """Return the table of contents; its own checksum is the eight hex digits before it."""
    import marshal

    archive.seek(HEAD)
    crc = int(archive.read(8), 16)
    return marshal.loads(part(archive, HEAD + 8, HEAD_BYTES - 8, crc))


def prepare(archive):
    """Install the importer and return None, or return the code that tells this host why not."""
    if sys.version_info < (3, 10) or sys.implementation.name != "cpython":
        return part(archive, *contents(archive)["refuse"]), None
    alone()
    import marshal
    from importlib.util import MAGIC_NUMBER

    head = contents(archive)
    magic = int.from_bytes(MAGIC_NUMBER[:2], "little")
    boot = marshal.loads(part(archive, *head["code"].get(magic, head["source"])))
    namespace = {"__name__": "store_workers_bootstrap.loader"}
    loader = boot["loader"]  # code made for this Python, or else its source
    exec(marshal.loads(loader) if boot["compiled"] else loader, namespace)
    missing = namespace["install"](archive, part, boot, head)
    return missing and part(archive, *head["refuse"]), missing


def alone():
    """Leave Python's own library as the only other place that modules come from."""
    import os

    stdlib = os.path.dirname(os.__file__)
    allowed = [stdlib, os.path.join(sys.base_prefix, "DLLs")]
    if os.name == "nt":
        allowed.append(sys.base_prefix)
    sys.path[:] = [
        folder
        for folder in sys.path
        if folder in allowed
        or os.path.basename(folder) == "lib-dynload"
        and folder.startswith((stdlib, sys.base_exec_prefix))
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


OWN = ("_frozen_importlib", "_frozen_importlib_external", "zipimport")

try:
    refusal, reason = prepare(open(__loader__.archive, "rb"))
except Exception:
    sys.stdout.write(DAMAGED)
    sys.exit(1)
if refusal:
    exec(refusal, {"reason": reason})
else:
    from store_workers.__main__ import main

    main()
