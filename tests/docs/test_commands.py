"""Every command in every document is run: those of a document in their order, in one shell.

Blocks marked `sh` are commands. They run in a copy of the repository, with the built artifact in
`dist/`, and a store listening where the documents say that one does. What cannot run here, or is
run by something else, is named below, with what runs it.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from itertools import pairwise
from textwrap import dedent
from typing import TYPE_CHECKING
from urllib.parse import unquote

import pytest

from tests.docs.documents import ROOT, blocks, documents
from tests.support.faulty_server import FaultyServer
from tests.support.worker import ARTIFACT, bare_python, clean_environ

if TYPE_CHECKING:
    from pathlib import Path

URL = "http://localhost:8080/chunks"
NEEDED = ("jq", "zstd", "curl", "node", "go", "sha256sum")

# A line that begins so is left to what is named, and this is run instead.
ELSEWHERE = {
    "python3 tools/test.py": ("what runs this test", "true"),
    "python3 -m tests.fuzz.run ": ("a suite that is run by hand", "true"),
    "python3 tools/build.py": ("the step before the tests", "test -x dist/store-workers.pyz"),
    "python3 tools/reference.py": ("tests/docs/test_reference.py", "true"),
    "python3 tools/release.py": ("tests/docs/test_release.py", "true"),
    "python3 tools/check.py": ("the same checks are steps of tools/test.py", "true"),
    "STORE_WORKERS_WRITE_EXAMPLES=1": ("tests/docs/test_golden.py compares them", "true"),
    "python3 tools/site.py": ("tests/docs/test_site.py", "true"),
    "pre-commit ": ("the same checks are steps of tools/test.py", "true"),
}

# Documents whose commands need servers of their own, and the tests that run them.
OTHER_TESTS = {
    "docs/stores.md": "tests/stores",
    "docs/platforms.md": "tests/artifact",
}


def with_commands() -> list[Path]:
    return [path for path in documents() if blocks(path, "sh")]


def runnable(line: str) -> str:
    for beginning, (_, instead) in ELSEWHERE.items():
        if line.startswith(beginning):
            head, found, rest = line.partition(" && ")
            return f"{instead}{found}{rest}" if "|" not in head else instead
    return line


@pytest.fixture
def copy(tmp_path: Path) -> Path:
    """A copy of the repository, as a clone of it would be, with the artifact in its place."""
    listed = subprocess.run(
        [
            "git",
            "ls-files",
            "-z",
            "--cached",
            "--others",
            "--exclude-standard",
            "examples",
            "docs",
            "tools",
            "dist",
        ],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=True,
    ).stdout
    for name in filter(None, listed.split("\0")):
        if (ROOT / name).exists():
            (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(ROOT / name, tmp_path / name)
    (tmp_path / "build").mkdir()
    shutil.copy(ARTIFACT, tmp_path / "dist" / "store-workers.pyz")
    (tmp_path / "bin").mkdir()
    (tmp_path / "bin" / "python3").symlink_to(bare_python())
    return tmp_path


@pytest.mark.parametrize("path", with_commands(), ids=lambda path: str(path.relative_to(ROOT)))
def test_commands(path: Path, copy: Path) -> None:
    if str(path.relative_to(ROOT)) in OTHER_TESTS:
        return
    for program in NEEDED:
        if not shutil.which(program):
            pytest.skip(f"{program} is not installed")
    script = ["set -euo pipefail"]
    for block in blocks(path, "sh"):
        script.append(f"echo '# {block.place}'")
        script += [runnable(line) for line in dedent(block.text).splitlines()]
    with FaultyServer() as server:
        text = "\n".join(script).replace(URL, server.url)
        done = subprocess.run(
            ["bash", "-c", text],
            cwd=copy,
            env=clean_environ(
                {
                    "PATH": f"{copy / 'bin'}:{os.environ['PATH']}",
                    "HOME": str(copy / "home"),
                    "GOCACHE": str(ROOT / "build" / "examples" / "go-cache"),
                }
            ),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            timeout=100,
            check=False,
        )
    assert done.returncode == 0, done.stdout[-3000:]


def test_exceptions_are_in_use() -> None:
    lines = [
        line.strip()
        for path in documents()
        for block in blocks(path, "sh")
        for line in block.text.splitlines()
    ]
    for beginning in ELSEWHERE:
        assert any(line.startswith(beginning) for line in lines), beginning
    for name, tests in OTHER_TESTS.items():
        if (ROOT / name).exists():
            found = [path.read_text(encoding="utf-8") for path in (ROOT / tests).glob("*.py")]
            wanted = name.rpartition("/")[2]
            assert not blocks(ROOT / name, "sh") or any(wanted in text for text in found), (
                f"no test in {tests} runs the commands of {name}"
            )


def test_suites_that_the_documents_name_exist() -> None:
    sources = [path.read_text(encoding="utf-8") for path in (ROOT / "tests").rglob("*.py")]
    for path in documents():
        for block in blocks(path, "sh"):
            for line in dedent(block.text).splitlines():
                if not line.startswith("python3 tools/test.py"):
                    continue
                words = line.partition("#")[0].split()[2:]
                for name in (word for word in words if word.startswith("tests/")):
                    assert (ROOT / name).exists(), f"{block.place}: {name}"
                for option, suite in pairwise(words):
                    if option == "--suite":
                        marked = f'by_command("{suite}")'
                        assert any(marked in text for text in sources), f"{block.place}: {suite}"


def test_continuous_integration_runs_the_one_line() -> None:
    script = (ROOT / ".ci" / "run").read_text(encoding="utf-8").splitlines()
    assert any(line.removeprefix("exec ") == "python3 tools/test.py" for line in script)
    (tests,) = [
        block.text.strip()
        for block in blocks(ROOT / "README.md", "sh")
        if "tools/test.py" in block.text
    ]
    assert tests == "python3 tools/test.py"


def test_damage_is_found_as_the_document_says(copy: Path) -> None:
    """The line that checks a store fails, and names the chunk, where one is damaged."""
    (block,) = [b for b in blocks(ROOT / "docs" / "recover.md", "sh") if "> named\n" in b.text][:1]
    message = '{"type":"UPLOAD_START","path":"dist/store-workers.pyz","store":"chunks"}'
    script = f"echo '{message}' | python3 dist/store-workers.pyz > events.jsonl\n{block.text}"

    def run(text: str) -> subprocess.CompletedProcess[str]:
        path = f"{copy / 'bin'}:{os.environ['PATH']}"
        return subprocess.run(
            ["bash", "-c", f"set -euo pipefail\n{text}"],
            cwd=copy,
            env=clean_environ({"PATH": path}),
            capture_output=True,
            text=True,
            check=False,
        )

    assert run(script).returncode == 0
    (chunk, *_) = sorted(path for path in (copy / "chunks").glob("*/*") if path.is_file())
    *rest, last = chunk.read_bytes()
    chunk.write_bytes(bytes([*rest, last ^ 1]))
    found = run(block.text)
    assert found.returncode == 1
    assert f"{chunk.name}: FAILED" in found.stdout


LINK = re.compile(r"(?<!\!)\[[^\]\n]*\]\(([^)\s]+)\)|!\[[^\]\n]*\]\(([^)\s]+)\)")


def anchors(path: Path) -> set[str]:
    """Return the anchors of a document's headings, as GitHub makes them."""
    text = re.sub(r"```.*?```", "", path.read_text(encoding="utf-8"), flags=re.DOTALL)
    found = set()
    for heading in re.findall(r"^#+ (.+)$", text, re.MULTILINE):
        plain = re.sub(r"[^\w\- ]", "", heading.replace("`", "").lower())
        found.add(plain.strip().replace(" ", "-"))
    return found


def test_links_lead_somewhere() -> None:
    for path in documents():
        text = re.sub(r"```.*?```", "", path.read_text(encoding="utf-8"), flags=re.DOTALL)
        for match in LINK.finditer(text):
            target, _, anchor = unquote(match[1] or match[2]).partition("#")
            if "://" in target or target.startswith("mailto:"):
                continue
            linked = (path.parent / target).resolve() if target else path
            assert linked.exists(), f"{path.relative_to(ROOT)}: {target}"
            if anchor and linked.suffix == ".md":
                assert anchor in anchors(linked), f"{path.relative_to(ROOT)}: {target}#{anchor}"


def test_readme_is_one_page() -> None:
    lines = (ROOT / "README.md").read_text(encoding="utf-8").splitlines()
    assert len(lines) <= 70
