"""Apache (mod_dav) and lighttpd (mod_webdav) as WebDAV stores: Debian's packages, in one folder.

Both take nothing into a folder that is not there (409), and ask for a password.
"""

from __future__ import annotations

import base64
import hashlib
import os
import shutil
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from tests.support.processes import HOST, Server, Started, serving, start

if TYPE_CHECKING:
    import contextlib

USER, PASSWORD = "me", "secret"
APACHE_MODULES = Path("/usr/lib/apache2/modules")

APACHE = """\
ServerRoot {folder}
ServerName localhost
PidFile {folder}/pid
Listen {address}
ErrorLog {folder}/error.log
Mutex pthread
{identity}
{modules}
DAVLockDB {folder}/locks
DocumentRoot {folder}/chunks
StartServers 1
MaxRequestWorkers 150
<Directory {folder}/chunks>
    Dav On
    AuthType Basic
    AuthName chunks
    AuthUserFile {folder}/users
    Require valid-user
</Directory>
"""
LIGHTTPD = """\
server.modules = ("mod_auth", "mod_authn_file", "mod_webdav")
server.document-root = "{folder}/chunks"
server.bind = "{host}"
server.port = {port}
server.errorlog = "{folder}/error.log"
server.upload-dirs = ("{folder}/incoming")
# Else HEAD is answered for some seconds from what was there before.
server.stat-cache-engine = "disable"
webdav.activate = "enable"
auth.backend = "htpasswd"
auth.backend.htpasswd.userfile = "{folder}/users"
auth.require = ("/" => ("method" => "basic", "realm" => "chunks", "require" => "valid-user"))
"""


class _WebDav(Server):
    """What both have in common."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.chunks = folder / "chunks"
        self.chunks.mkdir(parents=True)
        (folder / "incoming").mkdir()
        digest = base64.b64encode(hashlib.sha1(PASSWORD.encode()).digest()).decode()
        (folder / "users").write_text(f"{USER}:{{SHA}}{digest}\n")
        self._started: Started | None = None
        self._port: int | None = None

    def start(self) -> None:
        """Start, or start again on the same port after `stop`."""

        def run(port: int) -> contextlib.AbstractContextManager[int]:
            return serving(self._command(port), port, self.folder / "output.log")

        self._started = start(run, self._port)
        self._port = self._started.port

    def stop(self) -> None:
        """Stop; stored data remains."""
        if self._started:
            self._started.stop()
            self._started = None

    @property
    def url(self) -> str:
        """The server's URL."""
        return f"http://{HOST}:{self._port}"

    @property
    def auth(self) -> dict[str, str]:
        """The credentials, as a message gives them."""
        return {"username": USER, "password": PASSWORD}

    def _command(self, port: int) -> list[str]:
        """Write the configuration for a port; the command that serves by it."""
        raise NotImplementedError


class Apache(_WebDav):
    """A running Apache; use it in a ``with`` block."""

    def _command(self, port: int) -> list[str]:
        names = ["mpm_event", "authn_core", "authn_file", "authz_core", "authz_user", "auth_basic"]
        names += ["dav", "dav_fs"]
        lines = [f"LoadModule {name}_module {APACHE_MODULES}/mod_{name}.so" for name in names]
        identity = "User www-data\nGroup www-data" if os.geteuid() == 0 else ""
        if identity:
            _give_away(self.folder)
        text = APACHE.format(
            folder=self.folder, address=f"{HOST}:{port}", identity=identity,
            modules="\n".join(lines),
        )  # fmt: skip
        path = self.folder / "apache.conf"
        path.write_text(text)
        return [program("apache2"), "-D", "FOREGROUND", "-f", str(path)]


class Lighttpd(_WebDav):
    """A running lighttpd; use it in a ``with`` block."""

    def _command(self, port: int) -> list[str]:
        path = self.folder / "lighttpd.conf"
        path.write_text(LIGHTTPD.format(folder=self.folder, host=HOST, port=port))
        return [program("lighttpd"), "-D", "-f", str(path)]


def _give_away(folder: Path) -> None:
    """Apache's workers are no root: let them into the folder, and own what they write to."""
    for path in (folder, *folder.rglob("*")):
        shutil.chown(path, "www-data")
    for parent in folder.parents:
        if parent.stat().st_uid == os.geteuid() and not parent.stat().st_mode & 0o001:
            parent.chmod(parent.stat().st_mode | 0o011)


def program(name: str) -> str:
    """Return where a server is, or skip the test."""
    found = shutil.which(name, path=os.environ["PATH"] + ":/usr/sbin:/usr/local/sbin")
    if not found:
        pytest.skip(f"{name} is not installed")
    return found
