"""Make the one file of its parts."""

from __future__ import annotations

import hashlib
import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import deflate

from .patches import difference
from .payload import HEAD_BYTES, LEVEL, Payload, Place
from .tree import module_name
from .zip_file import Entry, ZipFile

if TYPE_CHECKING:
    from .interpreters import Interpreter
    from .targets import Target
    from .tree import Tree

# A copy whose end is lost is no zip: Python then reads the file as a script, and the second line
# makes it say so.
PRELUDE = b"#!/usr/bin/env python3\n# coding: this-copy-is-damaged--copy-the-file-again\n"
FIRST = "store_workers_bootstrap/__main__.py"
BOOT = "store_workers_bootstrap/boot.py"
LOADER = "store_workers_bootstrap/loader.py"
REFUSE = "store_workers_bootstrap/refuse.py"
# Stored: what a run needs before it has read its message. The rest is deflated, module by module.
STORED = frozenset(
    f"store_workers/{name}.py"
    for name in (
        *("__init__", "__main__", "crew", "errors", "inbox"),
        *("messages", "owner", "records", "supervisor"),
    )
) | {"store_workers_bootstrap/__init__.py", "store_workers_bootstrap/deferred.py"}
# Carried as sources alone: what hardly any run imports (documentation of services, progress bars
# of other kinds, calendars). Compiling costs milliseconds there, room costs every download.
SOURCE_ONLY = (
    "botocore/crt/auth.py",
    "botocore/docs/",
    "dateutil/easter.py",
    "dateutil/rrule.py",
    "dateutil/tz/win.py",
    "dateutil/tzwin.py",
    "dateutil/utils.py",
    "tqdm/",
    "urllib3/contrib/pyopenssl.py",
    "urllib3/contrib/socks.py",
    "urllib3/http2/connection.py",
)
PAYLOAD_NAME = "store-workers.payload"
LICENCES_NAME = "LICENSES.txt"


@dataclass
class Parts:
    """Everything that goes into the artifact.

    Attributes:
        tree: all files, the packages' and the project's own.
        compiled: each interpreter's marshalled code, by source path.
        libraries: the native libraries: by module, then by target.
        licences: one text with the licence of everything inside.
    """

    tree: Tree
    compiled: dict[Interpreter, dict[str, bytes]]
    libraries: dict[str, dict[Target, bytes]]
    licences: bytes


def assemble(parts: Parts) -> bytes:
    """Return the artifact: the same bytes for the same parts."""
    # Filling in numbers leaves the first lines as long as they are, so all places are known.
    first, boot = parts.tree.files[FIRST], parts.tree.files[BOOT]
    archive = first_lines(first, boot)
    payload = Payload(archive.offset_of_next(PAYLOAD_NAME))
    place = b"HEAD, HEAD_BYTES = 0x%08x, 0x%08x" % (payload.offset, HEAD_BYTES)
    boot = filled(boot, rb"HEAD, HEAD_BYTES = 0x0{8}, 0x0{8}", place)
    total = b"sum(bytearray(s)) != 0x%08x" % sum(boot)
    first = filled(first, rb"sum\(bytearray\(s\)\) != 0x0{8}", total)
    archive = first_lines(first, boot)
    head: dict[str, Any] = {
        "first lines": (0, len(archive.content), Payload.crc(archive.content)),
        "refuse": payload.add(parts.tree.files[REFUSE], deflated=False),
    }
    add_code(payload, head, parts)
    archive.add(Entry(PAYLOAD_NAME, payload.finish(head)))
    licences = deflate.deflate_compress(parts.licences, LEVEL)
    archive.add(Entry(LICENCES_NAME, parts.licences, licences))
    return archive.finish()


def first_lines(first: bytes, boot: bytes) -> ZipFile:
    """Return the beginning of the archive: what Python itself reads."""
    archive = ZipFile(PRELUDE)
    archive.add(Entry("__main__.py", first))
    archive.add(Entry("boot.py", boot))
    return archive


def filled(source: bytes, placeholder: bytes, numbers: bytes) -> bytes:
    """Return ``source``, as long as it was, with numbers in the place that is kept for them."""
    done, count = re.subn(placeholder, numbers, source)
    if count != 1 or len(done) != len(source):
        raise ValueError(f"{placeholder!r} is there {count} times, not once")
    return done


def add_code(payload: Payload, head: dict[str, Any], parts: Parts) -> None:
    """Add the code for each Python, what it reads and its tables; name them in ``head``."""
    sources = parts.tree.sources()
    data = parts.tree.data().items()
    code_of = {each: add_compiled(payload, code) for each, code in parts.compiled.items()}
    shared = {
        "packages": tuple(name for name, package in map(module_name, sources) if package),
        "sources": {
            module_name(path)[0]: payload.add(source, deflated=True)
            for path, source in sources.items()
            if path not in (FIRST, BOOT)
        },
        "data": {path: payload.add(content, deflated=True) for path, content in data},
        "libraries": {
            module: add_libraries(payload, libraries)
            for module, libraries in parts.libraries.items()
        },
    }
    places = [(each.magic, code_of[each]) for each in code_of]
    head["build"] = hashlib.sha256(repr((shared, places)).encode()).hexdigest()[:16]
    head["code"] = {
        each.magic: tables(payload, compiled=code_of[each], loader=code[LOADER], **shared)
        for each, code in parts.compiled.items()
    }
    # For every other Python, among them those that are yet to come.
    head["source"] = tables(payload, compiled={}, loader=sources[LOADER], **shared)


def add_compiled(payload: Payload, contents: dict[str, bytes]) -> dict[str, Place]:
    """Add the compiled code of modules, given by path; return the places by module name."""
    return {
        module_name(path)[0]: payload.add(content, deflated=path not in STORED)
        for path, content in contents.items()
        if path not in (FIRST, BOOT) and not path.startswith(SOURCE_ONLY)
    }


def add_libraries(
    payload: Payload, libraries: dict[Target, bytes]
) -> dict[str, tuple[Place, Place | None]]:
    """Add one module's native libraries; return by target where each is, and a patch for it.

    One that is nearly the same as another is that other, and the patch.
    """
    whole: list[bytes] = []
    places = {}
    for target, library in libraries.items():
        patched = ((each, difference(each, library)) for each in whole)
        base, patch = next((found for found in patched if found[1] is not None), (library, None))
        if patch is None:
            whole.append(library)
        place = payload.add(base, deflated=True)
        table = Payload.marshal(patch) if patch is not None else None
        places[target.key] = (place, payload.add(table, deflated=True) if table else None)
    return places


def tables(payload: Payload, **table: Any) -> Place:
    """Add the tables of one version of Python."""
    return payload.add(Payload.marshal(table), deflated=True)
