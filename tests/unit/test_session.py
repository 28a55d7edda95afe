"""Sessions in this process: order, ends, cancels, refusals, back-pressure, signals, sharing."""

from __future__ import annotations

import gc
import os
import select
import signal
import threading
import types
from collections import Counter
from contextlib import contextmanager
from queue import SimpleQueue
from typing import TYPE_CHECKING, Any

import pytest

from store_workers.errors import BadMessage, ErrorCode, StoreFailure
from store_workers.files import target
from store_workers.files.syncing import SyncedDirectory
from store_workers.run import session
from store_workers.run.open_stores import MOST_IDLE, OpenStores
from store_workers.stores import once
from store_workers.stores.base import Chunk
from store_workers.stores.directory.store import DirectoryStore
from store_workers.stores.once import JUST_NOW, PutOnce, Puts
from store_workers.stream import compression
from store_workers.stream.codec import frame_compressor
from store_workers.threads import Abandoned, ThreadGroup
from store_workers.wire.messages import Cancel, SessionStart, decode_first, decode_next
from tests.stores.memory_store import MemoryStore
from tests.support.waiting import wait_until
from tests.unit.in_process import TIMEOUT, beside
from tests.unit.owners import Owner

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from tests.unit.owners import Event

UPLOAD = {"type": "UPLOAD_START", "path": "/f", "id": "a"}
HASH = "ab" * 32


def start(store: Path | str, **more: Any) -> dict[str, Any]:
    settings = {"progress_interval_ms": 0, **more.pop("settings", {})}
    return {"type": "SESSION_START", "store": str(store), "settings": settings, **more}


def upload(path: Path | str, id: str, **more: Any) -> dict[str, Any]:
    return {"type": "UPLOAD_START", "id": id, "path": str(path), **more}


def ended(id: str) -> Any:
    return lambda event: event.get("id") == id and event["type"] in ("FILE_UPLOADED", "ERROR")


@pytest.fixture
def files(tmp_path: Path) -> list[Path]:
    found = []
    for number in range(30):
        path = tmp_path / f"file-{number}"
        path.write_bytes(os.urandom(10 * number) + bytes([number]) * 5000)
        found.append(path)
    return found


@pytest.fixture
def fifo(tmp_path: Path) -> Path:
    """A FIFO that stays open: its upload runs as long as the test needs."""
    path = tmp_path / "fifo"
    os.mkfifo(path)
    return path


def test_many_files_go_and_come_back(files: list[Path], tmp_path: Path) -> None:
    with Owner(start(tmp_path / "store")) as owner:
        for number, path in enumerate(files):
            owner.send(upload(path, str(number)))
        status, end = owner.finish()
        assert (status, end["type"]) == (0, "SESSION_ENDED")
        assert (end["files"], end["failed"]) == (len(files), 0)
        assert "id" not in end
        ends = owner.ends()
    with Owner(start(tmp_path / "store", max_files=2)) as owner:
        for number in range(len(files)):
            message = {"type": "DOWNLOAD_START", "path": str(tmp_path / f"back-{number}")}
            owner.send({**message, "id": str(number), "hashes": ends[str(number)]["hashes"]})
        assert owner.finish()[0] == 0
    for number, path in enumerate(files):
        assert (tmp_path / f"back-{number}").read_bytes() == path.read_bytes()


def test_one_at_a_time_goes_in_the_order_of_arrival(files: list[Path], tmp_path: Path) -> None:
    with Owner(start(tmp_path / "store", max_files=1)) as owner:
        for number, path in enumerate(files):
            owner.send(upload(path, str(number)))
        owner.finish()
        ends = [event["id"] for event in owner.events if event["type"] == "FILE_UPLOADED"]
    assert ends == [str(number) for number in range(len(files))]


def test_nothing_of_a_finished_message_waits_for_a_collection_of_garbage(
    files: list[Path], fifo: Path, tmp_path: Path
) -> None:
    """Objects in reference cycles would stay in memory until a garbage collection."""
    path, back = files[3], str(tmp_path / "back")
    with Owner(start(tmp_path / "store", max_files=2)) as owner, without_collections():
        owner.send(upload(path, "first", manifest=True))
        manifest = owner.wait_for(ended("first"))["manifest"]
        download = {"type": "DOWNLOAD_START", "manifest": manifest, "path": back}
        messages = [
            upload(path, "again"),
            upload("/nonexistent/file", "missing"),
            download,
            {**download, "manifest": "ab" * 32},
            {**download, "resume": True},
            {**download, "range": {"offset": 5}},
            {"type": "VERIFY_START", "manifest": manifest},
            upload(fifo, "cancelled"),
        ]
        for number, message in enumerate(messages):
            owner.send({**message, "id": f"{number}"})
        owner.send({"type": "CANCEL", "id": f"{len(messages) - 1}"})
        owner.send(upload(fifo, "waits"))
        wait_until(lambda: len(owner.ends()) == 1 + len(messages))
        owner.send({"type": "CANCEL", "id": "waits"})
        owner.wait_for(ended("waits"))
        wait_until(lambda: alive() == set())
        assert owner.finish()[0] == 1


KEPT_BY_A_MESSAGE = ("Job", "MessageRun", "ThreadGroup", "Upload", "Download", "Saver", "Fetcher")


def alive() -> set[str]:
    """The kinds of objects of messages that are still there; the run has a group of its own."""
    found = Counter(type(each).__name__ for each in gc.get_objects())
    most = {"ThreadGroup": 1}
    return {name for name in KEPT_BY_A_MESSAGE if found[name] > most.get(name, 0)}


@contextmanager
def without_collections() -> Iterator[None]:
    gc.collect()
    gc.disable()
    try:
        yield
    finally:
        gc.enable()


def test_small_files_do_not_wait_behind_a_large_one(
    files: list[Path], fifo: Path, tmp_path: Path
) -> None:
    with Owner(start(tmp_path / "store", max_files=2)) as owner:
        owner.send(upload(fifo, "large"))
        with fifo.open("wb") as stream:
            for number, path in enumerate(files):
                owner.send(upload(path, str(number)))
            owner.wait_for(ended(str(len(files) - 1)))
            assert "large" not in owner.ends()
            stream.write(b"at last")
        assert owner.finish()[0] == 0


def test_an_input_without_messages_ends_at_once(tmp_path: Path) -> None:
    with Owner(start(tmp_path / "store")) as owner:
        status, end = owner.finish()
    assert (status, end["files"], end["failed"]) == (0, 0, 0)
    assert not (tmp_path / "store").exists()


def test_a_line_that_is_no_message_fails_alone(files: list[Path], tmp_path: Path) -> None:
    with Owner(start(tmp_path / "store")) as owner:
        owner.send(b"nonsense")
        owner.send(b'{"type":"UPLOAD_START"')
        owner.send(b"")
        owner.send({"type": "UPLOAD_START", "path": str(files[0])})
        owner.send({"type": "SESSION_START", "id": "s"})
        owner.send(upload(files[0], "odd", colour="red"))
        owner.send(upload(files[0], "shared", settings={"concurrency": 2}))
        owner.send({"type": "CANCEL"})
        owner.send(upload(files[0], "good"))
        status, end = owner.finish()
        refused = [event for event in owner.events if event.get("code") == "BAD_MESSAGE"]
    assert (status, end["files"], end["failed"]) == (1, 1, 7)
    ids = [event.get("id") for event in refused]
    assert ids == [None, None, None, "s", "odd", "shared", None]
    assert "settings.concurrency: must be set in SESSION_START" in refused[5]["message"]


def test_an_id_in_use_is_refused_without_naming_it(fifo: Path, tmp_path: Path) -> None:
    with Owner(start(tmp_path / "store")) as owner:
        owner.send(upload(fifo, "one"))
        with fifo.open("wb"):
            owner.send(upload("/proc/absent", "one"))
            refused = owner.wait_for(lambda event: event.get("code") == "BAD_MESSAGE")
            assert "id" not in refused
        done = owner.wait_for(ended("one"))
        assert done["type"] == "FILE_UPLOADED"
        owner.send(upload("/proc/absent", "one"))  # ended: free again
        status, end = owner.finish()
    assert (status, end["files"], end["failed"]) == (1, 2, 2)


@pytest.mark.parametrize(
    ("message", "field"),
    [
        ({"max_files": 0}, "max_files"),
        ({"max_files": 65}, "max_files"),
        ({"id": "x"}, "id"),
        ({"path": "/f"}, "path"),
        ({"settings": {"concurrency": 300}}, "settings.concurrency"),
        ({"auth": {"username": "u"}}, "auth"),
        ({"store": "http:/one-slash"}, "store"),
    ],
)
def test_a_session_that_cannot_be_accepted(message: dict[str, Any], field: str) -> None:
    with Owner({"type": "SESSION_START", **message}) as owner:
        status, end = owner.finish()
    assert (status, end["code"]) == (2, "BAD_MESSAGE")
    assert end["message"].startswith(f"{field}: ")


def test_cancel_stops_one_waiting_or_under_way(
    files: list[Path], fifo: Path, tmp_path: Path
) -> None:
    with Owner(start(tmp_path / "store", max_files=1)) as owner:
        owner.send(upload(fifo, "under way"))
        with fifo.open("wb"):
            owner.send(upload(files[1], "waiting"))
            owner.send(upload(files[2], "last"))
            owner.send({"type": "CANCEL", "id": "waiting"})
            owner.send({"type": "CANCEL", "id": "nobody"})
            assert owner.wait_for(ended("waiting"))["code"] == "CANCELLED"
            owner.send({"type": "CANCEL", "id": "under way"})
            stopped = owner.wait_for(ended("under way"))
        assert stopped["code"] == "CANCELLED"
        assert owner.wait_for(ended("last"))["type"] == "FILE_UPLOADED"
        status, end = owner.finish()
    assert (status, end["files"], end["failed"]) == (1, 3, 2)


def test_a_signal_ends_each_with_its_own_line(
    files: list[Path], fifo: Path, tmp_path: Path
) -> None:
    with Owner(start(tmp_path / "store", max_files=1)) as owner:
        owner.send(upload(fifo, "under way"))
        with fifo.open("wb"):
            for number in range(5):
                owner.send(upload(files[number], str(number)))
            owner.send(b"nonsense")
            owner.wait_for(lambda event: event.get("code") == "BAD_MESSAGE")
            owner.run.mailbox.on_signal(signal.SIGTERM, None)
            status, end = owner.finish()
        told = [event.get("id") for event in owner.events if event.get("code") == "CANCELLED"]
    assert status == 143
    assert (end["code"], end.get("id")) == ("CANCELLED", None)
    assert sorted(map(str, told)) == ["0", "1", "2", "3", "4", "None", "under way"]


def test_a_signal_starts_nothing_that_waited(
    files: list[Path], fifo: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The thread of the first message is free before the others are ended."""
    stop = session.Job.stop

    def stop_slowly(job: session.Job, failure: BaseException) -> None:
        stop(job, failure)
        wait_until(lambda: owner.run._shared.pool._idle > 0 or "0" in owner.ends())

    monkeypatch.setattr(session.Job, "stop", stop_slowly)
    one_thread = start(tmp_path / "store", max_files=1, settings={"compression_threads": 1})
    with Owner(one_thread) as owner, fifo.open("wb+", buffering=0):
        owner.send(upload(fifo, "under way"))
        owner.send(upload(files[0], "0"))
        owner.send(b"nonsense")
        owner.wait_for(lambda event: event.get("code") == "BAD_MESSAGE")
        owner.run.mailbox.on_signal(signal.SIGTERM, None)
        owner.finish()
        ends = [event.get("code") for event in owner.events if event.get("id") is not None]
    assert ends == ["CANCELLED", "CANCELLED"]


def test_an_owner_that_goes_ends_the_session(fifo: Path, tmp_path: Path) -> None:
    with Owner(start(tmp_path / "store")) as owner:
        owner.send(upload(fifo, "under way"))
        with fifo.open("wb"):
            owner.go()
            owner._runner.join(TIMEOUT)
            assert owner.status == 1


def test_an_owner_that_writes_faster_is_made_to_wait(
    files: list[Path], fifo: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(session, "MOST_WAITING", 100)
    monkeypatch.setattr(session, "ROOM_AGAIN", 50)
    padding = 100 * "x"  # the pipe takes fewer messages
    with Owner(start(tmp_path / "store", max_files=1)) as owner:
        owner.send(upload(fifo, "first"))
        with fifo.open("wb"):
            sent = 0
            while writable(owner.to_worker, wait=sent > session.MOST_WAITING):
                owner.send(upload(files[0], f"{sent:06d}-{padding}"))
                sent += 1
            in_the_pipe = 65536 * 2 // len(str(upload(files[0], f"000000-{padding}")))
            assert session.MOST_WAITING <= sent < 2 * session.MOST_WAITING + in_the_pipe
        status, end = owner.finish()
    assert (status, end["files"], end["failed"]) == (0, sent + 1, 0)


def writable(descriptor: int, *, wait: bool) -> bool:
    """Return whether the pipe has room within a moment."""
    return bool(select.select([], [descriptor], [], 0.5 if wait else TIMEOUT)[1])


def test_nothing_of_a_message_that_has_ended_stays(files: list[Path], tmp_path: Path) -> None:
    def held() -> tuple[int, int]:
        return threading.active_count(), len(os.listdir("/proc/self/fd"))

    with Owner(start(tmp_path / "store", settings={"chunk_events": False})) as owner:

        def go_through(first: int, last: int) -> None:
            for number in range(first, last):
                owner.send(upload(files[number % len(files)], str(number)))
            owner.wait_for(ended(str(last - 1)))

        go_through(0, 50)
        before = held()
        go_through(50, 500)
        after = held()
        assert owner.run._session
        assert not owner.run._session._waiting
        assert len(owner.run._shared.group._children) <= 4
        assert len(owner.run._shared.heartbeats._all) <= 4
        assert owner.finish()[0] == 0
    assert after[0] <= before[0] + 2
    assert after[1] <= before[1] + 4


def test_no_chunk_events_where_none_are_wanted(files: list[Path], tmp_path: Path) -> None:
    with Owner(start(tmp_path / "store", settings={"chunk_events": False})) as owner:
        owner.send(upload(files[3], "quiet"))
        owner.send(upload(files[4], "told", settings={"chunk_events": True}))
        owner.finish()
        told = {event["id"] for event in owner.events if event["type"] == "CHUNK"}
    assert told == {"told"}


DEFAULTS = {
    "type": "SESSION_START",
    "store": "http://session.example/",
    "auth": {"bearer_token": "secret"},
    "tls": {"ca_file": "/ca"},
    "headers": {"X-Auth-Token": "secret"},
    "settings": {"timeout_ms": 5, "compression_level": 7},
}


def session_start(value: dict[str, Any] | None = None) -> SessionStart:
    decoded = decode_first(value or {"type": "SESSION_START"})
    assert isinstance(decoded, SessionStart)
    return decoded


def completed(**more: Any) -> Any:
    return decode_next({**UPLOAD, **more}, session_start(DEFAULTS))


def test_what_a_message_leaves_out_comes_from_the_session() -> None:
    message = completed(settings={"compression_level": 9})
    assert message.store == DEFAULTS["store"]
    assert message.auth.bearer_token == "secret"
    assert message.tls.ca_file == "/ca"
    assert message.headers == DEFAULTS["headers"]
    settings = message.settings
    assert (settings.timeout_ms, settings.compression_level) == (5, 9)
    own = completed(auth={"username": "u", "password": "p"})
    assert (own.auth.username, own.auth.bearer_token, own.store) == ("u", None, DEFAULTS["store"])


@pytest.mark.parametrize("store", ["http://other.example/", "http://session.example/"])
def test_no_secret_goes_to_another_store(store: str) -> None:
    message = completed(store=store)
    assert (message.store, message.auth, message.tls) == (store, None, None)
    assert message.headers is None
    assert message.settings.timeout_ms == 5


@pytest.mark.parametrize("name", ["concurrency", "rate_limit", "compression_threads"])
def test_what_is_the_sessions_is_refused_in_a_message(name: str) -> None:
    with pytest.raises(BadMessage, match=f"settings.{name}: must be set in SESSION_START"):
        completed(settings={name: 1})


def test_first_and_next_messages_are_told_apart() -> None:
    assert isinstance(decode_first({"type": "SESSION_START"}), SessionStart)
    assert decode_first({"type": "SESSION_START"}).max_files == 4  # type: ignore[union-attr]
    assert isinstance(decode_next({"type": "CANCEL", "id": ""}, session_start()), Cancel)
    for first in ("CANCEL", "NONSENSE", 5, None):
        with pytest.raises(BadMessage, match="type: expected"):
            decode_first({"type": first, "id": "x"})
    with pytest.raises(BadMessage, match="type: expected"):
        decode_next({"type": "SESSION_START"}, session_start())


class SlowStore(MemoryStore):
    """A store whose PUTs wait until the test lets them go on, or fails them."""

    def __init__(self) -> None:
        super().__init__()
        self.begun: SimpleQueue[str] = SimpleQueue()
        self.go_on: SimpleQueue[StoreFailure | None] = SimpleQueue()

    def put(self, chunk: Chunk, *, overwrite: bool = False) -> bool:
        self.begun.put(chunk.hash)
        failure = self.go_on.get(timeout=TIMEOUT)
        if failure is not None:
            raise failure
        return super().put(chunk, overwrite=overwrite)


class HeldUp:
    """Holds up every call of a method until the test goes on."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, of: type, name: str) -> None:
        self.begun, self.go_on = threading.Event(), threading.Event()
        method = getattr(of, name)

        def hold_up(*arguments: object) -> object:
            self.begun.set()
            self.go_on.wait(TIMEOUT)
            return method(*arguments)

        monkeypatch.setattr(of, name, hold_up)


def held_up_once_named(monkeypatch: pytest.MonkeyPatch) -> HeldUp:
    """Hold up every download that has just given its file a name."""
    return HeldUp(monkeypatch, SyncedDirectory, "sync")


def stuck_reads(monkeypatch: pytest.MonkeyPatch) -> HeldUp:
    """Hold up every read from a directory store."""
    return HeldUp(monkeypatch, DirectoryStore, "get")


@pytest.fixture
def resumed(files: list[Path], tmp_path: Path) -> dict[str, Any]:
    """A download that locks a partial file."""
    with Owner(start(tmp_path / "store")) as owner:
        owner.send(upload(files[0], "file"))
        owner.finish()
        hashes = owner.ends()["file"]["hashes"]
    target = str(tmp_path / "target")
    return {"type": "DOWNLOAD_START", "path": target, "hashes": hashes, "resume": True}


def test_a_cancelled_message_can_be_sent_again_at_once(
    resumed: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its last event comes when its threads have returned, and its files are closed."""
    monkeypatch.setattr(session, "LONGEST_CLOSE", 10 * TIMEOUT)
    reads = stuck_reads(monkeypatch)
    with Owner(start(tmp_path / "store")) as owner:
        owner.send({**resumed, "id": "a"})
        reads.begun.wait(TIMEOUT)
        owner.send({"type": "CANCEL", "id": "a"})
        owner.send({"type": "UPLOAD_START", "id": "refused"})  # after the other was taken
        owner.wait_for(ended("refused"))
        assert "a" not in owner.ends()
        reads.go_on.set()
        assert owner.wait_for(ended("a"))["code"] == "CANCELLED"
        owner.send({**resumed, "id": "again"})
        owner.finish()
        assert owner.ends()["again"]["type"] == "FILE_DOWNLOADED"


def test_nothing_is_taken_from_a_fifo_after_the_last_event(fifo: Path, tmp_path: Path) -> None:
    """It would be missing in the next upload."""
    writers: list[int] = []

    def opened() -> bool:
        try:
            writers.append(os.open(fifo, os.O_WRONLY | os.O_NONBLOCK))
        except OSError:  # it has no reader
            return False
        return True

    with Owner(start(tmp_path / "store")) as owner:
        owner.send(upload(fifo, "a"))
        wait_until(opened)
        owner.send({"type": "CANCEL", "id": "a"})
        assert owner.wait_for(ended("a"))["retryable"] is True
        assert not opened()
    os.close(writers.pop())


def test_a_thread_that_does_not_return_delays_the_end_only_for_a_moment(
    resumed: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(session, "LONGEST_CLOSE", 0.05)
    reads = stuck_reads(monkeypatch)
    with Owner(start(tmp_path / "store")) as owner:
        for number, stop in enumerate((False, True)):
            reads.begun.clear()
            owner.send({**resumed, "id": f"{number}", "path": str(tmp_path / f"{number}")})
            reads.begun.wait(TIMEOUT)
            if stop:
                owner.run.mailbox.on_signal(signal.SIGTERM, None)
            else:
                owner.send({"type": "CANCEL", "id": f"{number}"})
            assert owner.wait_for(ended(f"{number}"))["code"] == "CANCELLED"
        reads.go_on.set()
        assert owner.finish()[0] == 128 + signal.SIGTERM
        assert len(owner.ends()) == 3


@pytest.mark.parametrize("in_session", [True, False])
def test_a_file_that_has_its_name_is_no_failure(
    in_session: bool, files: list[Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """CANCEL, or a signal, comes between the rename and the last event of a download."""
    with Owner(start(tmp_path / "store")) as owner:
        owner.send(upload(files[0], "file"))
        owner.finish()
        hashes = owner.ends()["file"]["hashes"]
    target = tmp_path / "target"
    message = {"type": "DOWNLOAD_START", "path": str(target), "hashes": hashes, "id": "a"}
    held_up = held_up_once_named(monkeypatch)
    first = start(tmp_path / "store") if in_session else {**message, "store": f"{tmp_path}/store"}
    with Owner(first) as owner:
        if in_session:
            owner.send(message)
        held_up.begun.wait(TIMEOUT)
        assert target.exists()
        if in_session:
            owner.send({"type": "CANCEL", "id": "a"})
            owner.send({"type": "UPLOAD_START", "id": "refused"})  # after the other was taken
            owner.wait_for(ended("refused"))
        else:
            owner.run.mailbox.on_signal(signal.SIGTERM, None)
            wait_until(lambda: owner.run._shared.group.failure is not None)
        held_up.go_on.set()
        owner.finish()
        assert owner.ends()["a"]["type"] == "FILE_DOWNLOADED"


def test_a_signal_waits_for_the_event_of_a_file_that_has_its_name(
    files: list[Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with Owner(start(tmp_path / "store")) as owner:
        owner.send(upload(files[0], "file"))
        owner.finish()
        hashes = owner.ends()["file"]["hashes"]
    held_up = held_up_once_named(monkeypatch)
    with Owner(start(tmp_path / "store")) as owner:
        message = {"type": "DOWNLOAD_START", "path": str(tmp_path / "target"), "hashes": hashes}
        owner.send({**message, "id": "a"})
        held_up.begun.wait(TIMEOUT)
        owner.run.mailbox.on_signal(signal.SIGTERM, None)
        wait_until(lambda: bool(owner.run._session and owner.run._session._stopped))
        owner.end_input()
        held_up.go_on.set()
        assert owner.finish()[0] == 128 + signal.SIGTERM
        assert owner.ends()["a"]["type"] == "FILE_DOWNLOADED"
        assert owner.ends()[None]["code"] == "CANCELLED"


@pytest.fixture
def group() -> Iterator[ThreadGroup]:
    made = ThreadGroup()
    yield made
    assert made.close(TIMEOUT)


def chunk() -> Chunk:
    return Chunk(HASH, [memoryview(b"content")])


def until_there_wait(store: PutOnce, count: int) -> None:
    wait_until(lambda: store._puts._condition.waiting >= count)


def test_a_chunk_that_is_under_way_is_not_sent_twice(group: ThreadGroup) -> None:
    behind = SlowStore()
    store = PutOnce(behind, Puts(group.condition()), TIMEOUT)
    results: SimpleQueue[bool] = SimpleQueue()
    for _ in range(5):
        group.start(lambda: results.put(store.put(chunk())), "puts")
    behind.begun.get(timeout=TIMEOUT)
    until_there_wait(store, 4)
    behind.go_on.put(None)
    assert sorted(results.get(timeout=TIMEOUT) for _ in range(5)) == [False] * 4 + [True]
    assert behind.sent == [HASH]


def test_a_put_that_fails_leaves_the_turn_to_the_next(group: ThreadGroup) -> None:
    behind = SlowStore()
    store = PutOnce(behind, Puts(group.condition()), TIMEOUT)
    results: SimpleQueue[object] = SimpleQueue()

    def put() -> None:
        try:
            results.put(store.put(chunk()))
        except StoreFailure as failure:
            results.put(failure)

    for _ in range(2):
        group.start(put, "puts")
    behind.begun.get(timeout=TIMEOUT)
    until_there_wait(store, 1)
    behind.go_on.put(StoreFailure(ErrorCode.STORE_UNAVAILABLE, "gone"))
    assert isinstance(results.get(timeout=TIMEOUT), StoreFailure)
    behind.begun.get(timeout=TIMEOUT)
    behind.go_on.put(None)
    assert results.get(timeout=TIMEOUT) is True


def test_who_waits_for_anothers_chunk_waits_no_longer_than_its_own_timeout(
    group: ThreadGroup,
) -> None:
    """The other one can have a longer timeout, and its store be silent."""
    behind, puts = SlowStore(), Puts(group.condition())
    patient, impatient = PutOnce(behind, puts, TIMEOUT), PutOnce(behind, puts, timeout=0.01)
    results: SimpleQueue[bool] = SimpleQueue()
    group.start(lambda: results.put(patient.put(chunk())), "puts")
    behind.begun.get(timeout=TIMEOUT)
    assert impatient.has(HASH, 7) is False
    group.start(lambda: results.put(impatient.put(chunk())), "puts, too")
    behind.begun.get(timeout=TIMEOUT)
    for _ in range(2):
        behind.go_on.put(None)
        assert results.get(timeout=TIMEOUT) is True
    assert puts._under_way == {}


def test_who_waits_for_anothers_chunk_can_be_cancelled(group: ThreadGroup) -> None:
    behind = SlowStore()
    store = PutOnce(behind, Puts(group.condition()), TIMEOUT)
    group.start(lambda: bool(store.put(chunk())), "puts")  # type: ignore[arg-type]
    behind.begun.get(timeout=TIMEOUT)
    message = ThreadGroup(parent=group)
    given_up = threading.Event()

    def wait() -> None:
        try:
            store.put(chunk())
        except Abandoned:
            given_up.set()
            raise

    message.start(wait, "waits")
    message.fail(ValueError())
    assert given_up.wait(TIMEOUT)
    behind.go_on.put(None)


class Opened(MemoryStore):
    """A store that records whether it was closed."""

    closed = False

    def close(self) -> None:
        self.closed = True


def test_stores_are_shared_kept_for_a_while_and_closed(group: ThreadGroup) -> None:
    stores = OpenStores(group)
    opened: list[Opened] = []

    def open_one() -> Opened:
        opened.append(Opened())
        return opened[-1]

    one, same = (
        stores.borrow(("one",), open_one, TIMEOUT),
        stores.borrow(("one",), open_one, TIMEOUT),
    )
    assert one is same
    stores.give_back(one, fit=True)
    stores.give_back(same, fit=True)
    assert stores.borrow(("one",), open_one, TIMEOUT) is one
    stores.give_back(one, fit=False)  # found unavailable
    assert opened[0].closed
    assert stores.borrow(("one",), open_one, TIMEOUT) is not one
    for number in range(MOST_IDLE + 3):
        stores.give_back(stores.borrow((number,), open_one, TIMEOUT), fit=True)
    assert [store.closed for store in opened[2:]] == [True] * 3 + [False] * MOST_IDLE
    stores.close()
    assert all(store.closed for store in opened)


def test_a_store_that_fails_to_open_is_tried_again(group: ThreadGroup) -> None:
    stores = OpenStores(group)

    def fail() -> Opened:
        raise StoreFailure(ErrorCode.STORE_ACCESS_DENIED, "no keys")

    for _ in range(2):
        with pytest.raises(StoreFailure):
            stores.borrow(("one",), fail, TIMEOUT)
    results: SimpleQueue[object] = SimpleQueue()
    opening, go_on = threading.Event(), threading.Event()

    def slowly() -> Opened:
        opening.set()
        go_on.wait(TIMEOUT)
        return Opened()

    beside(lambda: results.put(stores.borrow(("one",), slowly, TIMEOUT)))
    opening.wait(TIMEOUT)
    beside(lambda: results.put(stores.borrow(("one",), fail, TIMEOUT)))
    go_on.set()
    assert results.get(timeout=TIMEOUT) is results.get(timeout=TIMEOUT)


def is_progress(event: Event) -> bool:
    return bool(event["type"] == "PROGRESS")


def test_each_message_has_its_own_heartbeat(fifo: Path, tmp_path: Path) -> None:
    settings = {"progress_interval_ms": 10}
    with Owner({"type": "SESSION_START", "store": str(tmp_path), "settings": settings}) as owner:
        owner.send(upload(fifo, "one"))
        with fifo.open("wb"):
            beat = owner.wait_for(is_progress)
        assert beat["id"] == "one"
        assert owner.finish()[0] == 0


def test_what_was_stored_before_is_asked_for_again(group: ThreadGroup) -> None:
    """Others can remove or damage a chunk at any time."""
    behind = MemoryStore()
    store = PutOnce(behind, Puts(group.condition()), TIMEOUT)
    assert store.put(chunk())
    assert store.has(HASH, 7)
    assert not store.put(chunk()), "another message stored it after it was looked up"
    assert behind.sent == [HASH]
    behind.chunks.clear()
    assert not store.has(HASH, 7)
    assert store.put(chunk())
    behind.chunks[HASH] = b"damaged"
    assert store.put(chunk(), overwrite=True)
    assert behind.chunks[HASH] == b"content"


def test_few_of_the_stored_chunks_are_remembered_and_not_for_long(
    group: ThreadGroup, monkeypatch: pytest.MonkeyPatch
) -> None:
    now = [0.0]
    behind = MemoryStore()
    puts = Puts(group.condition(), clock=lambda: now[0])
    store = PutOnce(behind, puts, TIMEOUT)
    store.put(chunk())
    now[0] += JUST_NOW
    store.put(chunk())
    assert behind.asked == []
    monkeypatch.setattr(once, "MOST_KNOWN", 3)
    for number in range(10):
        store.put(Chunk(f"{number:064x}", [memoryview(b"c")]))
    assert len(puts._stored) == 3


def test_a_store_that_is_open_twice_is_one_store(group: ThreadGroup) -> None:
    behind = SlowStore()
    stores = OpenStores(group)
    slow, fast, other = (
        stores.borrow(key, lambda: behind, TIMEOUT).store for key in (("a", 1), ("a", 2), ("b", 1))
    )
    assert isinstance(slow, PutOnce)
    assert isinstance(fast, PutOnce)
    assert isinstance(other, PutOnce)
    results: SimpleQueue[bool] = SimpleQueue()
    group.start(lambda: results.put(slow.put(chunk())), "puts")
    behind.begun.get(timeout=TIMEOUT)
    group.start(lambda: results.put(fast.put(chunk())), "waits")
    until_there_wait(fast, 1)
    behind.go_on.put(None)
    assert {results.get(timeout=TIMEOUT) for _ in range(2)} == {False, True}
    assert behind.sent == [HASH]
    behind.go_on.put(None)
    assert other.put(chunk())


def test_a_directory_is_tidied_up_once(
    files: list[Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    tidied: list[str] = []
    monkeypatch.setattr(target, "remove_stale_files", tidied.append)
    with Owner(start(tmp_path / "store")) as owner:
        owner.send(upload(files[7], "up"))
        hashes = owner.wait_for(ended("up"))["hashes"]
        for number in range(5):
            path = str(tmp_path / f"back-{number}")
            owner.send({"type": "DOWNLOAD_START", "id": path, "path": path, "hashes": hashes})
        assert owner.finish()[0] == 0
    assert tidied == [str(tmp_path)]


def test_all_messages_share_the_compression_threads(
    files: list[Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    busy: list[int] = []
    second = threading.Event()

    def watched(level: int) -> Callable[[memoryview], bytes]:
        compress = frame_compressor(level)

        def one(span: memoryview) -> bytes:
            busy.append(1)
            if len(busy) > 1:
                second.set()
            second.wait(0.02)
            made = compress(span)
            busy.pop()
            return made

        return one

    monkeypatch.setattr(compression, "frame_compressor", watched)
    with Owner(start(tmp_path / "store", settings={"compression_threads": 1})) as owner:
        for number, path in enumerate(files[:8]):
            owner.send(upload(path, str(number)))
        assert owner.finish()[0] == 0
    assert not second.is_set(), "two messages compressed at once"


@pytest.mark.parametrize(("share", "moment"), [(0.1, session.SHORT_IF_IDLE), (0.95, session.SHORT)])
def test_threads_join_sooner_while_the_processor_is_idle(
    share: float, moment: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A session that waits for a server's answers leaves the processor to other threads."""
    idle = object.__new__(session.Session)
    idle._short, idle._measured = 0.0, (0.0, 0.0)
    clock = types.SimpleNamespace(monotonic=lambda: 1.0, process_time=lambda: share)
    monkeypatch.setattr(session, "time", clock)
    idle._measure_load()
    assert idle._short == moment
    clock.process_time = lambda: 1 - share  # too soon to be measured again
    idle._measure_load()
    assert idle._short == moment
