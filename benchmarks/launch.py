"""Start one program, wait for its end, and say how long it took and what it used.

    python3 -I -S benchmarks/launch.py pipe|null COMMAND… <INPUT

A process of its own, and as small as it can be: the kernel counts what a child's parent used as
the child's own peak memory. The input is waiting in a pipe when the program starts. Prints a line
of JSON (seconds, processor seconds, bytes at the peak, exit status), and then, with "pipe", what
the program printed.
"""

from __future__ import annotations

import fcntl
import os
import sys
import time

PIPE_SIZE = 1 << 20
F_SETPIPE_SZ = 1031  # Linux; named by fcntl from Python 3.10 on, but not in every build
READ_SIZE = 1 << 16


def main(output: str, command: list[str]) -> None:
    """Measure one run; see the module's text."""
    given = waiting(sys.stdin.buffer.read())
    null = os.open(os.devnull, os.O_WRONLY)
    taken, printed = os.pipe() if output == "pipe" else (-1, null)
    actions = [(os.POSIX_SPAWN_DUP2, given, 0), (os.POSIX_SPAWN_DUP2, printed, 1)]
    started = time.perf_counter()
    child = os.posix_spawnp(command[0], command, os.environ, file_actions=actions)
    os.close(printed)
    said = b"".join(read_all(taken)) if taken >= 0 else b""
    _, status, used = os.wait4(child, 0)
    seconds = time.perf_counter() - started
    code = os.waitstatus_to_exitcode(status)
    processor = used.ru_utime + used.ru_stime
    line = (
        f'{{"seconds":{seconds:.6f},"processor":{processor:.6f},'
        f'"peak":{used.ru_maxrss * 1024},"status":{code}}}\n'
    )
    sys.stdout.buffer.write(line.encode() + said)


def waiting(message: bytes) -> int:
    """Return the end of a pipe from which the whole message can be read at once."""
    end, entry = os.pipe()
    fcntl.fcntl(entry, F_SETPIPE_SZ, PIPE_SIZE)
    os.set_blocking(entry, False)
    if os.write(entry, message) < len(message) if message else False:
        raise SystemExit(f"a message of {len(message)} bytes does not fit into a pipe")
    os.close(entry)
    return end


def read_all(end: int) -> list[bytes]:
    """Read a pipe until nobody holds its other end."""
    said = []
    while block := os.read(end, READ_SIZE):
        said.append(block)
    return said


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2:])
