"""Whether the package says and tells all that the schema holds, as flatc has read it."""

from __future__ import annotations

import dataclasses
import inspect
from typing import Any

import flatbuffers

import libsfu.aio
from libsfu._codec import (
    Enumeration,
    Flag,
    Integer,
    Kind,
    Nested,
    Number,
    Parameters,
    Text,
    Vector,
    _fbs,
    read_table,
    write_table,
)
from libsfu._layout import EVENTS, LAYOUTS, REPLIES, REQUESTS
from libsfu.aio import _engine, _objects, _streams


def wires(table: str) -> set[str]:
    """The fields of a table in flatc's code."""
    names = {name for name in vars(getattr(_fbs, table)) if name[0].isupper() and name != "Init"}
    # A list has its length and more besides.
    helpers = ("Length", "IsNone", "AsNumpy", "BufferHasIdentifier")
    return {name for name in names if not name.startswith("GetRoot") and not name.endswith(helpers)}


def a_value(kind: Kind, seed: int) -> Any:
    """One that the field does not have by default."""
    if isinstance(kind, Vector):
        return [a_value(kind.item, seed)]
    if isinstance(kind, Nested):
        return full(kind.table, seed)
    if isinstance(kind, Enumeration):
        return list(kind.members.values())[-1]
    if isinstance(kind, Parameters):
        return {"text": f"t{seed}", "number": seed}
    if isinstance(kind, Text):
        return f"text-{seed}"
    if isinstance(kind, Integer):
        return 1 + seed % 100
    if isinstance(kind, Flag):
        return seed % 2 == 0
    assert isinstance(kind, Number)
    return float(seed)


def full(table: type, seed: int) -> Any:
    """A dataclass with a value in every field."""
    layout = LAYOUTS[table]
    return table(**{field.name: a_value(field.kind, seed + at) for at, field in enumerate(layout.fields)})


def test_every_field_of_every_table_has_its_place_and_survives_the_way_there_and_back() -> None:
    for table, layout in LAYOUTS.items():
        assert {field.wire for field in layout.fields} == wires(layout.name), layout.name
        names = {field.name for field in dataclasses.fields(table)} - {"source"}
        assert names == {field.name for field in layout.fields}, layout.name
        for seed in (1, 2):
            value = full(table, seed)
            builder = flatbuffers.Builder(1024)
            builder.Finish(write_table(builder, value))
            buffer = builder.Output()
            found = read_table(table, buffer, flatbuffers.encode.Get(flatbuffers.packer.uoffset, buffer, 0))
            assert found == value, layout.name


def test_every_member_of_every_union_is_known() -> None:
    for union, known in (("RequestBody", REQUESTS), ("ReplyBody", REPLIES), ("EventBody", EVENTS)):
        members = {
            name: tag for name, tag in vars(getattr(_fbs, union)).items() if name[0].isupper() and name != "NONE"
        }
        assert {table.__name__: tag for tag, table in known.items()} == members


def test_every_request_has_a_method_that_sends_it() -> None:
    assert libsfu.aio.Engine.__module__ == _engine.__name__
    source = "".join(inspect.getsource(module) for module in (_engine, _objects, _streams, libsfu.aio._object))
    missing = [table.__name__ for table in REQUESTS.values() if f"schema.{table.__name__}(" not in source]
    assert missing == []
