"""Inputs that are the same on every machine and in every run."""

from __future__ import annotations

import functools
import random
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

KIB = 1024
MIB = 1024 * KIB


def noise(size: int, seed: int = 1) -> bytes:
    """Return bytes that do not compress."""
    return random.Random(seed).randbytes(size)


def text(size: int, seed: int = 2) -> bytes:
    """Return words in lines: bytes that compress about as source code does."""
    chance = random.Random(-1 - seed)
    picked = chance.choices(lines(seed), k=size // 60 + 1)
    return "\n".join(picked).encode().ljust(size, b"\n")[:size]


@functools.cache
def lines(seed: int) -> list[str]:
    """Return lines of a text, made once in a process."""
    chance = random.Random(seed)
    letters = "etaoinshrdlucmfwypvbgkjqxz"
    lengths = chance.choices(range(2, 13), k=4000)
    words = ["".join(chance.choices(letters[: 2 * n + 2], k=n)) for n in lengths]
    words += ["\n", ", ", "def ", "return "]
    return [" ".join(chance.choices(words, k=12)) for _ in range(20000)]


def mixed(size: int, seed: int = 3) -> bytes:
    """Return runs of zeros, text, noise and repetitions in turn, of uneven lengths."""
    chance = random.Random(seed)
    words, random_bytes = text(MIB, seed), noise(MIB, seed)
    pieces: list[bytes] = []
    length = 0
    while length < size:
        step = chance.randrange(1, 700 * KIB)
        start = chance.randrange(MIB - step)
        source = chance.choice([words, random_bytes, bytes(MIB), b"abcdefg" * (MIB // 7 + 1)])
        pieces.append(source[start : start + step])
        length += step
    return b"".join(pieces)[:size]


INPUTS: dict[str, Callable[[], bytes]] = {
    "0 bytes": lambda: b"",
    "1 byte": lambda: b"x",
    "4095 bytes": lambda: noise(4095),
    "4096 bytes": lambda: noise(4096),
    "600 KiB": lambda: noise(600 * KIB),
    "9 MiB of zeros": lambda: bytes(9 * MIB),
    "9 MiB of text": lambda: text(9 * MIB),
    "15 MiB mixed": lambda: mixed(15 * MIB),
}


class Inputs:
    """Makes each input once, as a file in one folder."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def path(self, name: str) -> Path:
        """Return the file that holds the input of that name."""
        path = self.folder / name.replace(" ", "-")
        if not path.exists():
            path.write_bytes(INPUTS[name]())
        return path
