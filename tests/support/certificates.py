"""Private authorities, and certificates of servers and clients, as PEM files."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import trustme

from tests.support.nginx import Tls
from tests.support.processes import HOST

if TYPE_CHECKING:
    from pathlib import Path


@dataclass(frozen=True)
class Pair:
    """A certificate with its chain, and its key."""

    certificate: Path
    key: Path


class Authority:
    """A certificate authority with its files in one folder.

    Args:
        folder: where its files are put; made if it is not there.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._authority = trustme.CA()
        folder.mkdir(parents=True, exist_ok=True)
        self.file = folder / "authority.pem"
        self._authority.cert_pem.write_to_path(str(self.file))

    def server(self, *names: str) -> Pair:
        """Return a certificate for names and addresses; by default for loopback."""
        return self._write("server", self._authority.issue_cert(*(names or (HOST, "localhost"))))

    def client(self, name: str = "worker@example.org") -> Pair:
        """Return a certificate that a client shows."""
        return self._write("client", self._authority.issue_cert(name))

    def tls(self, *, clients: bool = False) -> Tls:
        """Return what `Nginx` needs; with ``clients`` it asks them for a certificate of ours."""
        pair = self.server()
        return Tls(pair.certificate, pair.key, self.file if clients else None)

    def _write(self, name: str, issued: trustme.LeafCert) -> Pair:
        pair = Pair(self._folder / f"{name}.pem", self._folder / f"{name}.key")
        pair.certificate.write_bytes(b"".join(blob.bytes() for blob in issued.cert_chain_pems))
        issued.private_key_pem.write_to_path(str(pair.key))
        return pair
