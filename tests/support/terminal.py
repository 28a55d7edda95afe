"""A real terminal to run the worker in: a tmux server of its own, and what its screen shows."""

from __future__ import annotations

import os
import shlex
import shutil
import subprocess
import time
from typing import TYPE_CHECKING

import pytest

from tests.support.worker import NO_HOME

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from pathlib import Path

    from typing_extensions import Self


class Terminal:
    """A terminal; use it in a ``with`` block.

    Args:
        folder: where the server's socket lies, and where the commands run.
        columns: its width.
        rows: its height.
    """

    def __init__(self, folder: Path, *, columns: int = 100, rows: int = 24) -> None:
        program = shutil.which("tmux")
        if not program:
            pytest.skip("tmux is not installed")
        self._command = [program, "-S", str(folder / "tmux"), "-f", "/dev/null"]
        self._folder = folder
        size = ["-x", str(columns), "-y", str(rows)]
        shell = "PS1='$ ' exec bash --norc --noprofile"
        self._tmux("new-session", "-d", *size, "-c", str(folder), shell)

    def enter(self, line: str | Sequence[str]) -> None:
        """Type a command, given as a line or as its words, and press Enter."""
        text = line if isinstance(line, str) else shlex.join(line)
        self._tmux("send-keys", "-l", text)
        self._tmux("send-keys", "Enter")

    def press(self, key: str) -> None:
        """Press a key by tmux's name for it, such as "C-c"."""
        self._tmux("send-keys", key)

    def screen(self, *, colours: bool = False) -> str:
        """Return what the screen shows, without what is blank at its end."""
        options = ["-e"] if colours else []
        return self._tmux("capture-pane", "-p", *options).rstrip()

    def wait_for(self, wanted: str | Callable[[str], bool], timeout: float = 20) -> str:
        """Return the screen once it holds a text, or fits a function.

        Raises:
            TimeoutError: it did not in time.
        """
        fits = (lambda shown: wanted in shown) if isinstance(wanted, str) else wanted
        deadline = time.monotonic() + timeout
        while True:
            shown = self.screen()
            if fits(shown):
                return shown
            if time.monotonic() > deadline:
                raise TimeoutError(f"no {wanted} on the screen:\n{shown}")
            time.sleep(0.03)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_error: object) -> None:
        self._tmux("kill-server")

    def _tmux(self, *arguments: str) -> str:
        environ = {"PATH": os.environ["PATH"], "LANG": "C.UTF-8", "HOME": NO_HOME}
        done = subprocess.run(
            [*self._command, *arguments],
            capture_output=True,
            text=True,
            encoding="utf-8",
            env=environ,
            check=True,
        )
        return done.stdout
