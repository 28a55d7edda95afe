# mypy: ignore-errors
# ruff: noqa: F821, PTH
"""Refuse a host, cut loose from the surroundings, hand over to the importer.

Parses on Python 2.7 and later. The archive's ``__main__.py``, in whose namespace this runs, has
seen that not a bit of it is flipped, and reports a damaged copy where this ends without a word.
From there are ``DIRECTORY``, the CRC-32 of the zip's directory, and ``folder``, "cp311/" where this
was compiled for the running Python, else "".
"""

import os
import sys
import zipimport

PACKAGE = "store_workers_bootstrap/"
# Whose finders stay: those of Python itself.
OWN = ("_frozen_importlib", "_frozen_importlib_external", "zipimport")
NEEDED = "CPython 3.10 or newer is needed"
NO_ZLIB = (
    '{"type":"ERROR","code":"HOST_UNSUPPORTED","message":"this Python was built without zlib,'
    ' which the artifact needs: use another one","retryable":false}\n'
)


def alone():
    """Leave Python's own library as the only place that modules come from, or came from."""
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
    for name, module in list(sys.modules.items()):  # start-up hooks may have loaded some
        file = getattr(module, "__file__", None)
        if file and name != "__main__" and ("-packages" in file or not file.startswith(stdlib)):
            if os.path.basename(os.path.dirname(file)) not in ("lib-dynload", "DLLs"):
                del sys.modules[name]


def entry(name):
    """Return an entry of the zip, or raise an exception if it is not as it was built."""
    content = __loader__.get_data(name)
    directory = zipimport._zip_directory_cache[__loader__.archive]  # noqa: SLF001
    facts = directory[name.replace("/", os.sep)]
    if (zlib.crc32(content) ^ facts[7]) & 0xFFFFFFFF:
        raise ValueError("checksum")
    return content


def missing():
    """Install the importer. Return what this host lacks, or None."""
    if not supported:
        return NEEDED
    name = folder + PACKAGE + "importer"
    code = entry(name + (".pyc" if folder else ".py"))
    if folder:
        code = __loader__.get_code(name.replace("/", os.sep))
    namespace = {"__name__": "store_workers_bootstrap.importer"}
    exec(code, namespace)
    return namespace["install"](__loader__.archive, DIRECTORY, folder)


supported = sys.version_info >= (3, 10) and sys.implementation.name == "cpython"
if supported:
    alone()
try:
    import zlib
except ImportError:
    try:
        os.write(1, NO_ZLIB.encode())
    finally:
        os._exit(1)
try:
    reason = missing()
    if reason:
        exec(entry(PACKAGE + "refuse.py"), {"reason": reason})
    from store_workers.__main__ import main
except Exception as error:
    if os.environ.get("STORE_WORKERS_DEBUG") == "1":
        raise
    bad = error  # a damaged copy or a limit of this host: the end of ``__main__.py`` says which
else:
    main()
