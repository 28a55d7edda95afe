"""Architectural rules of the project.

Dependencies point one way, foreign libraries stay behind their adapters, and one module ends the
process.
"""

from __future__ import annotations

import ast
import re
from functools import cache
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
SOURCE = ROOT / "src" / "store_workers"
TOP = "store_workers"

# Allowed imports: a folder, or a module outside of folders, may import from its own row's folder
# and from the rows below it. Within a folder anything goes but a cycle.
ROWS = [
    ["__main__"],
    ["run"],
    ["people"],
    ["workers"],
    ["stores"],
    ["stream", "files"],
    ["transfer"],
    ["wire"],
    ["threads", "polling"],
    ["errors", ""],
]

FOREIGN = {
    "urllib3": "stores",
    "truststore": "stores",
    "botocore": "stores",
    "jmespath": "stores",
    "ssl": "stores",
    "http": "stores",
    "pyfastcdc": "stream.boundaries",
    "zstandard": "stream.codec_zstandard",
    "compression": "stream.codec_stdlib",
    "tqdm": "people.progress_bar",
}


def module_name(path: Path) -> str:
    """Return a module's name within the package; the package's own is empty."""
    parts = path.relative_to(SOURCE).with_suffix("").parts
    return ".".join(part for part in parts if part != "__init__")


MODULES = {module_name(path): path for path in SOURCE.rglob("*.py")}


@cache
def tree(path: Path) -> ast.Module:
    return ast.parse(path.read_bytes())


def calls(path: Path, names: set[str]) -> set[str]:
    """Return which of some names a module calls."""
    text = path.read_text(encoding="utf-8")
    if not any(f"{name}(" in text for name in names):
        return set()
    called = (node.func for node in ast.walk(tree(path)) if isinstance(node, ast.Call))
    return {ast.unparse(function) for function in called} & names


@cache
def imports(path: Path) -> set[str]:
    """Return all that a module imports, wherever it does, except for type checkers alone."""
    found = set()
    pending: list[ast.AST] = [tree(path)]
    while pending:
        node = pending.pop()
        if isinstance(node, ast.If) and ast.unparse(node.test).endswith("TYPE_CHECKING"):
            pending += node.orelse
            continue
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        if isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: a relative import"
            found |= {name_of(node.module or "", alias.name) for alias in node.names}
        pending += ast.iter_child_nodes(node)
    return found


def name_of(module: str, name: str) -> str:
    """Return what ``from module import name`` loads: a module of ours, or ``module``."""
    inner = f"{module}.{name}".removeprefix(f"{TOP}.")
    return f"{TOP}.{inner}" if module.startswith(TOP) and inner in MODULES else module


def folder(module: str) -> str:
    """Return the folder that a module lies in; a module in none is its own."""
    return module.partition(".")[0]


def row(module: str) -> int:
    """Return in which row a module stands."""
    for number, folders in enumerate(ROWS):
        if folder(module) in folders:
            return number
    raise AssertionError(f"{module} has no place in the house yet: give it one in ROWS")


def known(module: str) -> set[str]:
    """Return the modules of ours that a module imports, wherever it does."""
    ours = {name for name in imports(MODULES[module]) if name.split(".")[0] == TOP}
    return {name.removeprefix(TOP).lstrip(".") for name in ours} - {module}


def test_dependencies_point_one_way() -> None:
    for module in MODULES:
        for other in known(module):
            allowed = folder(other) == folder(module) or row(other) > row(module)
            assert allowed, f"{module} must not know {other}"


def test_no_module_imports_itself_by_way_of_others() -> None:
    done: set[str] = set()

    def visit(module: str, path: tuple[str, ...]) -> None:
        assert module not in path, " -> ".join((*path, module))
        if module in done:
            return
        for other in known(module):
            visit(other, (*path, module))
        done.add(module)

    for module in MODULES:
        visit(module, ())


def test_foreign_libraries_stay_behind_their_adapter() -> None:
    for module, path in MODULES.items():
        for name in imports(path):
            home = FOREIGN.get(name.partition(".")[0])
            beside = home is None or f"{module}.".startswith(f"{home}.")
            assert beside, f"{module} must not import {name}"


def test_base_of_the_stores_knows_no_store() -> None:
    assert not {name for name in known("stores.base") if folder(name) == "stores"}


def test_only_main_ends_the_process() -> None:
    forbidden = {"print", "exit", "quit", "sys.exit", "SystemExit", "os._exit"}
    # The second signal ends the process at once, wherever it is.
    allowed = {"__main__": forbidden, "run.supervisor": {"os._exit"}}
    for module, path in MODULES.items():
        ending = calls(path, forbidden) - allowed.get(module, set())
        assert not ending, f"{module} must not call {ending}"


def test_no_module_is_a_drawer() -> None:
    drawers = {"utils", "util", "helpers", "common", "misc"}
    assert not {module.split(".")[-1] for module in MODULES} & drawers


def test_versions_of_the_metadata_and_the_pins_agree() -> None:
    """What may be installed beside the source is what the artifact is built from."""
    metadata = (ROOT / "pyproject.toml").read_text()
    block = metadata.partition("\ndependencies = [\n")[2].partition("\n]")[0]
    declared = set(re.findall(r'^ *"([\w.-]+)', block, re.MULTILINE))
    assert declared
    pins = "".join(
        (ROOT / "tools" / "requirements" / name).read_text()
        for name in ("runtime.txt", "zstandard.txt", "pyfastcdc.txt")
    )
    pinned = set(re.findall(r"^([\w.-]+)==", pins, re.MULTILINE))
    assert declared <= pinned
    of_dependencies = {"jmespath", "python-dateutil", "six", "typing_extensions"}
    assert pinned - declared <= of_dependencies


def test_unit_tests_open_no_socket_and_do_not_sleep() -> None:
    """`in_process` alone does, on behalf of all."""
    for path in (ROOT / "tests" / "unit").glob("*.py"):
        assert b"socket" not in path.read_bytes() or "socket" not in imports(path), path
        assert path.stem == "in_process" or not calls(path, {"time.sleep"}), path
