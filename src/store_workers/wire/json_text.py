"""JSON text by the C functions of `json`, without its modules, which import `re`.

That import takes a tenth of a short run. Where these functions are missing or differ, and for
texts that are not JSON, `json` itself does the work; it also words the errors.
"""

from __future__ import annotations

import sys

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable
    from typing import Any

    Pairs = list[tuple[str, Any]]

_WHITE_SPACE = " \t\n\r"


class Decoder:
    """Decodes JSON texts.

    `pairs` makes an object of its names and values; `constant` gets `NaN` and the like, which are
    not JSON. What they raise passes.
    """

    # The attributes that the scanner reads, as `json.JSONDecoder` has them.
    strict = True
    object_hook = None
    parse_float = float
    parse_int = int

    def __init__(self, pairs: Callable[[Pairs], Any], constant: Callable[[str], Any]) -> None:
        self.object_pairs_hook = pairs
        self.parse_constant = constant
        self._scan = _scanner(self)

    def decode(self, text: str) -> Any:
        """Return the value of a text.

        Raises `json.JSONDecodeError`; `ValueError` for an integer with too many digits;
        `RecursionError`.
        """
        if self._scan is not None:
            value = text.strip(_WHITE_SPACE)
            try:
                decoded, end = self._scan(value, 0)
                if end == len(value):
                    return decoded
            except (StopIteration, ValueError, SystemError):
                pass  # CPython before 3.12 misses `json.decoder`, with its exception: SystemError
        from json import loads

        return loads(
            text, object_pairs_hook=self.object_pairs_hook, parse_constant=self.parse_constant
        )


def _scanner(decoder: Any) -> Callable[[str, int], tuple[Any, int]] | None:
    if hasattr(sys, "gettotalrefcount"):
        return None  # a debug build of CPython ends the process on a SystemError
    try:
        from _json import make_scanner

        return make_scanner(decoder)
    except (ImportError, AttributeError):
        return None


def _encoder() -> Callable[[Any, int], Iterable[str]]:
    """Return what makes the pieces of a text; the second argument is the level of indentation."""
    try:
        from _json import encode_basestring_ascii, make_encoder

        make: Any = make_encoder
        return make(  # type: ignore[no-any-return]
            None, None, encode_basestring_ascii, None, ":", ",", False, False, True
        )
    except (ImportError, TypeError):
        from json import JSONEncoder

        return JSONEncoder(separators=(",", ":")).iterencode  # type: ignore[return-value]


_pieces = _encoder()


def encode(value: Any) -> bytes:
    """Return a value as JSON, in ASCII, so that it does not depend on the locale."""
    return "".join(_pieces(value, 0)).encode("ascii")
