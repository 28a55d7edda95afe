"""Trusted CAs and client certificate for all TLS connections.

Certificates are always verified; this cannot be disabled. TLS 1.2 is the minimum.
"""

from __future__ import annotations

import os

from store_workers.errors import ErrorCode, WorkerError, file_error, shown
from store_workers.files.paths import system_path

TYPE_CHECKING = False
if TYPE_CHECKING:
    import ssl
    from collections.abc import Mapping

    from store_workers.wire.messages import Tls

CA_FILE_VARIABLE = "SSL_CERT_FILE"
CA_DIRECTORY_VARIABLE = "SSL_CERT_DIR"


class TlsFiles:
    """Paths of PEM files, as the message or the environment spells them; none is opened yet.

    Without `ca_file` and `ca_directory`, the system's CAs are trusted. `key_file` is None if
    `cert_file` contains the key, too.
    """

    def __init__(
        self,
        ca_file: str | None = None,
        ca_directory: str | None = None,
        cert_file: str | None = None,
        key_file: str | None = None,
    ) -> None:
        self.ca_file = ca_file
        self.ca_directory = ca_directory
        self.cert_file = cert_file
        self.key_file = key_file

    def without_certificate(self) -> TlsFiles:
        """Return the same CAs for a proxy, without the client certificate."""
        return TlsFiles(self.ca_file, self.ca_directory)


def tls_files(
    tls: Tls | None,
    environment: Mapping[str, str],
    variables: tuple[str, ...] = (CA_FILE_VARIABLE,),
) -> TlsFiles:
    """Return the files that a run uses: those of the message, otherwise of the environment.

    `variables` can each name a file of CAs; the first that is set is used.
    """
    ca_file = tls.ca_file if tls is not None else None
    ca_directory = None
    if ca_file is None:
        ca_file = next((environment[name] for name in variables if environment.get(name)), None)
        ca_directory = environment.get(CA_DIRECTORY_VARIABLE) or None
    return TlsFiles(
        ca_file,
        ca_directory,
        tls.cert_file if tls is not None else None,
        tls.key_file if tls is not None else None,
    )


def client_context(files: TlsFiles) -> ssl.SSLContext:
    """Return the TLS context for connections.

    Raises `WorkerError` with the path of the file that is missing, unreadable, or not what it
    should be (`FILE_READ_FAILED`); no file's passphrase is ever asked for on a terminal.
    """
    import ssl

    context = _private_trust(files) or _system_trust()
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.set_alpn_protocols(["http/1.1"])  # the protocol used here (RFC 7301)
    if files.cert_file is not None:
        _load_certificate(context, files.cert_file, files.key_file)
    return context


def _private_trust(files: TlsFiles) -> ssl.SSLContext | None:
    """Return a context that trusts only the named CAs; None if none are named."""
    if files.ca_file is None and files.ca_directory is None:
        return None
    import ssl

    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    if files.ca_directory is not None:
        # OpenSSL reads it when a certificate is verified.
        context.load_verify_locations(capath=system_path(files.ca_directory))
    if files.ca_file is not None:
        try:
            context.load_verify_locations(cafile=system_path(files.ca_file))
        except ssl.SSLError:
            raise _no_pem(files.ca_file, "contains no certificate in PEM format") from None
        except OSError as error:
            raise file_error(error, files.ca_file, ErrorCode.FILE_READ_FAILED) from None
    return context


def _system_trust() -> ssl.SSLContext:
    import ssl

    import truststore

    return truststore.SSLContext(ssl.PROTOCOL_TLS_CLIENT)


class _PassphraseNeeded(Exception):
    pass


def _refuse_passphrase() -> str:
    raise _PassphraseNeeded


def _load_certificate(context: ssl.SSLContext, cert_file: str, key_file: str | None) -> None:
    import ssl

    try:
        context.load_cert_chain(
            system_path(cert_file),
            system_path(key_file) if key_file is not None else None,
            password=_refuse_passphrase,
        )
    except _PassphraseNeeded:
        problem = "the key is encrypted: a worker cannot ask for its passphrase"
        raise _no_pem(key_file or cert_file, problem) from None
    except ssl.SSLError as error:
        raise _no_pair(error, cert_file, key_file) from None
    except OSError as error:
        raise _unreadable(error, cert_file, key_file) from None


def _no_pair(error: ssl.SSLError, cert_file: str, key_file: str | None) -> WorkerError:
    if error.reason == "KEY_VALUES_MISMATCH":
        return _no_pem(key_file or cert_file, "the key does not belong to the certificate")
    place = cert_file if key_file is None else f"{cert_file} with {key_file}"
    return WorkerError(
        ErrorCode.FILE_READ_FAILED,
        f"{shown(place)}: not a certificate with its key in PEM format",
        path=cert_file,
    )


def _unreadable(error: OSError, cert_file: str, key_file: str | None) -> WorkerError:
    """Return the error of the file that cannot be opened, which OpenSSL does not name."""
    for path in filter(None, (cert_file, key_file)):
        try:
            os.close(os.open(system_path(path), os.O_RDONLY))
        except OSError as found:
            return file_error(found, path, ErrorCode.FILE_READ_FAILED)
    return file_error(error, cert_file, ErrorCode.FILE_READ_FAILED)


def _no_pem(path: str, problem: str) -> WorkerError:
    return WorkerError(ErrorCode.FILE_READ_FAILED, f"{shown(path)}: {problem}", path=path)
