#!/usr/bin/env python3
"""Be a transfer agent of Git LFS: large files of a repository live in a chunk store, no server.

    git config lfs.standalonetransferagent store-workers
    git config lfs.customtransfer.store-workers.path lfs_agent.py
    git config lfs.customtransfer.store-workers.args "STORE INDEX"
    git config lfs.customtransfer.store-workers.concurrent false

STORE is where chunks live. Git LFS names a file by its SHA-256, a store by its manifest: INDEX is
a directory that all clones can reach (a mount, say), with a small file `<sha256>` for each, which
holds the manifest. One process serves all files of a push or a fetch, by one session.

What Git LFS says is in its docs/custom-transfers.md: a JSON object a line, here from stdin.
"""

from __future__ import annotations

import asyncio
import json
import os
import sys
import tempfile
from pathlib import Path
from typing import Any

from session_asyncio import Session, TransferFailed  # type: ignore[import-not-found]

Request = dict[str, Any]


def tell(answer: Request) -> None:
    """Write one line to Git LFS."""
    print(json.dumps(answer), flush=True)


async def upload(session: Session, index: Path, request: Request) -> Request:
    """Store a file, then its name in the index: never a name without its file."""
    oid, size = request["oid"], request["size"]
    done = await session.upload(request["path"], size=size, sha256=True)
    if done["sha256"] != oid:
        return {"error": {"code": 1, "message": f"its SHA-256 is {done['sha256']}"}}
    aside = index / f".{oid}.{os.getpid()}"
    aside.write_text(done["manifest"] + "\n")
    aside.replace(index / oid)
    return {}


async def download(session: Session, index: Path, request: Request) -> Request:
    """Fetch a file to a temporary place, from where Git LFS takes it."""
    oid = request["oid"]
    try:
        manifest = (index / oid).read_text().strip()
    except FileNotFoundError:
        return {"error": {"code": 404, "message": "nobody pushed this file to the store"}}
    descriptor, path = tempfile.mkstemp(prefix="lfs-", dir=os.environ.get("GIT_LFS_TEMP"))
    os.close(descriptor)
    await session.download(manifest, path, size=request["size"], sha256=oid)
    return {"path": path}


async def serve(store: str, index: Path) -> None:
    """Do what Git LFS asks for, one file after the other, until it says that it is done."""
    work = {"upload": upload, "download": download}
    async with Session(store) as session:
        while line := await asyncio.to_thread(sys.stdin.readline):
            request = json.loads(line)
            if request["event"] == "init":
                tell({})
                continue
            if request["event"] == "terminate":
                break
            try:
                result = await work[request["event"]](session, index, request)
            except TransferFailed as failed:
                result = {"error": {"code": 1, "message": str(failed)}}
            tell({"event": "complete", "oid": request["oid"], **result})


def main(store: str, index: str) -> None:
    """Serve one run of Git LFS."""
    Path(index).mkdir(parents=True, exist_ok=True)
    asyncio.run(serve(store, Path(index)))


if __name__ == "__main__":
    main(*sys.argv[1:])
