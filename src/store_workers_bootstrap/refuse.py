# mypy: ignore-errors
# ruff: noqa: F821, PTH
"""Report that this host cannot run the artifact: one line, then status 1.

Parses on Python 2.7 and later, and runs on whatever Python a host has. ``reason`` is what is
missing.
"""

import os
import platform
import subprocess
import sys

MINORS = (13, 12, 11, 10, 14, 15)
CANDIDATES = ["python3.%d" % minor for minor in MINORS]
CANDIDATES.append("python3")
# A quick check in a child process; any failure means no.
PROBE = (
    "import sys, zlib; sys.exit(sys.version_info < (3, 10) or sys.implementation.name != 'cpython')"
)


def suitable_python():
    """Return the path of the best Python on the PATH that could run the artifact, or None."""
    folders = [each for each in os.environ.get("PATH", "").split(os.pathsep) if os.path.isabs(each)]
    own = os.path.realpath(sys.executable)
    for path in [os.path.join(folder, name) for name in CANDIDATES for folder in folders]:
        if os.access(path, os.X_OK) and os.path.realpath(path) != own and works(path):
            return path
    return None


def works(path):
    """Return whether the Python at ``path`` starts and is of a supported kind."""
    with open(os.devnull, "r+b") as nothing:
        try:
            return not subprocess.call(
                [path, "-I", "-c", PROBE], stdin=nothing, stdout=nothing, stderr=nothing
            )
        except OSError:
            return False


def main(reason):
    """Write the line and end with status 1."""
    import json

    found = "this is %s %s at %s" % (
        platform.python_implementation(),
        platform.python_version(),
        sys.executable,
    )
    other = suitable_python()
    advice = "this host has one: %s" % other if other else "there is none on the PATH"
    message = "%s (%s); %s" % (reason, found, advice)
    if len(sys.argv) > 1:  # a command line: a person reads this
        name = os.path.basename(sys.argv[0])
        sys.stderr.write("%s: %s (HOST_UNSUPPORTED)\n" % (name, message))
    else:
        line = {"type": "ERROR", "code": "HOST_UNSUPPORTED", "message": message, "retryable": False}
        sys.stdout.write(json.dumps(line) + "\n")
    sys.exit(1)


main(reason)  # given by the lines that run this
