"""Command lines and their messages."""

from __future__ import annotations

import json
from typing import Any

import pytest

from store_workers.errors import ErrorCode
from store_workers.people.command_line import WrongCommandLine, option, parse
from store_workers.people.flags import VERBS, help_on
from store_workers.people.verbs import Printer, checksum_line, failure_line, session
from store_workers.wire.events import ErrorEvent, FileUploaded, FileVerified
from store_workers.wire.messages import Settings, Tls, decode_message
from tests.unit.test_progress_bar import Screen

HASH = "0123456789abcdef" * 4
QUIET = {"chunk_events": False, "progress_interval_ms": 0}


def one(*arguments: str) -> dict[str, Any]:
    """Return the valid message of a command, without the settings that suppress events."""
    (message,) = parse(list(arguments)).messages
    decode_message(json.loads(json.dumps(message)))
    for name, value in QUIET.items():
        if message["settings"].get(name) == value:
            del message["settings"][name]
    return {name: value for name, value in message.items() if value != {}}


UP = {"type": "UPLOAD_START", "path": "f", "manifest": True}
DOWN = {"type": "DOWNLOAD_START", "manifest": HASH, "path": "f"}
LOOK = {"type": "VERIFY_START", "manifest": HASH}
MESSAGES: list[tuple[str, dict[str, Any]]] = [
    ("upload f", UP),
    ("upload f --store s3://b/p", {**UP, "store": "s3://b/p"}),
    ("upload --sha256 --verify --size 5K f", {**UP, "sha256": True, "verify": True, "size": 5120}),
    ("upload -", {**UP, "path": "-"}),
    ("upload -- -f", {**UP, "path": "-f"}),
    ("upload f --concurrency 32", {**UP, "settings": {"concurrency": 32}}),
    ("upload f --chunk-size 1M", {**UP, "settings": {"chunk_size": 1 << 20}}),
    ("upload f --timeout-ms 5", {**UP, "settings": {"timeout_ms": 5}}),
    ("upload f --overwrite", {**UP, "settings": {"overwrite": True}}),
    ("upload f --no-create-store", {**UP, "settings": {"create_store": False}}),
    ("upload f --ca-file ca.pem", {**UP, "tls": {"ca_file": "ca.pem"}}),
    ("upload f --boundaries content", {**UP, "settings": {"boundaries": "content"}}),
    (
        "upload --store s --command -- pg_dump -Fc --store db",
        {
            "type": "UPLOAD_START",
            "manifest": True,
            "store": "s",
            "command": ["pg_dump", "-Fc", "--store", "db"],
        },
    ),
    (f"download {HASH} f", DOWN),
    (f"download {HASH} f --range 5:1K", {**DOWN, "range": {"offset": 5, "length": 1024}}),
    (f"download {HASH} f --range 5:", {**DOWN, "range": {"offset": 5}}),
    (f"download {HASH} f --range :5", {**DOWN, "range": {"offset": 0, "length": 5}}),
    (f"verify {HASH}", LOOK),
    (f"verify {HASH} --quick --store d", {**LOOK, "content": False, "store": "d"}),
]


@pytest.mark.parametrize(("line", "message"), MESSAGES)
def test_a_command_is_a_message(line: str, message: dict[str, Any]) -> None:
    assert one(*line.split()) == message


def test_every_setting_is_an_option() -> None:
    for name, spec in Settings.FIELDS.items():
        option = "--" + name.replace("_", "-")
        if isinstance(spec.default, bool):
            words = [option if not spec.default else option.replace("--", "--no-", 1)]
            wanted: Any = not spec.default
        else:
            wanted = getattr(spec.default, "value", spec.default)
            words = [option, str(wanted)]
        (message,) = parse(["upload", "f", "--json", *words]).messages
        assert message["settings"] == {name: wanted}
        decode_message(message)


@pytest.mark.parametrize("verb", VERBS)
def test_the_help_of_a_verb_fits_on_a_screen(verb: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    lines = help_on(verb).splitlines()
    assert len(lines) <= 40
    assert max(map(len, lines)) < 80
    assert lines[-1].endswith('--help settings" explains all settings and TLS files.')


def test_the_help_on_settings_has_all() -> None:
    lines = help_on("settings").splitlines()
    assert max(map(len, lines)) < 80
    for name in (*Settings.FIELDS, *Tls.FIELDS):
        assert any(line.startswith(f"  {option(name)}") for line in lines), name
    assert "  --concurrency 0..256 (default 0)" in lines
    assert "  --chunk-size 512K|1M|2M|4M|8M (default 512K)" in lines
    assert "  --boundaries fixed|content (default fixed)" in lines
    assert "`" not in "".join(lines)


def test_files_are_a_session() -> None:
    command = parse(["upload", "a", "b", "--store", "s", "--concurrency", "3"])
    assert command.paths == ["a", "b"]
    first, *others = session(command.messages)
    assert first == {
        "type": "SESSION_START",
        "store": "s",
        "settings": {**QUIET, "concurrency": 3},
    }
    assert others == [{"id": "0", **UP, "path": "a"}, {"id": "1", **UP, "path": "b"}]


def test_names_that_are_no_text_come_through() -> None:
    assert one("upload", "raw\udcff ü")["path"] == "raw\udcff ü"


WRONG = [
    ("upload", "expected a FILE"),
    ("upload --command", "expected a command after --"),
    ("upload --command --", "expected a command after --"),
    ("upload - -", "only once"),
    ("upload f --concurrency many", "such as 32 or 10M"),
    ("upload f --concurrency", "expected one argument"),
    ("upload f --no-such", "unrecognized arguments"),
    ("upload f --conc 5", "unrecognized arguments"),
    (f"download {HASH}", "required: FILE"),
    (f"download {HASH} f g", "unrecognized arguments: g"),
    (f"download {HASH} - --json", "both use standard output"),
    (f"download {HASH} f --range 5", "expected OFFSET:LENGTH"),
    ("verify", "required: MANIFEST"),
]


@pytest.mark.parametrize(("line", "problem"), WRONG)
def test_what_is_wrong_is_said_below_what_is_right(line: str, problem: str) -> None:
    with pytest.raises(WrongCommandLine) as wrong:
        parse(line.split())
    assert problem in wrong.value.problem
    assert wrong.value.usage.startswith("usage: ")
    assert "\n" not in wrong.value.problem + wrong.value.usage


@pytest.mark.parametrize(
    ("path", "line"),
    [
        ("a b", f"{HASH}  a b\n"),
        ("new\nline", f"\\{HASH}  new\\nline\n"),
        ("back\\slash", f"\\{HASH}  back\\\\slash\n"),
    ],
)
def test_lines_are_those_of_sha256sum(path: str, line: str) -> None:
    assert checksum_line(HASH, path) == line


def error(code: ErrorCode, message: str) -> ErrorEvent:
    return ErrorEvent(code=code, message=message, retryable=False)


def test_failures_are_one_line() -> None:
    denied = failure_line(error(ErrorCode.FILE_ACCESS_DENIED, "f: Permission denied"), "f")
    assert denied.endswith(": f: Permission denied (FILE_ACCESS_DENIED)\n")
    away = failure_line(error(ErrorCode.STORE_UNAVAILABLE, "refused"), "f")
    assert ": f: refused (STORE_UNAVAILABLE; try again later" in away
    bad = failure_line(error(ErrorCode.BAD_MESSAGE, "settings.chunk_size: expected x, got 5"), "f")
    assert ": --chunk-size: expected x, got 5 (BAD_MESSAGE; see --help)" in bad
    stream = failure_line(error(ErrorCode.FILE_MISMATCH, "/dev/fd/7: ended"), "-")
    assert ": -: ended (FILE_MISMATCH)" in stream


def uploaded(path: str) -> FileUploaded:
    return FileUploaded(
        path=path,
        store="s",
        size=1,
        compressed_size=1,
        chunks=1,
        manifest=HASH,
        new_chunks=1,
        new_bytes=1,
        changed=False,
        duration_ms=1,
    )


def test_results_come_in_the_order_of_the_command_line(tmp_path: Any) -> None:
    screen = Screen()
    with (tmp_path / "out").open("wb", buffering=0) as out:
        printer = Printer(["a", "b", "c"], out.fileno(), screen, None)
        printer.after(uploaded("c"), "2")
        assert (tmp_path / "out").read_bytes() == b""
        printer.after(uploaded("a"), "0")
        printer.after(error(ErrorCode.FILE_NOT_FOUND, "b: No such file"), "1")
    lines = (tmp_path / "out").read_text().splitlines()
    assert lines == [f"{HASH}  a", f"{HASH}  c"]
    assert len(screen.written) == 1


def test_a_signal_is_told_once() -> None:
    screen = Screen()
    printer = Printer(["a", "b"], -1, screen, None)
    for id in ("0", "1", None):
        printer.after(error(ErrorCode.CANCELLED, "stopped by SIGINT"), id)
    (line,) = screen.written
    assert ": stopped by SIGINT (CANCELLED; " in line


def test_output_that_nobody_takes_is_said(tmp_path: Any) -> None:
    screen = Screen()
    printer = Printer([HASH], -1, screen, None)
    printer.after(FileVerified(store="s", size=1, compressed_size=1, chunks=1, duration_ms=1), None)
    assert "standard output: Bad file descriptor" in screen.written[0]
