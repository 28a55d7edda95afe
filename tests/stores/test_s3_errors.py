"""Errors of S3: from the XML to the retry layer and the owner."""

from __future__ import annotations

import time
from email.utils import formatdate

import pytest
from hypothesis import given
from hypothesis import strategies as st

from store_workers.errors import ErrorCode, StoreFailure
from store_workers.stores.http.connection import Response
from store_workers.stores.http.heads import Headers
from store_workers.stores.redaction import Redactor
from store_workers.stores.s3.errors import read_error, s3_failure

UNAVAILABLE, DENIED = ErrorCode.STORE_UNAVAILABLE, ErrorCode.STORE_ACCESS_DENIED
REJECTED, CORRUPT = ErrorCode.STORE_REJECTED, ErrorCode.CHUNK_CORRUPT


def document(code: str, text: str = "some text", more: str = "") -> bytes:
    return (
        '<?xml version="1.0" encoding="UTF-8"?>\n'
        f"<Error><Code>{code}</Code><Message>{text}</Message>{more}</Error>"
    ).encode()


def failure(
    status: int, body: bytes, secrets: tuple[str, ...] = (), **headers: str
) -> StoreFailure:
    given = Headers({name.lower().replace("_", "-"): value for name, value in headers.items()})
    answer = Response(status, "Reason", given, body)
    return s3_failure(answer, read_error(body), "s3://bucket/prefix", "bucket", Redactor(*secrets))


@pytest.mark.parametrize(
    ("status", "code", "expected", "transient", "slow"),
    [
        (503, "SlowDown", UNAVAILABLE, True, True),
        (429, "TooManyRequests", UNAVAILABLE, True, True),
        (400, "RequestLimitExceeded", UNAVAILABLE, True, True),
        (500, "InternalError", UNAVAILABLE, True, False),
        (400, "RequestTimeout", UNAVAILABLE, True, False),
        (400, "IncompleteBody", UNAVAILABLE, True, False),
        (409, "OperationAborted", UNAVAILABLE, True, False),
        (409, "ConditionalRequestConflict", UNAVAILABLE, True, False),
        (502, "", UNAVAILABLE, True, False),
        (503, "", UNAVAILABLE, True, True),
        (403, "AccessDenied", DENIED, False, False),
        (400, "ExpiredToken", DENIED, False, False),
        (403, "InvalidAccessKeyId", DENIED, False, False),
        (403, "SignatureDoesNotMatch", DENIED, False, False),
        (403, "RequestTimeTooSkewed", DENIED, False, False),
        (403, "UserSuspended", DENIED, False, False),
        (403, "", DENIED, False, False),
        (403, "SomethingElse", DENIED, False, False),
        (404, "NoSuchBucket", REJECTED, False, False),
        (403, "QuotaExceeded", REJECTED, False, False),
        (403, "InvalidObjectState", REJECTED, False, False),
        (400, "EntityTooLarge", REJECTED, False, False),
        (400, "InvalidRequest", REJECTED, False, False),
        (400, "XAmzContentSHA256Mismatch", CORRUPT, True, False),
        (400, "BadDigest", CORRUPT, True, False),
    ],
)
def test_code_decides(
    status: int, code: str, expected: ErrorCode, transient: bool, slow: bool
) -> None:
    found = failure(status, document(code) if code else b"")
    assert (found.code, found.transient, found.slow_down) == (expected, transient, slow)
    assert found.http_status == status
    assert code in found.message
    assert found.message.startswith("s3://bucket/prefix answered")


def test_bucket_and_region_are_named() -> None:
    assert "no bucket bucket" in failure(404, document("NoSuchBucket")).message
    moved = failure(301, document("PermanentRedirect"), x_amz_bucket_region="eu-west-3")
    assert "in the region eu-west-3" in moved.message
    wrong = document("AuthorizationHeaderMalformed", more="<Region>eu-west-2</Region>")
    assert "in the region eu-west-2" in failure(400, wrong).message
    assert failure(400, wrong).code is REJECTED


@pytest.mark.parametrize(("offset", "side"), [(-3600, "ahead of"), (3600, "behind")])
def test_skew_is_told_in_seconds(offset: int, side: str) -> None:
    date = formatdate(time.time() + offset, usegmt=True)
    told = failure(403, document("RequestTimeTooSkewed"), date=date).message
    assert f"s {side} the store's" in told
    assert any(f"{seconds} s" in told for seconds in (3599, 3600, 3601))


def test_retry_after_counts() -> None:
    assert failure(503, document("SlowDown"), retry_after="7").retry_after == 7


def test_unknown_code_is_shown_with_its_text_but_without_secrets() -> None:
    assert "Odd: it is odd" in failure(400, document("Odd", "it is odd")).message
    told = failure(400, document("Odd", "key AKIAX is odd"), secrets=("AKIAX", "")).message
    assert "AKIAX" not in told
    assert "Odd" in told
    assert "\x1b" not in failure(400, document("Odd", "a&#x9b;b")).message
    assert len(failure(400, document("Odd", "x" * 5000)).message) < 300


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"<",
        b"not xml",
        b"<html><body>502</body>",
        b"<Error><Code>Odd</Code>",
        b"<Error><Code>O d\xff</Code></Error>",
        b"<Other><Code>Odd</Code></Other>",
        b"<Error>" + b"<a>" * 5000,
        b'<!DOCTYPE x [<!ENTITY a "aaaa">]><Error><Code>Odd</Code></Error>',
        b'<!DOCTYPE x [<!ENTITY a SYSTEM "file:///etc/passwd">]><Error><Code>&a;</Code></Error>',
        b'<!DOCTYPE x SYSTEM "http://127.0.0.1:1/x.dtd"><Error><Code>Odd</Code></Error>',
        (
            b'<!DOCTYPE x [<!ENTITY a "aaaaaaaaaa"><!ENTITY b "&a;&a;&a;&a;&a;&a;&a;&a;">'
            b'<!ENTITY c "&b;&b;&b;&b;&b;&b;&b;&b;">]><Error><Code>&c;&c;&c;</Code></Error>'
        ),
    ],
)
def test_hostile_or_foreign_documents_say_nothing(body: bytes) -> None:
    found = read_error(body)
    assert (found.code, found.text) == ("", "")


@given(st.binary(max_size=300) | st.binary(max_size=300).map(lambda data: b"<Error>" + data))
def test_any_body_is_read_without_a_crash(body: bytes) -> None:
    assert isinstance(failure(400, body), StoreFailure)


def test_a_code_is_one_word() -> None:
    assert read_error(document("Access Denied\n{}")).code == ""
    assert read_error(document("A" * 100)).code == ""


@pytest.mark.parametrize("before", [0, 150, 3500])
def test_a_long_token_is_hidden_also_where_the_text_is_cut(before: int) -> None:
    token = "".join(f"t0kEn{number}" for number in range(200))
    body = document("InvalidRequest", f"{'.' * before} no: {token * 3}")
    assert "t0kEn" not in failure(400, body, (token,)).message


@pytest.mark.parametrize("code", ["RequestTimeTooSkewed", "InvalidObjectState", "UserSuspended"])
def test_the_remedy_is_that_of_the_code(code: str) -> None:
    assert "s3:PutObject" not in failure(403, document(code)).message
