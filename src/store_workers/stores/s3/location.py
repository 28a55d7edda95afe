"""Parses `s3://bucket/prefix` URLs, and finds endpoint, region and keys.

These come from the URL and the message, then from the environment, then, with botocore, from the
shared configuration and the chain of credentials. Importing botocore takes longer than the rest of
a start, so it is imported only if something is missing.
"""

from __future__ import annotations

import os

from store_workers.errors import BadMessage, shown
from store_workers.stores.http.server import Server
from store_workers.stores.http.tls import CA_FILE_VARIABLE, tls_files

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping

    from store_workers.stores.base import Store
    from store_workers.stores.http.tls import TlsFiles
    from store_workers.stores.s3.aws import AwsProfile
    from store_workers.stores.s3.signing import Keys
    from store_workers.stores.s3.store import Keyring
    from store_workers.transfer.rate_limit import RateLimit
    from store_workers.wire.messages import Auth, Common, Settings

DEFAULT_REGION = "us-east-1"
ENDPOINT_VARIABLES = ("AWS_ENDPOINT_URL_S3", "AWS_ENDPOINT_URL")
IGNORE_ENDPOINTS_VARIABLE = "AWS_IGNORE_CONFIGURED_ENDPOINT_URLS"
REGION_VARIABLES = ("AWS_REGION", "AWS_DEFAULT_REGION")
CA_VARIABLES = ("AWS_CA_BUNDLE", CA_FILE_VARIABLE)
LONGEST_KEY = 1024
"""Maximum bytes of an object's key in S3."""

_LETTERS = frozenset("abcdefghijklmnopqrstuvwxyz0123456789")
_HOST_LABEL = _LETTERS | {"-"}
_REGION = _HOST_LABEL | frozenset("ABCDEFGHIJKLMNOPQRSTUVWXYZ_")
_BUCKET = _REGION | {"."}
_HASH_LENGTH = 64


class Endpoint:
    """The parsed URL of a service. `path` has no slash at its end."""

    def __init__(self, scheme: str, host: str, port: int | None, path: str) -> None:
        self.scheme = scheme
        self.host = host
        self.port = port
        self.path = path


class S3Location:
    """A bucket and the start of its keys; None: use the shared configuration."""

    def __init__(
        self,
        bucket: str,
        prefix: str,
        endpoint: Endpoint | None,
        region: str | None,
        keys: Keys | None,
        tls: TlsFiles,
        environment: Mapping[str, str],
    ) -> None:
        self.bucket = bucket
        self.prefix = prefix
        self.endpoint = endpoint
        self.region = region
        self.keys = keys
        self._tls = tls
        self._environment = environment
        self.shown = shown(f"s3://{bucket}/{prefix}".rstrip("/"))

    def open(self, settings: Settings, rate_limit: RateLimit | None = None) -> Store:
        profile = self._profile(settings)
        region = self.region
        if region is None:
            configured = profile.region() if profile is not None else None
            region = read_region(configured or DEFAULT_REGION, "region of the profile")
        endpoint = self.endpoint
        if endpoint is None and profile is not None:
            endpoint = _profile_endpoint(profile)
        if endpoint is None:
            server, path = self._on_aws(region, profile)
        else:
            server, path = self._at(endpoint)
        from store_workers.stores.redaction import Redactor

        transport = server.open(
            settings, f"{self.shown} at {server.origin}", Redactor(), rate_limit
        )
        keyring = self._keyring(profile)
        from store_workers.stores.listing import ListedStore
        from store_workers.stores.s3.listing import BucketList
        from store_workers.stores.s3.signing import Signer
        from store_workers.stores.s3.store import S3Store

        signer = Signer(server.authority, region)
        store = S3Store(transport, path, signer, keyring, self.bucket, self.shown)
        bucket = path.removesuffix(self._encoded_prefix()) or "/"
        keys = BucketList(bucket, f"{self.prefix}/" if self.prefix else "", store.fetch_list)
        return ListedStore(store, keys.page)

    def _profile(self, settings: Settings) -> AwsProfile | None:
        """Return the shared configuration, if it is needed."""
        complete = self.keys is not None and self.endpoint is not None
        if complete and (self.region is not None or not self._has_configuration()):
            return None
        from store_workers.stores.s3.aws import AwsProfile

        return AwsProfile(self.region, self._tls, settings.timeout_ms / 1000, self._environment)

    def _has_configuration(self) -> bool:
        named = self._environment.get("AWS_CONFIG_FILE") or "~/.aws/config"
        return os.path.exists(os.path.expanduser(named))

    def _keyring(self, profile: AwsProfile | None) -> Keyring:
        if self.keys is not None or profile is None:
            from store_workers.stores.s3.store import FixedKeys

            assert self.keys is not None  # noqa: S101 - else there is a profile
            return FixedKeys(self.keys)
        return profile.keyring()

    def _at(self, endpoint: Endpoint) -> tuple[Server, str]:
        """Return the server and the path before a hash, with the bucket in the path."""
        server = Server(endpoint.scheme, endpoint.host, endpoint.port, self._tls, self._environment)
        return server, f"{endpoint.path}/{self.bucket}{self._encoded_prefix()}"

    def _on_aws(self, region: str, profile: AwsProfile | None) -> tuple[Server, str]:
        """The same for AWS, with the bucket in the host name if it is valid there."""
        assert profile is not None  # noqa: S101 - without one there is an endpoint
        host = profile.aws_host(region)
        if not is_host_label(self.bucket):
            return self._at(Endpoint("https", host, None, ""))
        server = Server("https", f"{self.bucket}.{host}", None, self._tls, self._environment)
        return server, self._encoded_prefix()

    def _encoded_prefix(self) -> str:
        """The prefix, encoded as SigV4 requires, with a slash before it; "" if there is none."""
        from urllib.parse import quote

        encoded = quote(self.prefix.encode("utf-8", "surrogateescape"), safe="/-_.~")
        return f"/{encoded}" if encoded else ""


def read_s3_url(
    url: str, field: str, message: Common, environment: Mapping[str, str]
) -> S3Location:
    """Parse a bucket's URL. Raises `BadMessage`, without parts that can contain secrets.

    Percent-encoded characters of the prefix are decoded, so that it can hold a `?` or a `%`.
    """
    rest = url[len("s3://") :]
    if "#" in rest:
        raise BadMessage(field, "a store's URL must not have a fragment: write %23 for #")
    place, _, query = rest.partition("?")
    bucket, _, prefix = place.partition("/")
    options = _options(query, field)
    endpoint = None
    if "endpoint" in options:
        endpoint = read_endpoint(options["endpoint"], f"{field}: endpoint")
    region = None
    if "region" in options:
        region = read_region(options["region"], f"{field}: region")
    return S3Location(
        _bucket(bucket, field),
        _prefix(prefix, field),
        endpoint or _environment_endpoint(environment),
        region or _environment_region(environment),
        _keys(message.auth, environment),
        tls_files(message.tls, environment, CA_VARIABLES),
        environment,
    )


def read_endpoint(text: str, field: str) -> Endpoint:
    """Parse a service's URL. Raises `BadMessage` naming `field`."""
    from urllib.parse import quote, urlsplit

    from store_workers.stores.http.url_parts import is_host

    try:
        parts = urlsplit(text)
        host, port = parts.hostname, parts.port
    except ValueError:
        raise BadMessage(field, "is not a valid URL") from None
    if parts.scheme not in ("http", "https") or not host or not is_host(host):
        raise BadMessage(field, "expected http://host or https://host")
    if parts.username is not None or parts.query or parts.fragment:
        raise BadMessage(field, "an endpoint must not have a user, query or fragment")
    return Endpoint(parts.scheme, host, port, quote(parts.path.rstrip("/"), safe="/%-_.~"))


def read_region(text: str, field: str) -> str:
    """Check the name of a region, which becomes a part of a host name."""
    if not text or not _REGION.issuperset(text):
        raise BadMessage(field, "expected the name of a region: letters, digits, - and _")
    return text


def is_host_label(bucket: str) -> bool:
    """Return whether the bucket's name can be one label of a host name (wildcard certificate)."""
    return _HOST_LABEL.issuperset(bucket) and 3 <= len(bucket) <= 63 and bucket.strip("-") == bucket


def _profile_endpoint(profile: AwsProfile) -> Endpoint | None:
    found = profile.endpoint()
    return read_endpoint(found, "endpoint_url of the profile") if found else None


def _options(query: str, field: str) -> dict[str, str]:
    from urllib.parse import parse_qsl

    pairs = parse_qsl(query, keep_blank_values=True)
    options = dict(pairs)
    if len(options) < len(pairs) or not options.keys() <= {"endpoint", "region"}:
        raise BadMessage(field, "expected only endpoint=… and region=… after ?, each at most once")
    return options


def _bucket(name: str, field: str) -> str:
    if "@" in name:
        raise BadMessage(field, "must not contain keys: use auth or the environment")
    if not 3 <= len(name) <= 255 or not _BUCKET.issuperset(name) or name[0] in ".-" or ".." in name:
        raise BadMessage(
            field, "expected a bucket after s3://: 3 to 255 letters, digits, dots, - or _"
        )
    return name


def _prefix(text: str, field: str) -> str:
    from urllib.parse import unquote

    prefix = unquote(text, errors="surrogateescape").strip("/")
    if any(character < " " or character == "\x7f" for character in prefix):
        raise BadMessage(field, "contains a control character")
    if any(part in (".", "..") for part in prefix.split("/")):
        raise BadMessage(field, "the prefix must not contain . or .. as a part")
    length = len(prefix.encode("utf-8", "surrogateescape"))
    if length + 1 + _HASH_LENGTH > LONGEST_KEY:
        raise BadMessage(field, f"the prefix is too long: keys would exceed {LONGEST_KEY} bytes")
    return prefix


def _environment_endpoint(environment: Mapping[str, str]) -> Endpoint | None:
    if environment.get(IGNORE_ENDPOINTS_VARIABLE, "").lower() == "true":
        return None
    name = next((name for name in ENDPOINT_VARIABLES if environment.get(name)), None)
    return read_endpoint(environment[name], name) if name is not None else None


def _environment_region(environment: Mapping[str, str]) -> str | None:
    name = next((name for name in REGION_VARIABLES if environment.get(name)), None)
    return read_region(environment[name], name) if name is not None else None


def _keys(auth: Auth | None, environment: Mapping[str, str]) -> Keys | None:
    """Return the message's keys, otherwise those of the environment, as AWS's chain does."""
    from store_workers.stores.s3.signing import Keys

    if auth is not None:
        if auth.access_key_id is None or auth.secret_access_key is None:
            raise BadMessage(
                "auth", "expected access_key_id and secret_access_key for an s3:// store"
            )
        return Keys(auth.access_key_id, auth.secret_access_key, auth.session_token)
    access_key_id = environment.get("AWS_ACCESS_KEY_ID")
    secret_access_key = environment.get("AWS_SECRET_ACCESS_KEY")
    if not access_key_id or not secret_access_key or environment.get("AWS_CREDENTIAL_EXPIRATION"):
        return None
    token = environment.get("AWS_SESSION_TOKEN") or environment.get("AWS_SECURITY_TOKEN")
    named = {
        "AWS_ACCESS_KEY_ID": access_key_id,
        "AWS_SECRET_ACCESS_KEY": secret_access_key,
        "AWS_SESSION_TOKEN": token or "",
    }
    for name, value in named.items():
        if not (value.isascii() and value.isprintable()):
            raise BadMessage(name, "expected printable ASCII characters only")
    return Keys(access_key_id, secret_access_key, token)
