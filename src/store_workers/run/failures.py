"""Converts any exception to an error with a code and a message for people."""

from __future__ import annotations

import errno
import os

from store_workers.errors import ErrorCode, WorkerError, reason

DEBUG_VARIABLE = "STORE_WORKERS_DEBUG"


_EXHAUSTED = frozenset({errno.EMFILE, errno.ENFILE, errno.ENOMEM})
"""Errors that any call can raise, also the import of a module."""


def as_worker_error(failure: BaseException) -> WorkerError:
    """Return the error to report. An unexpected exception is a bug in the worker."""
    if os.environ.get(DEBUG_VARIABLE) == "1":
        import traceback

        traceback.print_exception(type(failure), failure, failure.__traceback__)
    if isinstance(failure, WorkerError):
        return failure
    if isinstance(failure, MemoryError):
        return WorkerError(ErrorCode.HOST_UNSUPPORTED, "out of memory")
    if isinstance(failure, ImportError):
        return WorkerError(ErrorCode.HOST_UNSUPPORTED, _not_importable(failure))
    if isinstance(failure, OSError) and failure.errno in _EXHAUSTED:
        return WorkerError(ErrorCode.HOST_UNSUPPORTED, f"a limit of this host: {reason(failure)}")
    return WorkerError(
        ErrorCode.INTERNAL, f"a bug in the worker: {type(failure).__name__}{_place(failure)}"
    )


def _not_importable(failure: ImportError) -> str:
    name = (failure.name or "").partition(".")[0]
    what = f"the library {name}" if name else "a library"
    return (
        f"{what} cannot be loaded on this host: there is too little memory, no"
        " directory from which programs may be loaded, or this copy was not built for the platform"
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
