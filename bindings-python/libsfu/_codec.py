"""Dataclasses of the schema to flatbuffers and back, by the code that flatc generated.

Told: a dataclass, or a buffer from the engine (which is trusted: it made it). Tells: the other. A value that does not
fit its field is an ``InvalidArgumentError`` that names the path of the field. Each table's reader and writer are put
together once, at its first use. Left out: what a value means, which is the engine's business.
"""

from __future__ import annotations

import enum
from importlib import import_module
from typing import Any, Callable, Optional

import flatbuffers

from .errors import Code, InternalError, invalid

# flatc's code has no types.
_fbs: Any = import_module("libsfu._fbs")

Reader = Callable[[Any], Any]
Writer = Callable[[flatbuffers.Builder, Any, str], int]

LIMITS = {
    "byte": (-(2**7), 2**7 - 1),
    "ubyte": (0, 2**8 - 1),
    "uint16": (0, 2**16 - 1),
    "int32": (-(2**31), 2**31 - 1),
    "uint32": (0, 2**32 - 1),
    "int64": (-(2**63), 2**63 - 1),
    "uint64": (0, 2**64 - 1),
}
# flatbuffers' names of the types above, in calls of a builder.
PREPEND = {
    "byte": "PrependInt8",
    "ubyte": "PrependUint8",
    "uint16": "PrependUint16",
    "int32": "PrependInt32",
    "uint32": "PrependUint32",
    "int64": "PrependInt64",
    "uint64": "PrependUint64",
}


class Kind:
    """What a field holds."""


class Integer(Kind):
    """A whole number of a type with bounds."""

    def __init__(self, type_: str) -> None:
        self.low, self.high = LIMITS[type_]
        self.prepend = PREPEND[type_]

    def check(self, value: Any, path: str) -> int:
        if isinstance(value, bool) or not isinstance(value, int) or not self.low <= value <= self.high:
            raise invalid(path, f"{value!r} is not a whole number from {self.low} to {self.high}")
        return value


class Number(Kind):
    """A floating-point number."""

    def check(self, value: Any, path: str) -> float:
        if isinstance(value, bool) or not isinstance(value, (int, float)):
            raise invalid(path, f"{value!r} is not a number")
        try:
            return float(value)
        except OverflowError:
            raise invalid(path, f"{value!r} is larger than a floating-point number can be") from None


class Flag(Kind):
    """True or false."""

    def check(self, value: Any, path: str) -> bool:
        if not isinstance(value, bool):
            raise invalid(path, f"{value!r} is neither True nor False")
        return value


class Text(Kind):
    """A text."""

    def check(self, value: Any, path: str) -> bytes:
        if not isinstance(value, str):
            raise invalid(path, f"{value!r} is not a text")
        try:
            return value.encode()
        except UnicodeEncodeError as error:
            raise invalid(path, f"the text is not Unicode: {error.reason}") from None


class Enumeration(Kind):
    """A member of an enumeration, or its name outside."""

    def __init__(self, enumeration: type[enum.Enum], members: dict[int, Any]) -> None:
        self.enumeration = enumeration
        self.members = members
        self.numbers = {member: number for number, member in members.items()}

    def check(self, value: Any, path: str) -> int:
        try:
            return self.numbers[self.enumeration(value)]
        except ValueError:
            names = ", ".join(str(member) for member in self.numbers)
            raise invalid(path, f"{value!r} is none of {names}") from None

    def read(self, number: int) -> Any:
        member = self.members.get(number)
        if member is None:
            name = self.enumeration.__name__
            raise InternalError(
                f"{name} has no member {number}: the library is newer than the package", code=Code.INTERNAL
            )
        return member


class Nested(Kind):
    """Another table."""

    def __init__(self, table: type) -> None:
        self.table = table


class Vector(Kind):
    """A list."""

    def __init__(self, item: Kind) -> None:
        self.item = item


class Parameters(Kind):
    """Codec parameters: a dictionary here, a list of names and values there."""


class Field:
    """A field: its name here, its name in flatc's code, and what it holds."""

    __slots__ = ("ids", "kind", "name", "required", "wire")

    def __init__(self, name: str, wire: str, kind: Kind, *, required: bool = False, ids: bool = False) -> None:
        self.name, self.wire, self.kind, self.required, self.ids = name, wire, kind, required, ids


class Layout:
    """The fields of a table, and its reader and writer once they were needed."""

    __slots__ = ("fields", "name", "reader", "writer")

    def __init__(self, name: str, fields: tuple[Field, ...]) -> None:
        self.name, self.fields = name, fields
        self.reader: Optional[Reader] = None
        self.writer: Optional[Writer] = None


def layout_of(table: type) -> Layout:
    """The layout of a dataclass of the schema."""
    from ._layout import LAYOUTS

    layout = LAYOUTS.get(table)
    if layout is None:
        raise TypeError(f"{table.__name__} is no table of the schema")
    return layout


# ---- Reading ----


def reader_of(table: type) -> Reader:
    """The function that makes a dataclass of flatc's object."""
    layout = layout_of(table)
    if layout.reader is None:
        layout.reader = _make_reader(table, layout)
    return layout.reader


def read_table(table: type, buffer: Any, position: int) -> Any:
    """The dataclass of the table at that position of a buffer."""
    cursor = getattr(_fbs, table.__name__)()
    cursor.Init(buffer, position)
    return reader_of(table)(cursor)


def _make_reader(table: type, layout: Layout) -> Reader:
    steps = [(field.name, _step(layout.name, field)) for field in layout.fields]

    def read(cursor: Any) -> Any:
        return table(**{name: step(cursor) for name, step in steps})

    return read


def _step(owner: str, field: Field) -> Reader:
    """Reads one field of a table."""
    kind = field.kind
    accessor = getattr(getattr(_fbs, owner), field.wire)
    if isinstance(kind, (Vector, Parameters)):
        length = getattr(getattr(_fbs, owner), field.wire + "Length")
        if isinstance(kind, Parameters):
            return lambda cursor: dict(_parameter(accessor(cursor, i)) for i in range(length(cursor)))
        convert = _conversion(kind.item)
        if convert is None:
            return lambda cursor: [accessor(cursor, i) for i in range(length(cursor))]
        item = convert
        return lambda cursor: [item(accessor(cursor, i)) for i in range(length(cursor))]
    convert = _conversion(kind)
    if convert is None:
        return accessor  # type: ignore[no-any-return]
    one = convert

    def read(cursor: Any) -> Any:
        found = accessor(cursor)
        return None if found is None else one(found)

    return read


def _conversion(kind: Kind) -> Optional[Reader]:
    """What flatc's value still needs; None: nothing."""
    if isinstance(kind, Text):
        return lambda found: found.decode()
    if isinstance(kind, Enumeration):
        return kind.read
    if isinstance(kind, Nested):
        table = kind.table
        return lambda found: reader_of(table)(found)
    return None


def _parameter(cursor: Any) -> tuple[str, Any]:
    name, text, number = cursor.Name(), cursor.Text(), cursor.Number()
    if number is None:
        return name.decode(), (text or b"").decode()
    return name.decode(), int(number) if number == number and abs(number) < 2**53 and number == int(number) else number


# ---- Writing ----


def write_table(builder: flatbuffers.Builder, value: Any, path: str = "") -> int:
    """Writes a dataclass and tells its offset."""
    layout = layout_of(type(value))
    if layout.writer is None:
        layout.writer = _make_writer(layout)
    return layout.writer(builder, value, path)


def _make_writer(layout: Layout) -> Writer:
    start, end = getattr(_fbs, layout.name + "Start"), getattr(_fbs, layout.name + "End")
    steps = []
    for field in layout.fields:
        add = getattr(_fbs, f"{layout.name}Add{field.wire}")
        vector = getattr(_fbs, f"{layout.name}Start{field.wire}Vector", None)
        steps.append((field, add, vector))

    def write(builder: flatbuffers.Builder, value: Any, path: str) -> int:
        prefix = path + "." if path else ""
        ready = []
        for field, add, vector in steps:
            held = getattr(value, field.name)
            here = prefix + field.name
            if held is None:
                if field.required:
                    raise invalid(here, "it is missing; give a value")
                continue
            place = _write_field(builder, field.kind, held, here, vector)
            if place is not None:
                ready.append((add, place))
        start(builder)
        for add, place in ready:
            add(builder, place)
        return int(end(builder))

    return write


def _write_field(builder: flatbuffers.Builder, kind: Kind, value: Any, path: str, vector: Any) -> Any:
    """A scalar as it is, an offset for everything else; None for an empty list, which is the same as an absent one."""
    if isinstance(kind, Vector):
        if isinstance(value, (str, bytes)) or not hasattr(value, "__iter__"):
            raise invalid(path, f"{value!r} is not a list")
        items = list(value)
        return _write_vector(builder, kind.item, items, path, vector) if items else None
    if isinstance(kind, Parameters):
        return _write_parameters(builder, value, path, vector) if value else None
    return _write_one(builder, kind, value, path)


def _write_one(builder: flatbuffers.Builder, kind: Kind, value: Any, path: str) -> Any:
    if isinstance(kind, Nested):
        if not isinstance(value, kind.table):
            raise invalid(path, f"{value!r} is not of {kind.table.__name__}")
        return write_table(builder, value, path)
    if isinstance(kind, Text):
        return builder.CreateString(kind.check(value, path))
    return kind.check(value, path)  # type: ignore[attr-defined]


def _write_vector(builder: flatbuffers.Builder, kind: Kind, items: list[Any], path: str, vector: Any) -> int:
    places = [_write_one(builder, kind, item, f"{path}[{index}]") for index, item in enumerate(items)]
    vector(builder, len(places))
    if isinstance(kind, Integer):
        prepend = getattr(builder, kind.prepend)
    elif isinstance(kind, Enumeration):
        prepend = builder.PrependUint8
    else:
        prepend = builder.PrependUOffsetTRelative
    for place in reversed(places):
        prepend(place)
    return int(builder.EndVector())


def _write_parameters(builder: flatbuffers.Builder, values: Any, path: str, vector: Any) -> int:
    if not hasattr(values, "items"):
        raise invalid(path, f"{values!r} is not a dictionary")
    places = []
    for name, value in values.items():
        here = f"{path}.{name}"
        name_at = builder.CreateString(Text().check(name, path))
        if isinstance(value, str):
            text = builder.CreateString(Text().check(value, here))
            _fbs.ParameterStart(builder)
            _fbs.ParameterAddText(builder, text)
        else:
            number = Number().check(value, here)
            _fbs.ParameterStart(builder)
            _fbs.ParameterAddNumber(builder, number)
        _fbs.ParameterAddName(builder, name_at)
        places.append(_fbs.ParameterEnd(builder))
    vector(builder, len(places))
    for place in reversed(places):
        builder.PrependUOffsetTRelative(place)
    return int(builder.EndVector())


# ---- Messages ----

_TAGS: dict[type, int] = {}
_BARE: dict[int, tuple[bytes, int, int]] = {}


def encode_request(number: int, target: int, body: Any) -> bytes:
    """A size-prefixed message whose content is a request."""
    if not _TAGS:
        from ._layout import REQUESTS

        _TAGS.update({table: tag for tag, table in REQUESTS.items()})
    tag = _TAGS.get(type(body))
    if tag is None:
        raise TypeError(f"{type(body).__name__} is no request")
    if isinstance(target, bool) or not isinstance(target, int) or not 0 <= target < 2**64:
        raise invalid("target", f"{target!r} is not an id of 64 bits")
    if not layout_of(type(body)).fields and number and target:
        return _bare_request(number, target, body, tag)
    return _built_request(number, target, body, tag)


def _bare_request(number: int, target: int, body: Any, tag: int) -> bytes:
    """A request without fields is always the same but for two numbers: a tenth of the time of building it."""
    known = _BARE.get(tag)
    if known is None:
        # Numbers that occur nowhere else in so short a message.
        form = _built_request(0xA1B2C3D4E5F60718, 0x18F7E6D5C4B3A291, body, tag)
        places = [form.index(mark.to_bytes(8, "little")) for mark in (0xA1B2C3D4E5F60718, 0x18F7E6D5C4B3A291)]
        known = _BARE[tag] = (form, places[0], places[1])
    message = bytearray(known[0])
    message[known[1] : known[1] + 8] = number.to_bytes(8, "little")
    message[known[2] : known[2] + 8] = target.to_bytes(8, "little")
    return bytes(message)


def _built_request(number: int, target: int, body: Any, tag: int) -> bytes:
    builder = flatbuffers.Builder(256)
    place = write_table(builder, body)
    _fbs.RequestStart(builder)
    _fbs.RequestAddId(builder, number)
    _fbs.RequestAddTarget(builder, target)
    _fbs.RequestAddBodyType(builder, tag)
    _fbs.RequestAddBody(builder, place)
    return _finished(builder, _fbs.Content.Request, _fbs.RequestEnd(builder))


def encode_options(options: Any) -> bytes:
    """A size-prefixed message whose content is the options of an engine."""
    builder = flatbuffers.Builder(256)
    return _finished(builder, _fbs.Content.EngineOptions, write_table(builder, options))


def _finished(builder: flatbuffers.Builder, tag: int, content: int) -> bytes:
    _fbs.MessageStart(builder)
    _fbs.MessageAddContentType(builder, tag)
    _fbs.MessageAddContent(builder, content)
    builder.FinishSizePrefixed(_fbs.MessageEnd(builder), b"LSFU")
    return bytes(builder.Output())
