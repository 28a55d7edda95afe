"""Our signature is the one that botocore, an independent signer, makes of the same request."""

from __future__ import annotations

import datetime as dt
from typing import Any
from urllib.parse import quote

import botocore.auth
import pytest
from botocore.awsrequest import AWSRequest
from botocore.credentials import Credentials
from hypothesis import given
from hypothesis import strategies as st

from store_workers.stores.s3.signing import NO_BODY, Keys, Signer

MOMENT = dt.datetime(2026, 3, 1, 23, 59, 58, tzinfo=dt.timezone.utc)
PRINTABLE = st.text(st.characters(min_codepoint=0x21, max_codepoint=0x7E), min_size=1)


class Frozen(botocore.auth.S3SigV4Auth):  # type: ignore[misc]  # botocore has no types
    """botocore's signer, with the digest of the body given."""

    def payload(self, request: Any) -> str:
        return str(request.context["digest"])


def botocores(
    host: str, region: str, method: str, path: str, digest: str, keys: Keys, condition: str | None
) -> str:
    """Return the Authorization header that botocore makes."""
    headers = {"If-None-Match": condition} if condition else {}
    request = AWSRequest(method, f"http://{host}{path}", headers=headers)
    request.context["digest"] = digest
    given = Credentials(keys.access_key_id, keys.secret_access_key, keys.session_token)
    patched = pytest.MonkeyPatch()
    with patched.context() as patch:
        patch.setattr(botocore.auth, "get_current_datetime", lambda: MOMENT)
        Frozen(given, "s3", region).add_auth(request)
    return str(request.headers["Authorization"]).replace(", ", ",")


@given(
    method=st.sampled_from(["HEAD", "GET", "PUT"]),
    key=st.text(st.characters(exclude_categories=["Cs", "Cc"]), min_size=1).filter(str.strip),
    region=st.sampled_from(["us-east-1", "garage", "eu-west-3"]),
    host=st.sampled_from(["127.0.0.1:8080", "bucket.s3.us-east-1.amazonaws.com", "[::1]:81"]),
    access=PRINTABLE,
    secret=PRINTABLE,
    token=st.none() | PRINTABLE,
    condition=st.sampled_from([None, "*"]),
    query=st.sampled_from(["", "?delimiter=%2F&list-type=2&prefix=a%2Fb%20c&start-after=a%2F0"]),
)
def test_signature_is_botocores(
    method: str,
    key: str,
    region: str,
    host: str,
    access: str,
    secret: str,
    token: str | None,
    condition: str | None,
    query: str,
) -> None:
    keys = Keys(access, secret, token)
    path = "/" + quote(key.strip("/"), safe="/-_.~") + query
    digest = NO_BODY if method != "PUT" else "ab" * 32
    headers = Signer(host, region, MOMENT.timestamp).headers(method, path, digest, keys, condition)
    wanted = botocores(host, region, method, path, digest, keys, condition)
    assert headers["authorization"] == wanted
    assert headers["x-amz-content-sha256"] == digest
    assert headers.get("x-amz-security-token") == token
    assert headers.get("if-none-match") == condition


def test_other_keys_and_another_day_give_another_signature() -> None:
    now = [MOMENT.timestamp()]
    signer = Signer("host", "us-east-1", lambda: now[0])
    first, second = Keys("id", "secret"), Keys("id", "other")

    def signature(keys: Keys) -> str:
        return signer.headers("GET", "/x", NO_BODY, keys)["authorization"]

    seen = {signature(first), signature(second)}
    assert signature(first) in seen
    now[0] += 10
    seen.add(signature(first))
    assert len(seen) == 3
    assert "20260302" in signature(first)
    assert (
        signature(first)
        == Signer("host", "us-east-1", lambda: now[0]).headers("GET", "/x", NO_BODY, first)[
            "authorization"
        ]
    )
