"""Closed sets of words, in place of enums.

`enum`, its classes, and `signal`, which imports it, would take a tenth of a short run. To type
checkers `Words` is an enum, and a set is declared as one: `class Code(Words)`. At run time it has
what the worker uses of an enum: words are strings with `name` and `value`, a set lists its words
in order, and is called to find one by its value.
"""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from enum import Enum

    class Words(str, Enum):
        """The base of a set."""

else:

    class _Set(type):
        """The class of a set, as `EnumMeta` is that of an enum."""

        def __init__(cls, name, bases, namespace):
            super().__init__(name, bases, namespace)
            cls._words = {}
            for key, value in namespace.items():
                if not key.startswith("_"):
                    word = cls._words[value] = str.__new__(cls, value)
                    word.name, word.value = key, value
                    setattr(cls, key, word)

        def __call__(cls, value):
            if value not in cls._words:
                raise ValueError(f"{value!r} is not a valid {cls.__name__}")
            return cls._words[value]

        def __iter__(cls):
            return iter(cls._words.values())

    class Words(str, metaclass=_Set):  # noqa: SLOT000 - a word has attributes
        """The base of a set."""
