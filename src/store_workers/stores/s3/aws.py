"""The shared configuration and AWS's chain of credentials. Only this module uses botocore.

botocore only finds keys: requests to the store are signed and sent elsewhere. Its clients for STS,
SSO and metadata services trust the worker's CAs.
"""

from __future__ import annotations

import os

import botocore
from botocore.config import Config
from botocore.configprovider import ConfiguredEndpointProvider
from botocore.credentials import ProcessProvider
from botocore.exceptions import (
    ClientError,
    ConfigNotFound,
    ConfigParseError,
    ConnectionError,  # noqa: A004 - botocore's own
    CredentialRetrievalError,
    HTTPClientError,
    MetadataRetrievalError,
    PartialCredentialsError,
    ProfileNotFound,
    SSLError,
)
from botocore.loaders import Loader
from botocore.session import Session
from botocore.utils import ContainerMetadataFetcher

from store_workers.errors import ErrorCode, StoreFailure, WorkerError, shown
from store_workers.stores.s3.key_process import KeyProcesses
from store_workers.stores.s3.key_sources import KeySources
from store_workers.stores.s3.keyring import ChainKeys
from store_workers.stores.s3.signing import Keys

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from typing import Any, TypeVar

    from store_workers.stores.http.tls import TlsFiles

    T = TypeVar("T")

SHORTEST_LOOK_UP = 5.0
"""Minimum time limit of a lookup in seconds, however short the store's timeout is."""

_THROTTLED = (
    "Throttl",
    "TooManyRequests",
    "RequestLimitExceeded",
    "SlowDown",
    "ServiceUnavailable",
)
"""Prefixes of the codes with which AWS throttles."""

CLIENT_TRIES = 2


class AwsProfile:
    """The profile that AWS's tools use on this host.

    `region` takes precedence; `timeout`, in seconds, bounds every lookup.
    """

    def __init__(
        self,
        region: str | None,
        trust: TlsFiles,
        timeout: float,
        environment: Mapping[str, str] | None = None,
    ) -> None:
        self._timeout = max(timeout, SHORTEST_LOOK_UP)
        self._region = region
        trust = trust.without_certificate()
        self._sources = KeySources(trust, environment or {}, self._timeout)
        # As in AWS's tools, no proxy is used for the container's endpoint.
        self._container = KeySources(trust, {}, self._timeout)
        self._processes = KeyProcesses(self._timeout)
        self._session = self._new_session()

    def region(self) -> str | None:
        """The profile's region."""
        found = _told(lambda: self._session.get_config_variable("region"))
        return found if isinstance(found, str) else None

    def endpoint(self) -> str | None:
        """The URL for S3 from the environment or the profile; None for AWS's own."""

        def look_up() -> str | None:
            session = self._session
            if session.get_config_variable("ignore_configured_endpoint_urls"):
                return None
            provider = ConfiguredEndpointProvider(
                full_config=session.full_config,
                scoped_config=session.get_scoped_config(),
                client_name="s3",
            )
            found = provider.provide()
            return found if isinstance(found, str) else None

        return _told(look_up)

    def aws_host(self, region: str) -> str:
        """The host that serves S3 in a region of AWS."""

        def look_up() -> str:
            variable = self._session.get_config_variable
            partitions = self._session.get_component("data_loader").load_data("partitions")
            outputs = _partition(region, partitions["partitions"])
            service = "s3-fips" if variable("use_fips_endpoint") else "s3"
            if variable("use_dualstack_endpoint"):
                return f"{service}.dualstack.{region}.{outputs['dnsSuffix']}"
            return f"{service}.{region}.{outputs['dnsSuffix']}"

        return _told(look_up)

    def keyring(self) -> ChainKeys:
        """Return the keys of the chain, which are looked up on first use."""
        return ChainKeys(self._look_up, _freeze, self._longest_look_up(), self.close)

    def close(self) -> None:
        """End running requests and programs."""
        self._processes.close()
        self._sources.close()
        self._container.close()

    def _longest_look_up(self) -> float:
        """Return the time limit of a lookup, longer than that of the metadata service."""

        def look_up() -> float:
            variable = self._session.get_config_variable
            each = float(variable("metadata_service_timeout"))
            return each * int(variable("metadata_service_num_attempts"))

        return max(self._timeout, _told(look_up) + 1)

    def _look_up(self) -> Any:
        """Return botocore's credentials, from the start of the chain."""
        session = self._new_session()

        def look_up() -> Any:
            self._ask_container_by_the_worker(session)
            self._start_programs_by_the_worker(session)
            return session.get_credentials()

        found = _told(look_up)
        if found is None:
            raise StoreFailure(ErrorCode.STORE_ACCESS_DENIED, _none_found(session))
        return found

    def _new_session(self) -> Session:
        session = _BoundedSession(self._timeout)
        if self._region is not None:
            session.set_config_variable("region", self._region)
        session.register("before-send", self._sources.answer)
        if not os.path.isdir(Loader.BUILTIN_DATA_PATH):
            session.register_component("data_loader", BundledData())
        return session

    def _ask_container_by_the_worker(self, session: Session) -> None:
        """Use the worker's own client for the container's endpoint, too."""
        provider = session.get_component("credential_provider").get_provider("container-role")
        # Roles whose source is the container share the provider: there is no other access to it.
        provider._fetcher = ContainerMetadataFetcher(session=self._container)  # noqa: SLF001

    def _start_programs_by_the_worker(self, session: Session) -> None:
        """Limit the time of each `credential_process`, also that of a role's source profile."""
        chain = session.get_component("credential_provider")

        def provider(profile_name: str) -> ProcessProvider:
            return ProcessProvider(
                profile_name, lambda: session.full_config, popen=self._processes.start
            )

        chain.get_provider("custom-process")._popen = self._processes.start  # noqa: SLF001
        builder = chain.get_provider("assume-role")._profile_provider_builder  # noqa: SLF001
        builder._create_process_provider = provider  # noqa: SLF001


class BundledData(Loader):  # type: ignore[misc]  # botocore has no types
    """Loads botocore's tables through its importer, since there are no folders in an archive."""

    FOLDER = ("botocore", "data")

    def __init__(self) -> None:
        super().__init__()
        self._archive = botocore.__loader__.archive

    def load_data_with_path(self, name: str) -> tuple[Any, str]:
        """Return a table by its name, such as `sts/2011-06-15/service-2`, and its place."""
        import json
        from gzip import decompress

        from botocore.exceptions import DataNotFoundError

        path = os.path.join(self._archive, *self.FOLDER, *name.split("/"))
        read = botocore.__loader__.get_data
        for suffix, unpack in ((".json", bytes), (".json.gz", decompress)):
            try:
                return json.loads(unpack(read(path + suffix))), path
            except OSError:
                continue
        raise DataNotFoundError(data_path=name)

    def list_available_services(self, type_name: str) -> list[str]:
        """Return the services that have a table of this type."""
        return [name for name in self._names() if "." not in name and self._has(name, type_name)]

    def list_api_versions(self, service_name: str, type_name: str) -> list[str]:
        """Return the versions of a service, the oldest first."""
        return self._names(service_name)

    def _names(self, *folder: str) -> list[str]:
        from zipfile import Path

        place = Path(self._archive, "/".join((*self.FOLDER, *folder, "")))
        return sorted(each.name for each in place.iterdir())

    def _has(self, service: str, type_name: str) -> bool:
        return any(
            name.startswith(f"{type_name}.")
            for version in self._names(service)
            for name in self._names(service, version)
        )


class _BoundedSession(Session):  # type: ignore[misc]  # botocore has no types
    """Return a session whose clients have a timeout."""

    def __init__(self, timeout: float) -> None:
        super().__init__()
        self._client_timeout = timeout

    def create_client(self, *args: Any, config: Config | None = None, **kwargs: Any) -> Any:
        bounds = Config(
            connect_timeout=self._client_timeout,
            read_timeout=self._client_timeout,
            retries={"total_max_attempts": CLIENT_TRIES, "mode": "standard"},
        )
        config = bounds if config is None else config.merge(bounds)
        return super().create_client(*args, config=config, **kwargs)


def _told(look_up: Callable[[], T]) -> T:
    """Return the result of `look_up`; convert botocore's errors to texts without secrets."""
    try:
        return look_up()
    except WorkerError:
        raise
    except Exception as error:  # noqa: BLE001 - botocore's errors have no root of their own
        code = _code(error)
        passing = code is ErrorCode.STORE_UNAVAILABLE
        raise StoreFailure(code, f"no credentials: {_words(error)}", transient=passing) from None


_FAILING_SOURCES = (
    ConnectionError,
    CredentialRetrievalError,
    HTTPClientError,
    MetadataRetrievalError,
)
"""Return a transient failure: a source of keys exists but gave none."""


def _code(error: Exception) -> ErrorCode:
    if isinstance(error, SSLError):
        return ErrorCode.STORE_REJECTED
    if isinstance(error, ClientError):
        status = error.response.get("ResponseMetadata", {}).get("HTTPStatusCode", 0)
        code = str(error.response.get("Error", {}).get("Code", ""))
        if status == 429 or status >= 500 or code.startswith(_THROTTLED):
            return ErrorCode.STORE_UNAVAILABLE
        return ErrorCode.STORE_ACCESS_DENIED
    if isinstance(error, _FAILING_SOURCES):
        return ErrorCode.STORE_UNAVAILABLE
    return ErrorCode.STORE_ACCESS_DENIED


def _words(error: Exception) -> str:
    """Describe an error without botocore's text, which can contain the output of a program."""
    evidence = getattr(error, "kwargs", {})
    if isinstance(error, ProfileNotFound):
        return f"there is no profile {shown(str(evidence.get('profile')))} in the AWS configuration"
    if isinstance(error, (ConfigParseError, ConfigNotFound)):
        return f"the AWS configuration {shown(str(evidence.get('path')))} cannot be read"
    if isinstance(error, PartialCredentialsError):
        return f"{evidence.get('cred_var')} is missing ({evidence.get('provider')})"
    if isinstance(error, ClientError):
        code = str(error.response.get("Error", {}).get("Code", ""))
        return f"{shown(str(error.operation_name))} was refused: {shown(code[:64])}"
    if isinstance(error, SSLError):
        return "no TLS connection to the server that provides them"
    name, provider = type(error).__name__, evidence.get("provider")
    if provider == "custom-process":
        name = "the profile's credential_process failed"
    return f"{name} ({shown(str(provider))})" if provider else name


def _none_found(session: Session) -> str:
    profile = shown(str(session.get_config_variable("profile") or "default"))
    return (
        "no credentials: looked for auth in the message, AWS_ACCESS_KEY_ID and"
        " AWS_SECRET_ACCESS_KEY, a role with AWS_WEB_IDENTITY_TOKEN_FILE, the profile"
        f" {profile} in the AWS configuration (keys, role, SSO, process), the container's"
        " AWS_CONTAINER_CREDENTIALS_RELATIVE_URI or …_FULL_URI, and the instance's metadata"
    )


def _partition(region: str, partitions: list[dict[str, Any]]) -> dict[str, Any]:
    """Return the partition of a region; the first one by default."""
    import re

    for partition in partitions:
        if region in partition["regions"] or re.match(partition["regionRegex"], region):
            return dict(partition["outputs"])
    return dict(partitions[0]["outputs"])


def _freeze(credentials: Any) -> Keys:
    """Return the current keys of botocore's credentials; roles are assumed only here."""
    frozen = _told(credentials.get_frozen_credentials)
    for value in (frozen.access_key, frozen.secret_key, frozen.token or ""):
        if not (value.isascii() and value.isprintable()):
            raise StoreFailure(
                ErrorCode.STORE_ACCESS_DENIED,
                "no credentials: the ones found contain characters other than printable ASCII",
            )
    return Keys(frozen.access_key, frozen.secret_key, frozen.token)
