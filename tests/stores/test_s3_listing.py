"""A bucket's list: its document, and a repeat of an upload at a real server."""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING, Any

import pytest

from store_workers.errors import StoreFailure
from store_workers.stores.base import Chunk
from store_workers.stores.listing import ListedStore
from store_workers.stores.s3.listing import BucketList, read_page
from store_workers.transfer.listing import HITS_BEFORE_LISTING
from tests.stores.kinds import open_store
from tests.support.rclone import RcloneS3

if TYPE_CHECKING:
    from pathlib import Path

PATIENT = {"timeout_ms": 30_000}
ONE, TWO = "1" * 64, "2" * 64


def document(*keys: tuple[str, object], truncated: object = "false", root: str = "") -> bytes:
    objects = "".join(
        f"<Contents><Key>{key}</Key><Size>{size}</Size><Owner><ID>x</ID></Owner></Contents>"
        for key, size in keys
    )
    root = root or "ListBucketResult"
    head = f'<?xml version="1.0"?>\n<{root} xmlns="http://s3.amazonaws.com/doc/2006-03-01/">'
    more = f"<IsTruncated>{truncated}</IsTruncated>"
    folders = "<CommonPrefixes><Prefix>p/x/</Prefix></CommonPrefixes>"
    return f"{head}<Name>b</Name>{more}{objects}{folders}</{root}>".encode()


def test_a_page() -> None:
    body = document(("p/0", 1), (f"p/{ONE}", 5), (f"p/{TWO}", 6), ("p/a&amp;b", 7))
    page = read_page(body, "p/", "")
    assert list(page.chunks) == [(ONE, 5), (TWO, 6)]
    assert (page.after, page.last, page.more) == ("", "a&b", False)
    first = read_page(document((ONE, 5), truncated="true"), "", "0")
    assert (list(first.chunks), first.after, first.last, first.more) == ([(ONE, 5)], "0", ONE, True)
    empty = read_page(document(), "p/", ONE)
    assert (list(empty.chunks), empty.last, empty.more) == ([], ONE, False)


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"<html>login</html>",
        b"<ListBucketResult>",
        b"<!DOCTYPE a []>" + document(),
        document(root="Error"),
        document(truncated="perhaps"),
        document((f"other/{ONE}", 5)),
        document((f"p/{ONE}", "five")),
        document((f"p/{TWO}", 5), (f"p/{ONE}", 5)),
        document((f"p/{ONE}", 5), (f"p/{ONE}", 5)),
        document(("p/0", 5)),
    ],
)
def test_what_is_no_list(body: bytes) -> None:
    with pytest.raises(StoreFailure):
        read_page(body, "p/", "0")


def test_what_is_asked_for() -> None:
    asked: list[str] = []

    def fetch(path: str) -> bytes:
        asked.append(path)
        return document()

    keys = BucketList("/bucket", "a b/ü/", fetch)
    keys.page("")
    keys.page(ONE)
    start = "/bucket?delimiter=%2F&list-type=2&prefix=a%20b%2F%C3%BC%2F"
    assert asked == [start, f"{start}&start-after=a%20b%2F%C3%BC%2F{ONE}"]


@pytest.mark.parametrize(
    ("prefix", "folder"), [("", "."), ("some/prefix", "some/prefix"), ("a%20b%26/ü", "a b&/ü")]
)
def test_a_repeat_at_a_real_server(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, prefix: str, folder: str
) -> None:
    data = [bytes([number]) * 100 for number in range(40)]
    chunks = [Chunk(hashlib.sha256(piece).hexdigest(), [memoryview(piece)]) for piece in data]
    with RcloneS3(tmp_path / "rclone") as server:
        auth = {"access_key_id": server.access_key, "secret_access_key": server.secret_key}
        root = server.data / server.bucket / folder
        (root / "below").mkdir(parents=True, exist_ok=True)
        (root / "below" / ONE).write_bytes(b"12345")
        for chunk in chunks:
            (root / chunk.hash).write_bytes(b"".join(chunk.pieces))
        again: Any = open_store(server.store(prefix), auth=auth, settings=PATIENT)
        assert isinstance(again, ListedStore)
        asked: list[str] = []
        transport: Any = again.store._transport  # type: ignore[attr-defined]
        request = transport.request

        def counted(method: str, *more: Any, **named: Any) -> Any:
            asked.append(method)
            return request(method, *more, **named)

        monkeypatch.setattr(transport, "request", counted)
        assert all(again.has(chunk.hash, chunk.size) for chunk in chunks)
        assert asked == ["HEAD"] * HITS_BEFORE_LISTING + ["GET"]
        assert not again.has(ONE, 5)
        assert len(asked) == HITS_BEFORE_LISTING + 1
        again.close()
