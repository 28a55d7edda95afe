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
        (OSError(errno.EIO, os.strerror(errno.EIO)), ErrorCode.INTERNAL),
        (ZeroDivisionError("secret"), ErrorCode.INTERNAL),
    ],
)
def test_any_exception_has_a_code(failure: Exception, code: ErrorCode) -> None:
    error = as_worker_error(failure)
    assert error.code is code
    assert "secret" not in error.message
