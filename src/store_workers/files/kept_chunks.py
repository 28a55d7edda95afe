"""The last chunks that a download fetched, kept until their frames are written.

They lie in a ring of slots, so that the disk need not write most of them. A slot says whose bytes
it holds, and they are believed only where they have that SHA-256.
"""

from __future__ import annotations

import os
import struct
import threading
from contextlib import suppress
from hashlib import sha256

SLOTS = 64
"""More than a usual run has in flight and not yet written; beyond that the oldest are forgotten."""

MOST_BYTES = 32 * 1024 * 1024
"""Bytes that the ring takes on the disk at most."""

_HEAD = struct.Struct("<QQ32s")  # a slot's bytes, the chunk's, its hash
_PAGE = 4096
_LARGEST_SLOT = 16 * 1024 * 1024


class KeptChunks:
    """A ring of chunks in a file of this process's own. Safe from many threads.

    Nothing fails where the file cannot be read or written: the chunk is fetched then.
    """

    def __init__(self, descriptor: int) -> None:
        self._descriptor = descriptor
        self._lock = threading.Lock()  # for all below
        self._stride = 0
        self._next = 0
        self._places: dict[str, int] = {}
        self._given_up = False
        with suppress(OSError):
            self._find()

    def is_empty(self) -> bool:
        """Was no chunk ever kept?"""
        return not self._stride

    def get(self, hash: str) -> bytes | None:
        """The chunk of that hash, None where it is not there or not right."""
        with self._lock:
            slot = self._places.get(hash)
        if slot is None:
            return None
        with suppress(OSError):
            place = slot * self._stride
            _, length, _ = _HEAD.unpack(os.pread(self._descriptor, _HEAD.size, place))
            data = os.pread(self._descriptor, min(length, self._stride), place + _HEAD.size)
            if sha256(data).hexdigest() == hash:
                return data
        return None

    def put(self, hash: str, data: bytes) -> None:
        """Keep a chunk, in place of the oldest one."""
        with self._lock:
            if not self._stride:
                self._stride = -(-(_HEAD.size + len(data)) // _PAGE) * _PAGE
            if _HEAD.size + len(data) > self._stride or self._given_up:
                return
            slot = self._next
            self._next = (slot + 1) % self._slots()
        head = _HEAD.pack(self._stride, len(data), bytes.fromhex(hash))
        with suppress(OSError):
            os.pwritev(self._descriptor, [head, data], slot * self._stride)

    def give_up(self) -> bool:
        """Leave the space to others; False where that was done before."""
        with self._lock:
            given_up, self._given_up = self._given_up, True
            self._places.clear()
        with suppress(OSError):
            os.ftruncate(self._descriptor, 0)
        return not given_up

    def _slots(self) -> int:
        return max(1, min(SLOTS, MOST_BYTES // self._stride))

    def _find(self) -> None:
        """Look which chunks an earlier run has kept; the next ones take the places behind them."""
        head = os.pread(self._descriptor, _HEAD.size, 0)
        stride = _HEAD.unpack(head)[0] if len(head) == _HEAD.size else 0
        if not _PAGE <= stride <= _LARGEST_SLOT:
            return
        self._stride = stride
        for slot in range(self._slots()):
            head = os.pread(self._descriptor, _HEAD.size, slot * stride)
            if len(head) < _HEAD.size:
                break
            self._places[_HEAD.unpack(head)[2].hex()] = slot
            self._next = (slot + 1) % self._slots()
