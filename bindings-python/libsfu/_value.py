"""The base of all dataclasses of the schema: their JSON is what ORTC clients in browsers speak.

Told: JSON as Python objects. Tells: the same. Absent members are left out, unknown ones are ignored, ids of objects are
texts of sixteen hexadecimal digits, since JavaScript's numbers do not hold them.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, TypeVar

V = TypeVar("V", bound="Value")


class Value:
    """A table of the schema."""

    def to_json(self) -> dict[str, Any]:
        """As an object of JSON: names in camelCase, what is absent left out."""
        from . import _json

        return _json.to_json(self)

    @classmethod
    def from_json(cls: type[V], data: Mapping[str, Any]) -> V:
        """From an object of JSON.

        Raises ``InvalidArgumentError``, whose ``field`` is the path of what is missing or of another type.
        """
        from . import _json

        return _json.from_json(cls, data)
