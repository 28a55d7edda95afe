"""Immutable records that are declared once, for decoding, encoding and the schema.

A record is a class whose attributes are made by `field`. The declaration serves the decoder, the
encoder and the JSON Schema (`schema.py`), so these always agree. Records replace dataclasses, whose
imports would take time at every start.
"""

from __future__ import annotations

from store_workers.errors import BadMessage

TYPE_CHECKING = False
if TYPE_CHECKING:
    from enum import Enum
    from typing import Any, ClassVar, TypeVar

    from typing_extensions import Self, dataclass_transform

    R = TypeVar("R", bound="Record")
else:

    def dataclass_transform(**_options):
        """Replace typing's decorator at run time: only type checkers use it."""
        return lambda decorated: decorated


REQUIRED: Any = object()
"""The default of a field that has none."""


class Kind:
    """A type of JSON values. `check` returns the value as the program uses it."""

    expected = "a value"

    def check(self, value: Any, where: str) -> Any:
        """Return `value` if it is of this kind; raise `BadMessage` naming `where` if not."""
        raise NotImplementedError

    def schema(self) -> dict[str, Any]:
        """Return this kind in JSON Schema (draft 2020-12)."""
        raise NotImplementedError

    def refuse(self, where: str, value: Any, *, show: bool = False) -> BadMessage:
        """Return the error for `value`. `show`: quote it, since it cannot be a secret."""
        got = brief(value) if show else json_type(value)
        return BadMessage(where, f"expected {self.expected}, got {got}")


class Boolean(Kind):
    """`true` or `false`."""

    expected = "true or false"

    def check(self, value: Any, where: str) -> bool:
        if not isinstance(value, bool):
            raise self.refuse(where, value)
        return value

    def schema(self) -> dict[str, Any]:
        return {"type": "boolean"}


class Integer(Kind):
    """An integer within bounds, both included. JSON's `5.0` is refused."""

    def __init__(self, minimum: int, maximum: int | None = None) -> None:
        self.minimum = minimum
        self.maximum = maximum
        bounds = f"from {minimum} to {maximum}" if maximum is not None else f"of at least {minimum}"
        self.expected = f"an integer {bounds}"

    def check(self, value: Any, where: str) -> int:
        if type(value) is not int:
            raise self.refuse(where, value)
        if value < self.minimum or (self.maximum is not None and value > self.maximum):
            raise self.refuse(where, value, show=True)
        return value

    def schema(self) -> dict[str, Any]:
        bounds: dict[str, Any] = {"type": "integer", "minimum": self.minimum}
        if self.maximum is not None:
            bounds["maximum"] = self.maximum
        return bounds


COUNT = Integer(0)
"""A number of items or bytes."""


class String(Kind):
    """Text. `secret` text is never shown, and must be valid in an HTTP header."""

    def __init__(self, *, least: int = 0, secret: bool = False) -> None:
        self.least = least
        self.secret = secret
        self.expected = "a non-empty string" if least else "a string"

    def check(self, value: Any, where: str) -> str:
        if not isinstance(value, str) or len(value) < self.least:
            raise self.refuse(where, value)
        if self.secret and not (value.isascii() and value.isprintable()):
            raise BadMessage(where, "expected printable ASCII characters only")
        return value

    def schema(self) -> dict[str, Any]:
        text: dict[str, Any] = {"type": "string"}
        if self.least:
            text["minLength"] = self.least
        if self.secret:
            text["pattern"] = "^[ -~]*$"  # printable ASCII
        return text


class Path(String):
    """A file name: not empty, no NUL. Bytes that are not UTF-8 are PEP 383 surrogates."""

    def __init__(self) -> None:
        super().__init__(least=1)

    def check(self, value: Any, where: str) -> str:
        path = super().check(value, where)
        if "\0" in path:
            raise BadMessage(where, "must not contain a NUL character")
        if not is_encodable(path):
            raise BadMessage(where, "contains a lone surrogate that does not stand for a byte")
        return path


class Argument(String):
    """An argument of a command: no NUL; bytes that are not UTF-8 as in a `Path`."""

    def check(self, value: Any, where: str) -> str:
        argument = super().check(value, where)
        if "\0" in argument or not is_encodable(argument):
            raise BadMessage(
                where, "contains a character that is not allowed in an argument of a command"
            )
        return argument


class Digest(Kind):
    """A SHA-256 in hex."""

    expected = "64 lower-case hex digits"

    def check(self, value: Any, where: str) -> str:
        if not isinstance(value, str):
            raise self.refuse(where, value)
        if len(value) != 64 or not HEX_DIGITS.issuperset(value):
            raise self.refuse(where, value, show=True)
        return value

    def schema(self) -> dict[str, Any]:
        return {"type": "string", "pattern": "^[0-9a-f]{64}$"}


class Array(Kind):
    """A list of one kind."""

    def __init__(self, item: Kind, *, least: int = 0) -> None:
        self.item = item
        self.least = least
        self.expected = f"a list of at least {least}" if least else "a list"

    def check(self, value: Any, where: str) -> tuple[Any, ...]:
        if not isinstance(value, list):
            raise self.refuse(where, value)
        if len(value) < self.least:
            raise BadMessage(where, f"expected {self.expected}, got {len(value)}")
        check = self.item.check
        return tuple([check(item, f"{where}[{i}]") for i, item in enumerate(value)])

    def schema(self) -> dict[str, Any]:
        items: dict[str, Any] = {"type": "array", "items": self.item.schema()}
        if self.least:
            items["minItems"] = self.least
        return items


class Choice(Kind):
    """One word of a closed set."""

    def __init__(self, words: type[Enum]) -> None:
        self.words = words
        self.expected = " or ".join(f'"{word.value}"' for word in words)

    def check(self, value: Any, where: str) -> Enum:
        if not isinstance(value, str):
            raise self.refuse(where, value)
        try:
            return self.words(value)
        except ValueError:
            raise self.refuse(where, value, show=True) from None

    def schema(self) -> dict[str, Any]:
        return {"type": "string", "enum": [word.value for word in self.words]}


class OneOf(Kind):
    """One number of a closed set."""

    def __init__(self, values: tuple[int, ...]) -> None:
        self.values = values
        self.expected = ", ".join(map(str, values[:-1])) + f" or {values[-1]}"

    def check(self, value: Any, where: str) -> int:
        if isinstance(value, bool) or not isinstance(value, int):
            raise self.refuse(where, value)
        if value not in self.values:
            raise self.refuse(where, value, show=True)
        return value

    def schema(self) -> dict[str, Any]:
        return {"type": "integer", "enum": list(self.values)}


class Nested(Kind):
    """An object with fields of its own."""

    expected = "an object"

    def __init__(self, record: type[Record]) -> None:
        self.record = record

    def check(self, value: Any, where: str) -> Record:
        return self.record.decode(value, where)

    def schema(self) -> dict[str, Any]:
        return {"$ref": f"#/$defs/{self.record.__name__}"}


class Dictionary(Kind):
    """An object with any names, or with names that match the pattern `names` (JSON Schema's)."""

    def __init__(self, item: Kind, *, names: str | None = None) -> None:
        self.item = item
        self.names = names
        self.expected = "an object whose values are strings"

    def check(self, value: Any, where: str) -> dict[str, Any]:
        if not isinstance(value, dict):
            raise self.refuse(where, value)
        return {
            name: self.item.check(each, f"{where}.{printable(name)}")
            for name, each in value.items()
        }

    def schema(self) -> dict[str, Any]:
        schema = {"type": "object", "additionalProperties": self.item.schema()}
        return {**schema, "propertyNames": {"pattern": self.names}} if self.names else schema


class Nullable(Kind):
    """Another kind or `null`. `null` is encoded, not omitted."""

    def __init__(self, kind: Kind) -> None:
        self.kind = kind
        self.expected = f"{kind.expected} or null"

    def check(self, value: Any, where: str) -> Any:
        return None if value is None else self.kind.check(value, where)

    def schema(self) -> dict[str, Any]:
        return {"anyOf": [self.kind.schema(), {"type": "null"}]}


class Field:
    """One field of a record. If its default is `None`, it is omitted while it is `None`."""

    __slots__ = ("default", "doc", "encoded_as_null", "kind")

    def __init__(self, kind: Kind, default: Any, doc: str) -> None:
        self.kind = kind
        self.default = default
        self.doc = doc
        self.encoded_as_null = isinstance(kind, Nullable)


def field(kind: Kind, *, default: Any = REQUIRED, doc: str) -> Any:
    """Declare a field of a record: its kind, its default if it has one, and what it means."""
    return Field(kind, default, doc)


@dataclass_transform(kw_only_default=True, frozen_default=True, field_specifiers=(field,))
class Record:
    """The base of all records: made from keyword arguments, immutable."""

    FIELDS: ClassVar[dict[str, Field]] = {}
    DEFAULTS: ClassVar[dict[str, Any]] = {}
    """The defaults of all fields, in order; `REQUIRED` for a field that has none."""
    NEEDED: ClassVar[frozenset[str]] = frozenset()
    """The fields that have no default."""

    def __init_subclass__(cls) -> None:
        own = {name: value for name, value in vars(cls).items() if isinstance(value, Field)}
        cls.FIELDS = {**cls.FIELDS, **own}
        cls.DEFAULTS = {name: spec.default for name, spec in cls.FIELDS.items()}
        cls.NEEDED = frozenset(n for n, spec in cls.FIELDS.items() if spec.default is REQUIRED)

    def __init__(self, **values: Any) -> None:
        slots = self.__dict__
        slots.update(self.DEFAULTS)
        slots.update(values)
        if len(slots) > len(self.FIELDS):
            unknown = [name for name in values if name not in self.FIELDS]
            raise TypeError(f"{type(self).__name__} has no {', '.join(unknown)}")
        if not values.keys() >= self.NEEDED:
            missing = [name for name in self.FIELDS if name in self.NEEDED - values.keys()]
            raise TypeError(f"{type(self).__name__} needs {', '.join(missing)}")

    def __setattr__(self, name: str, value: Any) -> None:
        raise AttributeError(f"{type(self).__name__} is immutable")

    def __eq__(self, other: object) -> bool:
        return type(other) is type(self) and self.__dict__ == other.__dict__

    __hash__ = None  # type: ignore[assignment]

    @classmethod
    def decode(cls, value: Any, where: str = "", inherited: dict[str, Any] | None = None) -> Self:
        """Make the record from a decoded JSON object; raise `BadMessage` naming what is wrong.

        `inherited`: values of fields, already checked, that replace their defaults.
        """
        if not isinstance(value, dict):
            raise BadMessage(where, f"expected an object, got {json_type(value)}")
        prefix = f"{where}." if where else ""
        values = dict(inherited) if inherited else {}
        for name, given in value.items():
            spec = cls.FIELDS.get(name)
            if spec is None:
                raise BadMessage(f"{prefix}{printable(name)}", "unknown field")
            values[name] = spec.kind.check(given, f"{prefix}{name}")
        for name in cls.FIELDS:
            if name in cls.NEEDED and name not in value:
                expected = cls.FIELDS[name].kind.expected
                raise BadMessage(
                    f"{prefix}{name}", f"required field is missing: expected {expected}"
                )
        return cls(**values)

    def encode(self) -> dict[str, Any]:
        """Return the record as a JSON object, in the order of the declared fields."""
        slots = self.__dict__
        return {
            name: slots[name]
            for name, spec in self.FIELDS.items()
            if slots[name] is not None or spec.encoded_as_null
        }


HEX_DIGITS = frozenset("0123456789abcdef")
_SHOWN_AT_MOST = 80


def is_encodable(text: str) -> bool:
    """Return whether the text can be encoded as UTF-8 with PEP 383 surrogates."""
    try:
        text.encode("utf-8", "surrogateescape")
    except UnicodeEncodeError:
        return False
    return True


def json_type(value: Any) -> str:
    """Return the JSON name of a value's type, with its article."""
    if value is None:
        return "null"
    if isinstance(value, bool):
        return "a boolean"
    if isinstance(value, (int, float)):
        return "a number"
    if isinstance(value, str):
        return "a string" if value else "an empty string"
    return "a list" if isinstance(value, (list, tuple)) else "an object"


def brief(value: Any) -> str:
    """Return a number or a string for use in a sentence, cut if it is long."""
    if isinstance(value, int) and abs(value) >= 1 << 64:
        return "a number far outside"
    return printable(value) if isinstance(value, str) else str(value)


def printable(text: str) -> str:
    """Return text of others on one line, printable, cut if it is long."""
    cut = text if len(text) <= _SHOWN_AT_MOST else text[:_SHOWN_AT_MOST] + "…"
    return ascii(cut)[1:-1] if not cut.isprintable() else cut
