"""Content-defined boundaries of spans: FastCDC (Xia and others, 2020), by `pyfastcdc`'s kernel.

A boundary depends only on the bytes just before it. So after an edit, the old boundaries are found
again, and only the spans around the edit differ.
"""

from __future__ import annotations

from store_workers.errors import ErrorCode, WorkerError
from store_workers.stream.spans import LONGEST_SPAN

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

SHORTEST = 256 * 1024
CENTER = 768 * 1024
"""Bytes of a span after which boundaries become more likely."""

LONGEST = LONGEST_SPAN
NORMALIZATION = 1
"""How much more likely: one bit of the mask on either side of the center.

More makes the lengths of spans more equal, and finding the old boundaries after a deletion takes
longer. These four are part of the stored form: they decide hashes
(`benchmarks/results/boundaries.md`). The mean span is about 1.1 MiB.
"""


def boundary_finder() -> Callable[[memoryview], int]:
    """Return a function that returns the length of the first span in some bytes.

    Without a boundary, that is the length of the bytes, if they are not longer than `LONGEST`. It
    releases the GIL. Raises `HOST_UNSUPPORTED`.
    """
    try:
        from pyfastcdc.cy.fastcdc import FastCDC
    except ImportError as error:
        # The package looks for its variant in Python, which is not bundled, after either.
        cause = error.__context__
        if isinstance(cause, ImportError) and not isinstance(cause, ModuleNotFoundError):
            raise cause from None  # it exists, but cannot be loaded: a limit of this host
        raise WorkerError(
            ErrorCode.HOST_UNSUPPORTED,
            'settings.boundaries: "content" requires a library that is not available for this host;'
            ' "fixed" works here',
        ) from None
    kernel = FastCDC(CENTER, min_size=SHORTEST, max_size=LONGEST, normalized_chunking=NORMALIZATION)

    def first_boundary(data: memoryview) -> int:
        for span in kernel.cut_buf(data):
            return int(span.length)
        return 0

    return first_boundary
