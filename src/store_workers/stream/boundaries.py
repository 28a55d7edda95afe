"""Where the content marks off a span: FastCDC (Xia and others, 2020), by `pyfastcdc`'s kernel.

A boundary depends on the bytes just before it alone. So after an edit the old boundaries are found
again, and all spans but those around the edit are the same as before.
"""

from __future__ import annotations

from store_workers.errors import ErrorCode, WorkerError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

SHORTEST = 256 * 1024
CENTER = 768 * 1024
"""Bytes of a span behind which boundaries become likelier."""

LONGEST = 4 * 1024 * 1024
NORMALIZATION = 1
"""How much likelier: one bit of the mask on either side of the center.

More makes spans more alike in length, and so longer in finding the old boundaries again after a
deletion. These four are part of the stored form: they decide hashes
(`benchmarks/results/boundaries.md`). They give spans of some 1.1 MiB.
"""


def boundary_finder() -> Callable[[memoryview], int]:
    """A function that tells the length of the first span in some bytes.

    That is all of them where no boundary is among them and they are no longer than `LONGEST`.
    Other threads run meanwhile. Raises `HOST_UNSUPPORTED`.
    """
    try:
        from pyfastcdc.cy.fastcdc import FastCDC
    except ImportError:
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
