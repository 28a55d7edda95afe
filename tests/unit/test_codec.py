"""The choice of the codec, and the warning about another libzstd."""

from __future__ import annotations

from typing import TYPE_CHECKING

import zstandard

from store_workers.errors import WarningCode
from store_workers.stream import codec, codec_zstandard
from store_workers.wire.events import Warning
from tests.stores.memory_store import MemoryStore
from tests.unit.in_process import InProcess

if TYPE_CHECKING:
    from pathlib import Path

    import pytest


def warnings_of_an_upload(folder: Path) -> list[Warning]:
    path = folder / "file"
    path.write_bytes(b"content" * 1000)
    message = {"type": "UPLOAD_START", "path": str(path), "store": str(folder / "store")}
    run = InProcess(message, MemoryStore())
    run.finish()
    return [event for event in run.events if isinstance(event, Warning)]


def test_what_is_expected_is_what_is_bundled(tmp_path: Path) -> None:
    assert codec.LIBZSTD is codec_zstandard.LIBZSTD
    assert zstandard.ZSTD_VERSION == codec.EXPECTED_LIBZSTD
    assert codec.is_expected()
    assert warnings_of_an_upload(tmp_path) == []


def test_another_libzstd_is_told(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(codec, "LIBZSTD", (1, 5, 6))
    (warning,) = warnings_of_an_upload(tmp_path)
    assert warning.code is WarningCode.CODEC_DIFFERS
    assert "not libzstd 1.5.7" in warning.message
    assert "the hashes may differ" in warning.message


def test_a_thread_keeps_its_compressors() -> None:
    levels = (3, 1, -10)
    first = [codec.frame_compressor(level) for level in levels]
    assert [codec.frame_compressor(level) for level in levels] == first
