"""The examples in the documents, replayed: each message gives the very lines that stand there.

With STORE_WORKERS_WRITE_EXAMPLES=1 the lines are written into the documents instead, to be read
and committed.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
import time
from contextlib import ExitStack
from typing import TYPE_CHECKING, Any

import pytest

from store_workers.errors import WORTH_SENDING_AGAIN, ErrorCode
from store_workers.files.atomic_file import STALE_AFTER
from store_workers.run.limits import MOST_CODEC_THREADS
from store_workers.run.session import MOST_WAITING
from store_workers.run.supervisor import ONE_WISH
from store_workers.stores.http.redirects import MOST_REDIRECTS
from store_workers.stores.http.streams import LEAST_RATE
from store_workers.stream.boundaries import CENTER, LONGEST, SHORTEST
from store_workers.stream.codec_common import LARGEST_WINDOW
from store_workers.stream.frames import LARGEST_WHOLE
from store_workers.stream.manifest_reader import DEEPEST, MOST_CHUNKS
from store_workers.stream.spans import FRAME_SPAN
from store_workers.transfer.probing import ASK_AT_LEAST_EVERY
from store_workers.transfer.rate_limit import LEAST_EACH
from store_workers.wire.events import EventType
from store_workers.wire.messages import (
    CHUNK_SIZES,
    CONTROLS,
    MESSAGES,
    decode_first,
    decode_message,
)
from store_workers.wire.reader import LONGEST_MESSAGE
from tests.docs.documents import ROOT, blocks, documents, examples
from tests.support.contract import TERMINAL, check_fields
from tests.support.data import noise
from tests.support.faulty_server import FIRST, FaultyServer, Rule, honest_after, stalled, status
from tests.support.schema import check_event
from tests.support.worker import Run, Worker, run_worker, upload

if TYPE_CHECKING:
    from pathlib import Path

URL = "http://localhost:8080/chunks"
DOCUMENTS = [ROOT / "docs" / "protocol.md", ROOT / "docs" / "errors.md"]
WRITE = os.environ.get("STORE_WORKERS_WRITE_EXAMPLES") == "1"

# What the server at URL does, by the name of the example.
RULES = {
    "retry": [Rule(status(503, retry_after="1"), "PUT", tries=FIRST)],
    "progress-upload": [Rule(honest_after(0.75), "PUT")],
    "progress-download": [Rule(honest_after(0.75), "GET")],
    "slow-store": [Rule(honest_after(1.2), "PUT")],
    "store-access-denied": [Rule(status(403))],
    "store-rejected": [Rule(status(301, location="https://elsewhere.example/"))],
    "cancelled": [Rule(stalled(where="answer"), "PUT")],
}
NOT_REPLAYED = {
    "host-unsupported": "needs a Python that is too old; tests/artifact has it",
    "internal": "needs a bug",
}


@pytest.fixture(scope="module")
def uploads(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with what examples find in theirs: stores, each with one file."""
    folder = tmp_path_factory.mktemp("uploads")
    (folder / "hello.txt").write_text("Hello, world!\n")
    (folder / "data.bin").write_bytes(noise(600 * 1024))
    run_worker(upload("hello.txt", "hello"), cwd=folder)
    run_worker(upload("data.bin", "data"), cwd=folder)
    run_worker(upload("data.bin", "manifest", manifest=True), cwd=folder)
    return folder


def prepare(name: str, folder: Path, uploads: Path) -> None:
    """Make what an example finds in its folder."""
    stores = set() if name == "upload" else {"hello"}
    if name in {"download-manifest", "download-range-of", "verify", "verify-bad"}:
        stores.add("manifest")
    if name in {"stream-corrupt", "download-range"}:
        stores.add("data")
    for file in ("hello.txt", "data.bin"):
        shutil.copy(uploads / file, folder)
    for store in stores:
        shutil.copytree(uploads / store, folder / "chunks", dirs_exist_ok=True)
    if name == "verify-bad":
        first = "01ef7c9912909c34a48940ada44d2adf10794e23d4132a2ab2771e44a9f11260"
        (folder / "chunks" / first[:2] / first).unlink()
    if name == "chunk-corrupt":
        (chunk,) = [path for path in (folder / "chunks").glob("*/*") if path.is_file()]
        chunk.write_bytes(chunk.read_bytes()[:-1] + b"?")
    if name == "leftovers":
        old = folder / "chunks" / ".store-workers-0123456789abcdef.part"
        old.write_bytes(b"")
        os.utime(old, (0, 0))


def replay(name: str, message: dict[str, Any], folder: Path, *more: dict[str, Any]) -> Run:
    with ExitStack() as stack:
        if message.get("store") == URL:
            server = stack.enter_context(FaultyServer(*RULES.get(name, [])))
            chunks = (path for path in (folder / "chunks").glob("*/*") if path.is_file())
            if message["type"] == "DOWNLOAD_START":
                server.chunks.update({path.name: path.read_bytes() for path in chunks})
            message = {**message, "store": server.url.replace("127.0.0.1", "localhost")}
        worker = stack.enter_context(Worker([message, *more] if more else message, cwd=folder))
        if name == "cancelled":
            while not server.requests("PUT"):
                time.sleep(0.01)
            worker.signal(signal.SIGTERM)
        if name == "changed":
            worker.wait_for("CHUNK")
            with (folder / "data.bin").open("ab") as file:
                file.write(b"more")
        run = worker.finish()
        if message.get("store", "").startswith("http"):
            run.stdout = re.sub(rb"http://localhost:\d+/chunks", URL.encode(), run.stdout)
        return run


# What differs from run to run or from system to system, and what stands for it.
VARYING = [
    (r'"(duration_ms|delay_ms)":\d+', r'"\1":N'),
    (r"took \d\.\d s", "took N s"),
    (r"Permission denied|Read-only file system|Operation not permitted", "DENIED"),
]


def settled(line: str) -> str:
    for pattern, steady in VARYING:
        line = re.sub(pattern, steady, line)
    return line


def without_more_beats(lines: list[str], expected: list[str] | None = None) -> list[str]:
    """Leave out the heartbeats that a busy machine adds: repeated ones, and those not expected."""
    found: list[str] = []
    for line in lines:
        added = line in found or (expected is not None and line not in expected)
        if not (added and '"type":"PROGRESS"' in line):
            found.append(line)
    return found


EXAMPLES = [example for path in DOCUMENTS for example in examples(path)]


@pytest.mark.parametrize("example", EXAMPLES, ids=lambda example: example.name)
def test_example(example: Any, uploads: Path, tmp_path: Path) -> None:
    message, *more = map(json.loads, example.message.lines())
    if example.name in NOT_REPLAYED:
        return
    prepare(example.name, tmp_path, uploads)
    run = replay(example.name, message, tmp_path, *more)
    expected = example.events.lines()
    said = run.stdout.decode().splitlines()
    lines = without_more_beats(said, None if WRITE else expected)
    if more:  # messages side by side: what is told of each has its order, and no more
        lines.sort(key=lambda line: json.loads(line).get("id", "~"))
    if WRITE and [settled(line) for line in lines] != [settled(line) for line in expected]:
        write(example.events, lines)
        return
    assert [settled(line) for line in lines] == [settled(line) for line in expected]


def write(block: Any, lines: list[str]) -> None:
    text = block.path.read_text(encoding="utf-8")
    now = next(b for b in examples(block.path) if b.events.text == block.text).events
    text = text[: now.start] + "".join(line + "\n" for line in lines) + text[now.end :]
    block.path.write_text(text, encoding="utf-8")


def test_examples_have_names_of_their_own() -> None:
    names = [example.name for example in EXAMPLES]
    assert len(names) == len(set(names))
    assert set(RULES) | set(NOT_REPLAYED) <= set(names)


def test_every_event_is_shown() -> None:
    shown = "\n".join(example.events.text for example in EXAMPLES)
    for kind in EventType:
        assert f'"type":"{kind.value}"' in shown
    assert '"read_bytes"' in shown
    assert '"fetched_bytes"' in shown


def test_every_code_is_shown_and_explained() -> None:
    page = ROOT / "docs" / "errors.md"
    ends = [json.loads(example.events.lines()[-1]) for example in examples(page)]
    assert {end["code"] for end in ends if end["type"] == "ERROR"} == {c.value for c in ErrorCode}
    headings = re.findall(r"^## `([A-Z_]+)`$", page.read_text(encoding="utf-8"), re.MULTILINE)
    assert headings == [code.value for code in ErrorCode]


def test_what_is_worth_sending_again_is_said() -> None:
    text = (ROOT / "docs" / "errors.md").read_text(encoding="utf-8")
    for section in text.split("\n## ")[1:]:
        code = section.split("`")[1]
        wanted = "yes" if ErrorCode(code) in WORTH_SENDING_AGAIN else "no"
        assert f"**Worth sending again:** {wanted}" in section, code


def test_every_field_and_setting_is_in_the_protocol() -> None:
    text = (ROOT / "docs" / "protocol.md").read_text(encoding="utf-8")
    for message in (*CONTROLS.values(), *MESSAGES.values()):
        for name, spec in message.FIELDS.items():
            assert f"`{name}`" in text, name
            nested = getattr(spec.kind, "record", None)
            for inner, inner_spec in (nested.FIELDS if nested else {}).items():
                row = re.search(rf"^\| `{inner}` \|([^\n]*)$", text, re.MULTILINE)
                assert row, f"{name}.{inner}"
                if isinstance(inner_spec.default, int):
                    assert f" {json.dumps(inner_spec.default)} " in row[0].replace("`", ""), row[0]


def test_figures_are_those_of_the_code() -> None:
    protocol, architecture = (
        (ROOT / "docs" / name).read_text(encoding="utf-8")
        for name in ("protocol.md", "architecture.md")
    )
    assert f"in spans of {FRAME_SPAN >> 20} MiB ({FRAME_SPAN} bytes)" in protocol
    assert f"in spans of {FRAME_SPAN >> 20} MiB ({FRAME_SPAN} bytes)" in architecture
    assert f"({CHUNK_SIZES[0] >> 10} KiB, {CHUNK_SIZES[0]} bytes, unless" in protocol
    assert f"more than {LONGEST_MESSAGE >> 20} MiB" in protocol
    assert f"less than {LEAST_RATE >> 10} KiB/s" in protocol
    assert f"every {ASK_AT_LEAST_EVERY}nd" in architecture
    assert f"of up to {LARGEST_WHOLE >> 20} MiB" in architecture
    assert f"of at most {LARGEST_WINDOW >> 20} MiB, as `zstd -d` does" in protocol
    assert f"within {ONE_WISH} s of the first" in protocol
    assert f"While {MOST_WAITING} messages wait" in protocol
    assert f"up to {MOST_REDIRECTS} times" in protocol
    assert f"at most {MOST_CODEC_THREADS}." in protocol
    assert f"at least {LEAST_EACH >> 10} KiB/s" in protocol
    assert f"nested more than {DEEPEST} levels deep" in protocol
    assert f"Lists of up to {MOST_CHUNKS} chunks" in protocol
    bounds = f"a minimum of {SHORTEST >> 10} KiB, a center of {CENTER >> 10} KiB"
    assert f"{bounds}, a maximum of {LONGEST >> 20} MiB" in protocol
    assert STALE_AFTER == 24 * 60 * 60
    assert "older than a day, were removed" in protocol


def test_every_module_is_in_the_map() -> None:
    text = (ROOT / "docs" / "architecture.md").read_text(encoding="utf-8")
    for path in (ROOT / "src" / "store_workers").glob("*.py"):
        name = "codec*.py" if path.name.startswith("codec") else path.name
        assert path.name == "__init__.py" or f"`{name}`" in text, f"architecture.md lacks {name}"


def test_json_in_every_document_is_of_the_wire() -> None:
    for path in documents():
        for block in blocks(path, "json"):
            for value in map(json.loads, block.lines()):
                if value.get("type") in {"SESSION_START", "CANCEL"}:
                    if value["type"] == "SESSION_START":
                        decode_first(value)
                elif value.get("type") in {message.value for message in MESSAGES}:
                    refused = value.get("settings") == {"concurrency": 300} or "colour" in value
                    if not refused:
                        decode_message(value)
                else:
                    check_event(value)
                    check_fields(value)


def test_only_the_last_event_of_an_example_is_terminal() -> None:
    for example in EXAMPLES:
        if "SESSION_START" in example.message.text:
            continue  # each of its messages has an end
        kinds = [json.loads(line)["type"] for line in example.events.lines()]
        assert [kind in TERMINAL for kind in kinds] == [False] * (len(kinds) - 1) + [True]
