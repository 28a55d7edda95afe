"""A small Ceph on loopback: a monitor, OSDs in memory, and a gateway that speaks S3.

The reference for S3's behaviour: it checks the signed hash of a body, knows ``If-None-Match``, and
has real faults to offer. It comes up in seconds on free ports, keeps all files in one folder, takes
about 35 MB a process, and is ended by process id.
"""

from __future__ import annotations

import contextlib
import functools
import json
import os
import shutil
import signal
import subprocess
import time
import uuid
from typing import TYPE_CHECKING, Any

import pytest

from tests.support.processes import HOST, Server, answers, free_port, stop

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


PROGRAMS = ("ceph-mon", "ceph-osd", "radosgw", "ceph", "monmaptool", "radosgw-admin")

# Without authentication between its parts, "ms mon client mode = crc" is what keeps the gateway
# from waiting for ever. The short intervals make a fault of an OSD known within seconds.
CONFIGURATION = """\
[global]
fsid = {fsid}
mon host = v2:{host}:{monitor}
public addr = {host}
ms bind ipv6 = false
ms bind port min = {osd_ports}
ms bind port max = {osd_ports_end}
ms mon client mode = crc
auth cluster required = none
auth service required = none
auth client required = none
auth allow insecure global id reclaim = false
keyring = /dev/null
mon data = {folder}/mon
mon data avail warn = 1
mon data avail crit = 0
mon allow pool size one = true
mon max pg per osd = 2000
mon warn on pool no redundancy = false
mon tick interval = 1
mon client hunt interval = 0.5
mon cluster log file = /dev/null
mon osd adjust heartbeat grace = false
paxos propose interval = 0.02
paxos min wait = 0.01
osd data = {folder}/osd$id
osd objectstore = memstore
memstore device bytes = {capacity}
osd pool default size = {osds}
osd pool default min size = 1
osd pool default pg num = 1
osd pool default pgp num = 1
osd pool default pg autoscale mode = off
osd crush chooseleaf type = 0
osd max object name len = 256
osd max object namespace len = 64
osd heartbeat interval = 1
osd heartbeat grace = 4
osd mon heartbeat interval = 2
rgw data = {folder}/rgw
rgw rados pool pg num min = 1
rgw thread pool size = 64
rgw enable usage log = false
rgw enable gc threads = false
rgw enable lc threads = false
rgw user quota bucket sync interval = 1
rgw bucket quota ttl = 1
rgw user quota sync interval = 1
rgw cache expiry interval = 1
run dir = {folder}/run
admin socket = {folder}/run/$name.asok
log file = {folder}/log/$name.log
crash dir = {folder}/log
"""


class CephFailed(Exception):
    """A command failed, or the cluster did not come up; the text says what it wrote."""


class Ceph(Server):
    """A running cluster with one user and one bucket; use it in a ``with`` block.

    Args:
        folder: an empty folder of its own; a short path, since sockets lie in it.
        osds: how many, each with a copy of everything.
        capacity: bytes that each OSD says it has.
    """

    access_key = "testkey"
    secret_key = "testsecret"
    user = "tester"
    bucket = "chunks"

    def __init__(self, folder: Path, *, osds: int = 3, capacity: int = 4 << 30) -> None:
        self.folder = folder
        self.osds = osds
        self.port = 0
        self._capacity = capacity
        self._processes: dict[str, subprocess.Popen[bytes]] = {}
        self._gateway_options: dict[str, str] = {}
        self._programs = {name: program(name) for name in PROGRAMS}

    # Life

    def start(self) -> None:
        """Bring everything up; it takes a few seconds."""
        for name in ("mon", "log", "run", "rgw"):
            (self.folder / name).mkdir(parents=True)
        self._start_monitor()
        for number in range(self.osds):
            self._start_new_osd(number)
        self.wait_for_osds(self.osds)
        self.start_gateway()
        self._make_user()
        self._make_bucket()

    def stop(self) -> None:
        """End all processes, the gateway first."""
        for name in sorted(self._processes, reverse=True):
            process = self._processes.pop(name)
            with contextlib.suppress(ProcessLookupError):
                process.send_signal(signal.SIGCONT)
            process.kill() if name != "rgw" else stop(process, 3)
            process.wait()

    # What a worker is told

    @property
    def url(self) -> str:
        """The gateway's URL."""
        return f"http://{HOST}:{self.port}"

    def store(self, prefix: str, bucket: str | None = None) -> str:
        """Return a store's URL, as a message gives it."""
        return f"s3://{bucket or self.bucket}/{prefix}?endpoint={self.url}&region=us-east-1"

    @property
    def environ(self) -> dict[str, str]:
        """The variables that hold the credentials."""
        return {
            "AWS_ACCESS_KEY_ID": self.access_key,
            "AWS_SECRET_ACCESS_KEY": self.secret_key,
            "AWS_EC2_METADATA_DISABLED": "true",
        }

    @functools.cached_property
    def client(self) -> Any:
        """Botocore's own client: an independent look at what is stored."""
        import botocore.config
        import botocore.session

        return botocore.session.get_session().create_client(
            "s3",
            endpoint_url=self.url,
            region_name="us-east-1",
            aws_access_key_id=self.access_key,
            aws_secret_access_key=self.secret_key,
            config=botocore.config.Config(s3={"addressing_style": "path"}, proxies={}),
        )

    def keys(self, prefix: str) -> dict[str, int]:
        """Return the objects under a prefix, by the last part of their key, with their sizes."""
        pages = self.client.get_paginator("list_objects_v2")
        found = pages.paginate(Bucket=self.bucket, Prefix=prefix)
        objects = [item for page in found for item in page.get("Contents", [])]
        return {item["Key"].rpartition("/")[2]: item["Size"] for item in objects}

    # Faults

    def kill_osd(self, number: int) -> None:
        """SIGKILL one OSD: what it held in memory is gone, and it does not come back."""
        process = self._processes.pop(f"osd.{number}")
        process.kill()
        process.wait()

    def pause_osd(self, number: int) -> None:
        """Stop one OSD without closing anything: whoever needs it waits."""
        self._processes[f"osd.{number}"].send_signal(signal.SIGSTOP)

    def resume_osd(self, number: int) -> None:
        """Let a stopped OSD go on."""
        self._processes[f"osd.{number}"].send_signal(signal.SIGCONT)

    @contextlib.contextmanager
    def stalled(self) -> Iterator[None]:
        """Have no OSD take or give anything for the length of a block."""
        self.ceph("osd", "set", "pause")
        try:
            yield
        finally:
            self.ceph("osd", "unset", "pause")

    @contextlib.contextmanager
    def suspended(self) -> Iterator[None]:
        """Suspend the user for the length of a block."""
        self.admin("user", "suspend", f"--uid={self.user}")
        try:
            yield
        finally:
            self.admin("user", "enable", f"--uid={self.user}")

    @contextlib.contextmanager
    def quota(self, objects: int) -> Iterator[None]:
        """Let a bucket of the user hold no more than so many objects, for the length of a block."""
        scope = ("--quota-scope=bucket", f"--uid={self.user}")
        self.admin("quota", "set", *scope, f"--max-objects={objects}")
        self.admin("quota", "enable", *scope)
        self.restart_gateway()
        try:
            yield
        finally:
            self.admin("quota", "disable", *scope)
            self.restart_gateway()

    @contextlib.contextmanager
    def at_most(self, requests: int) -> Iterator[None]:
        """Have the gateway answer 503 SlowDown to more requests than that at once."""
        self.restart_gateway({"rgw max concurrent requests": str(requests)})
        try:
            yield
        finally:
            self.restart_gateway()

    # Parts

    def start_gateway(self) -> None:
        """Start the gateway, on the port of before if there was one."""
        tries = 1 if self.port else 5
        for left in reversed(range(tries)):
            port = self.port or free_port()
            options = {"rgw frontends": f"beast endpoint={HOST}:{port}", **self._gateway_options}
            flags = [f"--{name.replace(' ', '-')}={value}" for name, value in options.items()]
            process = self._spawn("rgw", "radosgw", "-f", "-n", "client.rgw", *flags)
            with contextlib.suppress(CephFailed):
                until(lambda port=port: answers(port), "the gateway", process)
                self.port = port
                return
            if not left:
                raise CephFailed(self._said("rgw"))

    def restart_gateway(self, options: dict[str, str] | None = None) -> None:
        """End the gateway and start it again with other options than the configuration's."""
        stop(self._processes.pop("rgw"), 3)
        self._gateway_options = options or {}
        self.start_gateway()

    def wait_for_osds(self, count: int) -> None:
        """Wait until the monitor counts so many OSDs as up."""
        until(
            lambda: self.ceph("osd", "stat")["num_up_osds"] == count,
            f"{count} OSDs up",
            self._processes["mon"],
        )

    def ceph(self, *arguments: str) -> Any:
        """Run a command of the ``ceph`` program; return its JSON."""
        out = self._run("ceph", "--connect-timeout", "20", "-f", "json", *arguments)
        return json.loads(out) if out.strip() else None

    def admin(self, *arguments: str) -> str:
        """Run a command of ``radosgw-admin``."""
        return self._run("radosgw-admin", "-n", "client.rgw", *arguments)

    def _start_monitor(self) -> None:
        for left in reversed(range(5)):
            monitor = free_port()
            fsid = self._configure(monitor)
            address = f"[v2:{HOST}:{monitor}]"
            monmap = str(self.folder / "monmap")
            self._run(
                "monmaptool",
                "--create",
                "--clobber",
                "--fsid",
                fsid,
                "--addv",
                "a",
                address,
                monmap,
            )
            shutil.rmtree(self.folder / "mon")
            (self.folder / "mon").mkdir()
            self._run("ceph-mon", "-i", "a", "--mkfs", "--monmap", monmap)
            process = self._spawn("mon", "ceph-mon", "-f", "-i", "a")
            with contextlib.suppress(CephFailed):
                until(lambda port=monitor: answers(port), "the monitor", process)
                return
            if not left:
                raise CephFailed(self._said("mon"))

    def _configure(self, monitor: int) -> str:
        fsid = str(uuid.uuid4())
        # OSDs take the first ports free of a range by themselves; each run looks in another one.
        ports = 20000 + os.getpid() % 80 * 150
        text = CONFIGURATION.format(
            fsid=fsid,
            host=HOST,
            monitor=monitor,
            osd_ports=ports,
            osd_ports_end=ports + 149,
            folder=self.folder,
            osds=self.osds,
            capacity=self._capacity,
        )
        (self.folder / "ceph.conf").write_text(text)
        return fsid

    def _start_new_osd(self, number: int) -> None:
        (self.folder / f"osd{number}").mkdir()
        identity = str(uuid.uuid4())
        self.ceph("osd", "new", identity)
        self._run("ceph-osd", "-i", str(number), "--mkfs", "--osd-uuid", identity)
        self._spawn(f"osd.{number}", "ceph-osd", "-f", "-i", str(number))

    def _make_user(self) -> None:
        keys = (f"--access-key={self.access_key}", f"--secret-key={self.secret_key}")
        self.admin("user", "create", f"--uid={self.user}", "--display-name=Tester", *keys)

    def _make_bucket(self) -> None:
        self.client.create_bucket(Bucket=self.bucket)

    def _run(self, name: str, *arguments: str) -> str:
        command = [self._programs[name], "-c", str(self.folder / "ceph.conf"), *arguments]
        if name == "monmaptool":
            command = [self._programs[name], *arguments]
        done = subprocess.run(command, capture_output=True, timeout=60, check=False, text=True)
        if done.returncode:
            raise CephFailed(f"{' '.join(command)}: {done.stderr[-1000:]}")
        return done.stdout

    def _spawn(self, role: str, name: str, *arguments: str) -> subprocess.Popen[bytes]:
        command = [self._programs[name], "-c", str(self.folder / "ceph.conf"), *arguments]
        with (self.folder / "log" / f"{role}.out").open("ab") as log:
            self._processes[role] = subprocess.Popen(
                command, stdin=subprocess.DEVNULL, stdout=log, stderr=subprocess.STDOUT
            )
        return self._processes[role]

    def _said(self, role: str) -> str:
        return (self.folder / "log" / f"{role}.out").read_text(errors="replace")[-2000:]


def until(done: Any, what: str, process: subprocess.Popen[bytes], timeout: float = 60) -> None:
    """Wait for a condition for as long as a process lives.

    Raises:
        CephFailed: the process ended, or the time is over.
    """
    deadline = time.monotonic() + timeout
    while not done():
        if process.poll() is not None or time.monotonic() > deadline:
            raise CephFailed(f"waiting for {what}")
        time.sleep(0.05)


def program(name: str) -> str:
    """Return where one of Ceph's programs is, or skip the test."""
    found = shutil.which(name, path=os.environ["PATH"] + ":/usr/sbin")
    if not found:
        pytest.skip(f"{name} is not installed")
    return found
