"""Errors that any exception becomes."""

from __future__ import annotations

import errno
import os

import pytest

from store_workers.errors import ErrorCode, StreamCorrupt
from store_workers.run.failures import as_worker_error


@pytest.mark.parametrize(
    ("failure", "code"),
    [
        (StreamCorrupt("as it is"), ErrorCode.STREAM_CORRUPT),
        (MemoryError(), ErrorCode.HOST_UNSUPPORTED),
        (ImportError(name="zstandard"), ErrorCode.HOST_UNSUPPORTED),
        (OSError(errno.EMFILE, os.strerror(errno.EMFILE)), ErrorCode.HOST_UNSUPPORTED),
        (OSError(errno.ENOMEM, os.strerror(errno.ENOMEM)), ErrorCode.HOST_UNSUPPORTED),
        (OSError(errno.EFBIG, os.strerror(errno.EFBIG)), ErrorCode.HOST_UNSUPPORTED),
        (FileNotFoundError(errno.ENOENT, "none", os.devnull), ErrorCode.HOST_UNSUPPORTED),
        (RuntimeError("can't allocate lock"), ErrorCode.HOST_UNSUPPORTED),
        (RuntimeError("can't start new thread"), ErrorCode.HOST_UNSUPPORTED),
        (RuntimeError("secret"), ErrorCode.INTERNAL),
        (OSError(errno.EIO, os.strerror(errno.EIO)), ErrorCode.INTERNAL),
        (ZeroDivisionError("secret"), ErrorCode.INTERNAL),
    ],
)
def test_any_exception_has_a_code(failure: Exception, code: ErrorCode) -> None:
    error = as_worker_error(failure)
    assert error.code is code
    assert "secret" not in error.message


def test_a_part_of_the_worker_is_not_called_a_library() -> None:
    """As when another thread's import of it has just failed."""
    error = as_worker_error(ImportError("cannot import name", name="store_workers.stream.codec"))
    assert error.message.startswith("a part of the worker cannot be loaded")
