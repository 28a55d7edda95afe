# mypy: ignore-errors
# ruff: noqa: F821, PTH
"""Refuse a host, cut loose from the surroundings, hand over to the importer.

Parses on Python 2.7 and later. The archive's ``__main__.py``, in whose namespace this runs, has
seen that not a bit of it is flipped. ``DIRECTORY``, from there, is the CRC-32 of the zip's
directory, by which the importer checks it.
"""

import os
import sys
import zipimport

PACKAGE = "store_workers_bootstrap/"
# Whose finders stay: those of Python itself.
OWN = ("_frozen_importlib", "_frozen_importlib_external", "zipimport")
FAILED = '{"type":"ERROR","code":"%s","message":"%s","retryable":false}\n'
DAMAGED = "this copy of store-workers.pyz is damaged: copy the file again"
NO_ZLIB = "this Python was built without zlib, which the artifact needs: use another one"


def alone():
    """Leave Python's own library as the only place that modules come from."""
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


def entry(name):
    """Return an entry of the zip, or raise an exception if it is not as it was built."""
    content = __loader__.get_data(name)
    directory = zipimport._zip_directory_cache[__loader__.archive]  # noqa: SLF001
    facts = directory[name.replace("/", os.sep)]
    if (zlib.crc32(content) ^ facts[7]) & 0xFFFFFFFF:
        raise ValueError("checksum")
    return content


def prepare():
    """Install the importer. Return the lines that tell this host why not, and what it lacks."""
    if sys.version_info < (3, 10) or sys.implementation.name != "cpython":
        return entry(PACKAGE + "refuse.py"), None
    folder = "cp%d%d" % sys.version_info[:2]
    name = folder + "/" + PACKAGE + "importer"
    try:
        entry(name + ".pyc")
        code = __loader__.get_code(name.replace("/", os.sep))
    except (OSError, ImportError):  # nobody compiled for this Python
        folder, code = None, entry(PACKAGE + "importer.py")
    namespace = {"__name__": "store_workers_bootstrap.importer"}
    exec(code, namespace)
    missing = namespace["install"](__loader__.archive, DIRECTORY, folder)
    return missing and entry(PACKAGE + "refuse.py"), missing


def give_up(code, message):
    """Say in one event why nothing was done, and end with status 1."""
    sys.stdout.write(FAILED % (code, message))
    sys.exit(1)


if sys.version_info >= (3, 10):
    alone()
try:
    import zlib
except ImportError:
    give_up("HOST_UNSUPPORTED", NO_ZLIB)
try:
    refusal, reason = prepare()
except Exception:
    give_up("INTERNAL", DAMAGED)
if refusal:
    exec(refusal, {"reason": reason})
else:
    from store_workers.__main__ import main

    main()
