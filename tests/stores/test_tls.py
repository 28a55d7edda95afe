"""Certificates and keys: which are used, and errors."""

from __future__ import annotations

import os
import ssl
from typing import TYPE_CHECKING

import pytest
import truststore
from cryptography.hazmat.primitives import serialization

from store_workers.errors import ErrorCode, WorkerError
from store_workers.stores.http.tls import TlsFiles, client_context, tls_files
from store_workers.wire.messages import Tls
from tests.support.certificates import Authority

if TYPE_CHECKING:
    from pathlib import Path


@pytest.mark.parametrize(
    ("tls", "environment", "ca_file", "ca_directory"),
    [
        (None, {}, None, None),
        (None, {"SSL_CERT_FILE": ""}, None, None),
        (None, {"SSL_CERT_FILE": "/e"}, "/e", None),
        (None, {"SSL_CERT_FILE": "/e", "SSL_CERT_DIR": "/d"}, "/e", "/d"),
        (None, {"SSL_CERT_DIR": "/d"}, None, "/d"),
        (Tls(ca_file="/m"), {"SSL_CERT_FILE": "/e", "SSL_CERT_DIR": "/d"}, "/m", None),
        (Tls(cert_file="/c"), {"SSL_CERT_FILE": "/e"}, "/e", None),
    ],
)
def test_message_wins_over_the_environment(
    tls: Tls | None, environment: dict[str, str], ca_file: str | None, ca_directory: str | None
) -> None:
    files = tls_files(tls, environment)
    assert (files.ca_file, files.ca_directory) == (ca_file, ca_directory)


def test_every_context_verifies(tmp_path: Path) -> None:
    authority = Authority(tmp_path)
    pair = authority.client()
    both = tmp_path / "both.pem"
    both.write_bytes(pair.certificate.read_bytes() + pair.key.read_bytes())
    for files in (
        TlsFiles(),
        TlsFiles(ca_file=str(authority.file)),
        TlsFiles(ca_directory=str(tmp_path)),
        TlsFiles(str(authority.file), None, str(pair.certificate), str(pair.key)),
        TlsFiles(str(authority.file), None, str(both)),
    ):
        context = client_context(files)
        assert context.verify_mode is ssl.CERT_REQUIRED
        assert context.check_hostname
        assert context.minimum_version is ssl.TLSVersion.TLSv1_2


def test_the_system_decides_unless_somebody_else_is_named(tmp_path: Path) -> None:
    assert isinstance(client_context(TlsFiles()), truststore.SSLContext)
    named = client_context(TlsFiles(ca_file=str(Authority(tmp_path).file)))
    assert not isinstance(named, truststore.SSLContext)
    assert len(named.get_ca_certs()) == 1


def broken(tmp_path: Path, kind: str) -> tuple[TlsFiles, Path, ErrorCode, str]:
    """Return files of which one is no good, which one, its code, and a word of the message."""
    authority = Authority(tmp_path / "authority")
    ca, pair = authority.file, authority.client()
    missing, empty, folder = tmp_path / "missing", tmp_path / "empty", tmp_path / "folder"
    empty.write_text("no PEM\n")
    folder.mkdir()
    locked = tmp_path / "locked.key"
    key = serialization.load_pem_private_key(pair.key.read_bytes(), None)
    locked.write_bytes(
        key.private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.PKCS8,
            serialization.BestAvailableEncryption(b"passphrase"),
        )
    )
    other = Authority(tmp_path / "other").client().key
    not_found, no_good = ErrorCode.FILE_NOT_FOUND, ErrorCode.FILE_READ_FAILED
    cases = {
        "no CA": (missing, None, None, missing, not_found, "No such file"),
        "CA no PEM": (empty, None, None, empty, no_good, "no certificate"),
        "CA folder": (folder, None, None, folder, no_good, "folder"),
        "no certificate": (ca, missing, pair.key, missing, not_found, "No such file"),
        "no key": (ca, pair.certificate, missing, missing, not_found, "No such file"),
        "certificate no PEM": (ca, empty, pair.key, empty, no_good, "PEM"),
        "key no PEM": (ca, pair.certificate, empty, pair.certificate, no_good, "empty"),
        "no key inside": (ca, pair.certificate, None, pair.certificate, no_good, "its key"),
        "other key": (ca, pair.certificate, other, other, no_good, "does not belong"),
        "encrypted key": (ca, pair.certificate, locked, locked, no_good, "encrypted"),
    }
    ca_file, certificate, key_file, culprit, code, word = cases[kind]
    files = TlsFiles(
        str(ca_file),
        None,
        str(certificate) if certificate else None,
        str(key_file) if key_file else None,
    )
    return files, culprit, code, word


@pytest.mark.parametrize(
    "kind",
    [
        "no CA",
        "CA no PEM",
        "CA folder",
        "no certificate",
        "no key",
        "certificate no PEM",
        "key no PEM",
        "no key inside",
        "other key",
        "encrypted key",
    ],
)
def test_a_file_that_is_no_good_is_named(kind: str, tmp_path: Path) -> None:
    files, culprit, code, word = broken(tmp_path, kind)
    with pytest.raises(WorkerError) as caught:
        client_context(files)
    assert (caught.value.code, caught.value.path) == (code, str(culprit))
    assert word in caught.value.message


def test_names_that_are_no_utf8(tmp_path: Path) -> None:
    authority = Authority(tmp_path)
    name = os.fsencode(tmp_path) + b"/ca-\xff.pem"
    os.rename(os.fsencode(authority.file), name)
    client_context(TlsFiles(ca_file=name.decode("utf-8", "surrogateescape")))
