"""The S3 store with answers that a real server does not give on demand."""

from __future__ import annotations

import base64
import threading
from concurrent.futures import ThreadPoolExecutor
from hashlib import sha256
from typing import TYPE_CHECKING, Any

import pytest

from store_workers.errors import ErrorCode, StoreFailure
from store_workers.stores.base import LONGEST_ANSWER, Chunk
from store_workers.stores.listing import ListedStore
from store_workers.stores.s3.keyring import ChainKeys
from store_workers.stores.s3.location import read_s3_url
from store_workers.stores.s3.signing import Keys
from store_workers.stores.s3.store import S3Store
from store_workers.wire.messages import Auth, Settings
from tests.stores.messages import start
from tests.stores.scripted_server import Reply, ScriptedServer

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

DATA = b"chunk" * 100
CHUNK = Chunk(sha256(DATA).hexdigest(), [memoryview(DATA[:7]), memoryview(DATA[7:])])
AUTH = Auth(access_key_id="id", secret_access_key="secret")


def error(status: int, code: str) -> Reply:
    return Reply(status, f"<Error><Code>{code}</Code></Error>".encode())


WHOLE, SHORT = Reply(200, length=len(DATA)), Reply(200, length=len(DATA) - 1)
EXISTS = error(412, "PreconditionFailed")


def store_at(server: ScriptedServer) -> S3Store:
    url = f"s3://bucket/prefix?endpoint={server.url}&region=r-1"
    location = read_s3_url(url, "store", start(auth=AUTH), {})
    store: Any = location.open(Settings(timeout_ms=5000))
    assert isinstance(store, ListedStore)
    assert isinstance(store.store, S3Store)
    OPENED.append(store.store)
    return store.store


OPENED: list[S3Store] = []


@pytest.fixture(autouse=True)
def closed() -> Iterator[None]:
    yield
    while OPENED:
        OPENED.pop().close()


def test_put_is_plain_and_signed_with_the_chunks_own_hash() -> None:
    with ScriptedServer(Reply(200), WHOLE) as server:
        assert store_at(server).put(CHUNK)
    asked = server.asked[0]
    assert asked.path == f"/bucket/prefix/{CHUNK.hash}"
    assert asked.body == DATA
    assert asked.headers["x-amz-content-sha256"] == CHUNK.hash
    assert asked.headers["content-length"] == str(len(DATA))
    assert not {"transfer-encoding", "content-encoding", "expect", "x-amz-trailer"} & set(
        asked.headers
    )
    signed = asked.headers["authorization"].partition("SignedHeaders=")[2].partition(",")[0]
    assert signed == "host;if-none-match;x-amz-checksum-sha256;x-amz-content-sha256;x-amz-date"
    assert base64.b64decode(asked.headers["x-amz-checksum-sha256"]).hex() == CHUNK.hash


NOT_KNOWN = [
    error(501, "NotImplemented"),
    error(400, "NotImplemented"),
    error(400, "InvalidArgument"),
    error(403, "AccessDenied"),
    Reply(501),
    Reply(400),
]


@pytest.mark.parametrize(
    ("replies", "new", "methods"),
    [
        ([Reply(200), WHOLE], True, ["PUT*", "HEAD"]),
        ([Reply(200), Reply(403)], True, ["PUT*", "HEAD"]),
        ([Reply(200), Reply(404)], True, ["PUT*", "HEAD"]),
        ([EXISTS, WHOLE], False, ["PUT*", "HEAD"]),
        ([error(403, "AccessDenied"), WHOLE], False, ["PUT*", "HEAD"]),
        ([Reply(405), WHOLE], False, ["PUT*", "HEAD"]),
        ([Reply(409), WHOLE], False, ["PUT*", "HEAD"]),
        ([EXISTS, SHORT, Reply(200), WHOLE], True, ["PUT*", "HEAD", "PUT", "HEAD"]),
        ([EXISTS, Reply(403), Reply(200), WHOLE], True, ["PUT*", "HEAD", "PUT", "HEAD"]),
    ],
)
def test_put(replies: list[Reply], new: bool, methods: list[str]) -> None:
    with ScriptedServer(*replies) as server:
        assert store_at(server).put(CHUNK) is new
    assert server.methods() == methods
    assert all(each.body == DATA for each in server.asked if each.method == "PUT")


def test_what_overwrites_has_no_condition() -> None:
    with ScriptedServer(Reply(200), WHOLE) as server:
        assert store_at(server).put(CHUNK, overwrite=True)
    assert server.methods() == ["PUT", "HEAD"]


@pytest.mark.parametrize("status", [403, 405, 409, 412])
def test_what_cannot_be_overwritten_is_refused(status: int) -> None:
    """The existing object can be damaged: the right length is not sufficient."""
    with ScriptedServer(*[Reply(status)] * 3) as server, pytest.raises(StoreFailure):
        store_at(server).put(CHUNK, overwrite=True)
    assert "HEAD" not in server.methods()


@pytest.mark.parametrize("refused", NOT_KNOWN)
def test_a_store_without_conditions_is_asked_once_a_run(refused: Reply) -> None:
    asks = [Reply(404)] if refused.status == 403 else []
    with ScriptedServer(refused, *asks, Reply(200), WHOLE, Reply(200)) as server:
        store = store_at(server)
        assert store.put(CHUNK)
        assert store.put(CHUNK)
    puts = [method for method in server.methods() if method != "HEAD"]
    assert puts == ["PUT*", "PUT", "PUT"]
    assert "x-amz-checksum-sha256" in server.asked[-1].headers


def test_a_store_that_knows_no_checksum_is_asked_once_a_run() -> None:
    unknown = error(400, "InvalidArgument")
    with ScriptedServer(unknown, unknown, Reply(200), WHOLE, Reply(200)) as server:
        store = store_at(server)
        assert store.put(CHUNK)
        assert store.put(CHUNK)
    assert server.methods() == ["PUT*", "PUT", "PUT", "HEAD", "PUT*"]
    sent = ["x-amz-checksum-sha256" in each.headers for each in server.asked]
    assert sent == [True, True, False, False, False]


def test_a_refused_checksum_is_left_out_also_if_another_thread_knows(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The request that was refused decides, not what was found out since."""
    unknown = error(400, "InvalidArgument")
    with ScriptedServer(unknown, unknown, Reply(200), WHOLE) as server:
        store = store_at(server)
        put = store._put

        def put_beside_another_thread(*arguments: Any) -> Any:
            answer = put(*arguments)
            store._checksums_work = False
            return answer

        monkeypatch.setattr(store, "_put", put_beside_another_thread)
        assert store.put(CHUNK)
    assert server.methods() == ["PUT*", "PUT", "PUT", "HEAD"]


@pytest.mark.parametrize(
    ("code", "expected", "transient"),
    [
        ("InternalError", ErrorCode.STORE_UNAVAILABLE, True),
        ("SlowDown", ErrorCode.STORE_UNAVAILABLE, True),
        ("QuotaExceeded", ErrorCode.STORE_REJECTED, False),
        ("SomethingElse", ErrorCode.STORE_REJECTED, False),
    ],
)
def test_an_error_behind_a_200_is_that_error(
    code: str, expected: ErrorCode, transient: bool
) -> None:
    with ScriptedServer(error(200, code)) as server, pytest.raises(StoreFailure) as caught:
        store_at(server).put(CHUNK)
    assert (caught.value.code, caught.value.transient) == (expected, transient)
    assert code in caught.value.message
    assert server.methods() == ["PUT*"]


def test_an_object_of_another_length_is_replaced() -> None:
    with ScriptedServer(SHORT, Reply(200), WHOLE, WHOLE, Reply(200)) as server:
        store = store_at(server)
        assert not store.has(CHUNK.hash, CHUNK.size)
        assert store.put(CHUNK)
        assert store.has(CHUNK.hash, CHUNK.size)
        store.put(CHUNK)
    assert server.methods() == ["HEAD", "PUT", "HEAD", "HEAD", "PUT*"]


def test_what_still_has_another_length_is_not_stored() -> None:
    replies = (Reply(200), SHORT, SHORT, SHORT)
    with ScriptedServer(*replies) as server, pytest.raises(StoreFailure) as caught:
        store_at(server).put(CHUNK)
    assert caught.value.code is ErrorCode.STORE_REJECTED
    assert "does not store" in caught.value.message
    assert not caught.value.transient


@pytest.mark.parametrize("status", [301, 307, 400, 401, 403, 404, 405, 501])
def test_a_head_that_explains_nothing_leaves_the_word_to_the_put(status: int) -> None:
    with ScriptedServer(Reply(status), Reply(200), Reply(status)) as server:
        store = store_at(server)
        assert not store.has(CHUNK.hash, CHUNK.size)
        assert store.put(CHUNK)
    assert server.methods() == ["HEAD", "PUT*", "HEAD"]


@pytest.mark.parametrize(
    ("reply", "code", "transient", "slow"),
    [
        (error(503, "SlowDown"), ErrorCode.STORE_UNAVAILABLE, True, True),
        (error(409, "ConditionalRequestConflict"), ErrorCode.STORE_UNAVAILABLE, True, False),
        (error(400, "XAmzContentSHA256Mismatch"), ErrorCode.CHUNK_CORRUPT, True, False),
        (error(403, "QuotaExceeded"), ErrorCode.STORE_REJECTED, False, False),
        (error(400, "ExpiredToken"), ErrorCode.STORE_ACCESS_DENIED, False, False),
        (error(404, "NoSuchBucket"), ErrorCode.STORE_REJECTED, False, False),
        (Reply(202), ErrorCode.STORE_REJECTED, False, False),
        (
            Reply(307, headers={"Location": "http://127.0.0.1:1/"}),
            ErrorCode.STORE_REJECTED,
            False,
            False,
        ),
    ],
)
def test_put_that_fails(reply: Reply, code: ErrorCode, transient: bool, slow: bool) -> None:
    with ScriptedServer(reply) as server, pytest.raises(StoreFailure) as caught:
        store_at(server).put(CHUNK)
    failure = caught.value
    assert (failure.code, failure.transient, failure.slow_down) == (code, transient, slow)
    assert failure.http_status == reply.status
    assert server.methods() == ["PUT*"]


@pytest.mark.parametrize(
    ("reply", "code"),
    [
        (error(404, "NoSuchKey"), ErrorCode.CHUNK_NOT_FOUND),
        (Reply(404), ErrorCode.CHUNK_NOT_FOUND),
        (error(404, "NoSuchBucket"), ErrorCode.STORE_REJECTED),
        (error(403, "AccessDenied"), ErrorCode.STORE_ACCESS_DENIED),
        (error(403, "InvalidObjectState"), ErrorCode.STORE_REJECTED),
        (error(500, "InternalError"), ErrorCode.STORE_UNAVAILABLE),
    ],
)
def test_get_that_fails(reply: Reply, code: ErrorCode) -> None:
    with ScriptedServer(reply) as server, pytest.raises(StoreFailure) as caught:
        store_at(server).get(CHUNK.hash)
    assert caught.value.code is code


def test_get_is_cut_at_the_longest_chunk() -> None:
    with ScriptedServer(Reply(200, DATA), Reply(200, bytes(LONGEST_ANSWER + 1000))) as server:
        store = store_at(server)
        assert store.get(CHUNK.hash) == DATA
        assert len(store.get(CHUNK.hash)) == LONGEST_ANSWER


class Roles:
    """A chain of credentials with new keys at each call."""

    def __init__(self, *names: str) -> None:
        self._names = list(names)
        self.asked = 0
        self._lock = threading.Lock()

    def __call__(self) -> Roles.Credentials:
        with self._lock:
            self.asked += 1
            return self.Credentials(self._names[min(self.asked, len(self._names)) - 1])

    class Credentials:
        def __init__(self, name: str) -> None:
            self.access_key, self.secret_key, self.token = name, "secret", f"token-{name}"

        def get_frozen_credentials(self) -> Roles.Credentials:
            return self


def chain(look_up: Callable[[], Any], seconds: float = 10.0) -> ChainKeys:
    def freeze(found: Any) -> Keys:
        frozen = found.get_frozen_credentials()
        return Keys(frozen.access_key, frozen.secret_key, frozen.token)

    return ChainKeys(look_up, freeze, seconds)


def with_roles(server: ScriptedServer, roles: Roles) -> S3Store:
    store = store_at(server)
    store._keyring = chain(roles)
    return store


def test_expired_keys_are_renewed_once_and_the_request_made_again() -> None:
    with ScriptedServer(error(400, "ExpiredToken"), Reply(200), WHOLE) as server:
        assert with_roles(server, Roles("one", "two")).put(CHUNK)
    assert [each.headers["x-amz-security-token"] for each in server.asked[:2]] == [
        "token-one",
        "token-two",
    ]
    assert "Credential=two/" in server.asked[1].headers["authorization"]
    assert server.asked[1].body == DATA


@pytest.mark.parametrize(("names", "requests"), [(("one", "two"), 2), (("one", "one"), 1)])
def test_keys_that_stay_expired_are_access_denied(names: tuple[str, ...], requests: int) -> None:
    expired = error(400, "ExpiredToken")
    with ScriptedServer(expired, expired, expired) as server:
        with pytest.raises(StoreFailure, match="ExpiredToken") as caught:
            with_roles(server, Roles(*names)).get(CHUNK.hash)
        assert caught.value.code is ErrorCode.STORE_ACCESS_DENIED
        assert len(server.asked) == requests


def test_many_requests_with_expired_keys_ask_the_chain_once() -> None:
    roles = Roles("one", "two", "three")
    keyring = chain(roles)
    used = keyring.current()
    with ThreadPoolExecutor(8) as pool:
        assert all(pool.map(lambda _: keyring.renew(used), range(16)))
    assert roles.asked == 2
    assert keyring.current().access_key_id == "two"
    assert keyring.renew(Keys("two", "secret", "token-two"))
    assert keyring.current().access_key_id == "three"


@pytest.mark.parametrize(
    ("place", "word"),
    [("127.0.0.1:1", "refused"), ("name.invalid", "name cannot be resolved")],
)
def test_why_there_is_no_connection(place: str, word: str) -> None:
    url = f"s3://bucket/prefix?endpoint=http://{place}&region=r-1"
    location = read_s3_url(url, "store", start(auth=AUTH), {})
    store: Any = location.open(Settings(timeout_ms=5000))
    with pytest.raises(StoreFailure, match=word) as caught:
        store.get(CHUNK.hash)
    assert caught.value.code is ErrorCode.STORE_UNAVAILABLE
    assert caught.value.transient
