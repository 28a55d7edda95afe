"""The house's rules, which no single change should break without saying so.

Dependencies point one way, foreign libraries stay behind their adapters, and one module ends the
process.
"""

from __future__ import annotations

import ast
import re
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
SOURCE = ROOT / "src" / "store_workers"
TOP = "store_workers"

# Who may know whom: everything else that lies in the same row or above it is out of reach.
ROWS = [
    ["__main__"],
    ["flags", "upload", "download", "progress_bar", "log"],
    ["saver", "source", "target", "compression", "decompression", "supervisor", "stores"],
    ["retry", "owner", "inbox", "codec", "frames"],
    ["schema", "pace", "limits", "stores.base", "codec_stdlib", "codec_zstandard"],
    ["messages"],
    ["records", "atomic_file"],
    ["crew", "descriptors", "probing", "standard_error"],
    ["errors", "chunking", "codec_error", "paths", ""],
]

FOREIGN = {
    "urllib3": "stores",
    "truststore": "stores",
    "botocore": "stores",
    "jmespath": "stores",
    "ssl": "stores",
    "http": "stores",
    "zstandard": "codec_zstandard",
    "compression": "codec_stdlib",
    "tqdm": "progress_bar",
}


def module_name(path: Path) -> str:
    """Return a module's name within the package; the package's own is empty."""
    parts = path.relative_to(SOURCE).with_suffix("").parts
    return ".".join(part for part in parts if part != "__init__")


MODULES = {module_name(path): path for path in SOURCE.rglob("*.py")}


def imports(path: Path) -> set[str]:
    """Return all that a module imports, wherever it does, except for type checkers alone."""
    found = set()
    pending: list[ast.AST] = [ast.parse(path.read_bytes())]
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


def row(module: str) -> int:
    """Return in which row a module stands; what is in ``stores`` stands where that does."""
    for number, modules in enumerate(ROWS):
        if module in modules:
            return number
    if module.startswith("stores."):
        return row("stores")
    raise AssertionError(f"{module} has no place in the house yet: give it one in ROWS")


@pytest.mark.parametrize("module", MODULES)
def test_dependencies_point_one_way(module: str) -> None:
    ours = {name for name in imports(MODULES[module]) if name.split(".")[0] == TOP}
    for other in {name.removeprefix(TOP).lstrip(".") for name in ours} - {module}:
        beside = module.startswith("stores") and other.startswith("stores")
        allowed = beside or row(other) > row(module)
        assert allowed, f"{module} must not know {other}"


@pytest.mark.parametrize("module", MODULES)
def test_foreign_libraries_stay_behind_their_adapter(module: str) -> None:
    for name in imports(MODULES[module]):
        home = FOREIGN.get(name.partition(".")[0])
        beside = home is None or module.partition(".")[0] == home
        assert beside, f"{module} must not import {name}"


def test_base_of_the_stores_knows_no_store() -> None:
    known = {name for name in imports(MODULES["stores.base"]) if name.startswith(f"{TOP}.stores")}
    assert known == set()


@pytest.mark.parametrize("module", MODULES)
def test_only_main_ends_the_process(module: str) -> None:
    if module == "__main__":
        return
    tree = ast.parse(MODULES[module].read_bytes())
    called = {ast.unparse(node.func) for node in ast.walk(tree) if isinstance(node, ast.Call)}
    forbidden = {"print", "exit", "quit", "sys.exit", "SystemExit"}
    # The second signal ends the process at once, wherever it is.
    forbidden |= set() if module == "supervisor" else {"os._exit"}
    assert not called & forbidden


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
        for name in ("runtime.txt", "zstandard.txt")
    )
    pinned = set(re.findall(r"^([\w.-]+)==", pins, re.MULTILINE))
    assert declared <= pinned
    of_dependencies = {"jmespath", "python-dateutil", "six"}
    assert pinned - declared <= of_dependencies
