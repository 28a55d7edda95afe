"""Converts any exception to an error with a code and a message for people."""

from __future__ import annotations

import errno
import os
from contextlib import suppress

from store_workers.errors import ErrorCode, WorkerError, reason

DEBUG_VARIABLE = "STORE_WORKERS_DEBUG"


_EXHAUSTED = frozenset({errno.EMFILE, errno.ENFILE, errno.ENOMEM, errno.EFBIG})
"""Errors that any call can raise, also the import of a module."""

_NOT_GIVEN = frozenset({"can't allocate lock", "can't start new thread"})
"""What Python says, in a `RuntimeError`, if the system gives it no lock or no thread."""


def as_worker_error(failure: BaseException) -> WorkerError:
    """Return the error to report. An unexpected exception is a bug in the worker."""
    if os.environ.get(DEBUG_VARIABLE) == "1":
        with suppress(Exception):  # the limit that is to be reported can prevent it
            import traceback

            traceback.print_exception(type(failure), failure, failure.__traceback__)
    if isinstance(failure, WorkerError):
        return failure
    limit = _limit(failure)
    if limit:
        return WorkerError(ErrorCode.HOST_UNSUPPORTED, limit)
    return WorkerError(
        ErrorCode.INTERNAL, f"a bug in the worker: {type(failure).__name__}{_place(failure)}"
    )


def _limit(failure: BaseException) -> str:
    """Return what this host lacks, if that is what the failure shows, otherwise ""."""
    if isinstance(failure, MemoryError):
        return "out of memory"
    if isinstance(failure, ImportError):
        return _not_importable(failure)
    if isinstance(failure, OSError) and failure.errno in _EXHAUSTED:
        return f"a limit of this host: {reason(failure)}"
    if isinstance(failure, OSError) and failure.filename == os.devnull:
        return f"this host has no {os.devnull}: {reason(failure)}"
    if isinstance(failure, RuntimeError) and str(failure) in _NOT_GIVEN:
        return f"a limit of this host: {failure}"
    return ""


def _not_importable(failure: ImportError) -> str:
    name = (failure.name or "").partition(".")[0]
    what = "a part of the worker" if name in ("", "store_workers") else f"the library {name}"
    return (
        f"{what} cannot be loaded on this host: there is too little memory, there are too few open"
        " files (ulimit -n), no directory from which programs may be loaded, or this copy was not"
        " built for the platform"
    )


def _place(failure: BaseException) -> str:
    """Return the place of a failure: module and line."""
    trace = failure.__traceback__
    while trace is not None and trace.tb_next is not None:
        trace = trace.tb_next
    if trace is None:
        return ""
    code = trace.tb_frame.f_code
    return f" in {os.path.basename(code.co_filename)}, {code.co_name}, line {trace.tb_lineno}"
