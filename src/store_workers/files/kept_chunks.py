"""The last chunks that a download fetched, kept on disk until their frames are written.

They are in a ring of slots, which are overwritten before the system writes most of them to disk. A
slot has the hash of its chunk, and its bytes are used only if they have that SHA-256.
"""

from __future__ import annotations

import os
import struct
import threading
from contextlib import suppress
from hashlib import sha256

SLOTS = 64
"""More than a usual run has in flight and not yet written. The oldest ones are overwritten."""

MOST_BYTES = 32 * 1024 * 1024
"""Maximum size of the ring on disk in bytes."""

_HEAD = struct.Struct("<QQ32s")  # the bytes of a slot, and of the chunk, and its hash
_PAGE = 4096
_LARGEST_SLOT = 16 * 1024 * 1024


class KeptChunks:
    """A ring of chunks in a file that only this process uses. Safe from many threads.

    Errors of the file are ignored: the chunk is then fetched.
    """

    def __init__(self, descriptor: int) -> None:
        self._descriptor = descriptor
        self._lock = threading.Lock()  # guards the attributes below
        self._stride = 0
        self._next = 0
        self._places: dict[str, int] = {}
        self._given_up = False
        with suppress(OSError):
            self._find()

    def is_empty(self) -> bool:
        """Return whether no chunk was ever kept."""
        return not self._stride

    def get(self, hash: str) -> bytes | None:
        """Return the chunk of that hash; None if it is missing or damaged."""
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
        """Keep a chunk in place of the oldest one."""
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
        """Free the space. Return false if that was done before."""
        with self._lock:
            given_up, self._given_up = self._given_up, True
            self._places.clear()
        with suppress(OSError):
            os.ftruncate(self._descriptor, 0)
        return not given_up

    def _slots(self) -> int:
        return max(1, min(SLOTS, MOST_BYTES // self._stride))

    def _find(self) -> None:
        """Find the chunks that an earlier run kept. New ones are written after them."""
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
