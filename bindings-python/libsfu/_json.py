"""Dataclasses of the schema to JSON and back. See :class:`libsfu._value.Value` for the rules."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any, TypeVar

from . import schema
from ._codec import Enumeration, Field, Flag, Integer, Kind, Nested, Number, Parameters, Text, Vector, layout_of
from .errors import invalid

V = TypeVar("V")


def _camel(name: str) -> str:
    first, *others = name.split("_")
    return first + "".join(part.capitalize() for part in others)


def to_json(value: Any) -> dict[str, Any]:
    """An object of JSON."""
    out: dict[str, Any] = {}
    if hasattr(value, "source") and not any(f.name == "source" for f in layout_of(type(value)).fields):
        out["source"] = _id(value.source)
    for field in layout_of(type(value)).fields:
        held = getattr(value, field.name)
        if held is not None:
            out[_camel(field.name)] = _plain(held, field)
    if isinstance(value, schema.IceCandidate):
        # Older clients read this name.
        out["ip"] = value.address
    return out


def _id(number: int) -> str:
    return f"{number:016x}"


def _plain(held: Any, field: Field) -> Any:
    if isinstance(held, list):
        return [_plain(item, field) for item in held]
    if dataclasses.is_dataclass(held):
        return to_json(held)
    if isinstance(held, schema.Name):
        return held.value
    if isinstance(held, dict):
        return dict(held)
    return _id(held) if field.ids else held


def from_json(table: type[V], data: Mapping[str, Any], path: str = "") -> V:
    """A dataclass from an object of JSON."""
    if not isinstance(data, Mapping):
        raise invalid(path, f"{data!r} is not an object")
    found: dict[str, Any] = {}
    for field in layout_of(table).fields:
        name = _camel(field.name)
        here = f"{path}.{name}" if path else name
        held = data.get(name)
        if held is None and (table, name) == (schema.IceCandidate, "address"):
            held = data.get("ip")
        if held is not None:
            found[field.name] = _typed(field.kind, held, here, field.ids)
        elif field.required:
            raise invalid(here, "it is missing")
    return table(**found)


def _typed(kind: Kind, held: Any, path: str, ids: bool) -> Any:
    if isinstance(kind, Vector):
        if not isinstance(held, (list, tuple)):
            raise invalid(path, f"{held!r} is not a list")
        return [_typed(kind.item, item, f"{path}[{index}]", ids) for index, item in enumerate(held)]
    if isinstance(kind, Parameters):
        return _parameters(held, path)
    if isinstance(kind, Nested):
        return from_json(kind.table, held, path)
    if isinstance(kind, Enumeration):
        return kind.members[kind.check(held, path)]
    if isinstance(kind, Integer):
        return kind.check(_whole(held, path, ids), path)
    if isinstance(kind, (Number, Flag)):
        return kind.check(held, path)
    if isinstance(kind, Text):
        kind.check(held, path)
    return held


def _whole(held: Any, path: str, ids: bool) -> Any:
    """JavaScript knows one kind of number, and ids travel as texts."""
    if ids and isinstance(held, str):
        try:
            return int(held, 16)
        except ValueError:
            raise invalid(path, f"{held!r} is not an id of sixteen hexadecimal digits") from None
    if isinstance(held, float) and held.is_integer():
        return int(held)
    return held


def _parameters(held: Any, path: str) -> dict[str, Any]:
    if not isinstance(held, Mapping):
        raise invalid(path, f"{held!r} is not an object")
    found: dict[str, Any] = {}
    for name, value in held.items():
        if value is None:
            value = ""
        elif isinstance(value, bool):
            value = int(value)
        elif isinstance(value, float) and value.is_integer():
            value = int(value)
        elif not isinstance(value, (str, int, float)):
            raise invalid(f"{path}.{name}", f"{value!r} is neither a text nor a number")
        found[str(name)] = value
    return found
