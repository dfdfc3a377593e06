"""Frozen dataclasses to and from plain JSON/TOML values, strictly.

One reader for the bundle's manifest, the recipes and the target files: an unknown key, a missing key or a value of the wrong
type is an error that names its place and the valid choices. Supported field types: ``str``, ``int``, ``float``, ``bool``,
``X | None``, ``Literal``, ``tuple[X, ...]`` and fixed tuples, ``dict[str, X]``, nested dataclasses, and unions of dataclasses
told apart by a ``kind`` field (a ``Literal`` with one value).
"""

from __future__ import annotations

import dataclasses
import types
import typing
from collections.abc import Mapping
from typing import Any, TypeVar

from facette_runtime.errors import SchemaError

T = TypeVar("T")


def from_dict(cls: type[T], data: Any, where: str, *, ignore_unknown: bool = False) -> T:
    """Builds the dataclass ``cls`` from nested plain values.

    Args:
        cls: a dataclass type.
        data: a mapping as ``json.loads`` or ``tomllib.load`` gives it.
        where: what to call this value in an error, e.g. ``"recipe.toml"``.
        ignore_unknown: pass over keys that this version does not know, as in a file of a newer minor version.

    Raises:
        SchemaError: an unknown or missing key, or a value of the wrong type; the message names the key.
    """
    return typing.cast(T, _read(cls, data, where, ignore_unknown))


def to_dict(value: Any) -> Any:
    """The plain JSON value of a dataclass tree: the inverse of `from_dict`."""
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return {field.name: to_dict(getattr(value, field.name)) for field in dataclasses.fields(value)}
    if isinstance(value, (tuple, list)):
        return [to_dict(item) for item in value]
    if isinstance(value, Mapping):
        return {key: to_dict(item) for key, item in value.items()}
    return value


def _read(kind: Any, value: Any, where: str, lax: bool) -> Any:
    origin = typing.get_origin(kind)
    if kind is Any:
        return value
    if dataclasses.is_dataclass(kind):
        return _read_dataclass(kind, value, where, lax)
    if origin is typing.Literal:
        choices = typing.get_args(kind)
        if value not in choices:
            raise SchemaError(f"{where}: {value!r} is not one of {', '.join(map(str, choices))}")
        return value
    if origin in (typing.Union, types.UnionType):
        return _read_union(typing.get_args(kind), value, where, lax)
    if origin is tuple:
        return _read_tuple(typing.get_args(kind), value, where, lax)
    if origin is dict:
        if not isinstance(value, Mapping):
            raise SchemaError(f"{where}: expected a table, got {_kind_of(value)}")
        item_kind = typing.get_args(kind)[1]
        return {key: _read(item_kind, item, f"{where}.{key}", lax) for key, item in value.items()}
    if kind is float and isinstance(value, int) and not isinstance(value, bool):
        return float(value)
    if not isinstance(value, kind) or (isinstance(value, bool) and kind is not bool):
        raise SchemaError(f"{where}: expected {kind.__name__}, got {_kind_of(value)}")
    return value


def _read_dataclass(cls: Any, value: Any, where: str, lax: bool) -> Any:
    if not isinstance(value, Mapping):
        raise SchemaError(f"{where}: expected a table, got {_kind_of(value)}")
    fields = {field.name: field for field in dataclasses.fields(cls) if field.init}
    unknown = sorted(set(value) - set(fields))
    if unknown and not lax:
        raise SchemaError(f"{where}: unknown key {unknown[0]!r}; known keys: {', '.join(fields)}")
    hints = typing.get_type_hints(cls)
    arguments = {}
    for name, field in fields.items():
        if name in value:
            arguments[name] = _read(hints[name], value[name], f"{where}.{name}", lax)
        elif field.default is dataclasses.MISSING and field.default_factory is dataclasses.MISSING:
            raise SchemaError(f"{where}: missing key {name!r}")
    try:
        return cls(**arguments)
    except ValueError as error:
        raise SchemaError(f"{where}: {error}") from None


def _read_union(members: tuple[Any, ...], value: Any, where: str, lax: bool) -> Any:
    if value is None and types.NoneType in members:
        return None
    members = tuple(member for member in members if member is not types.NoneType)
    if len(members) == 1:
        return _read(members[0], value, where, lax)
    if not isinstance(value, Mapping):
        raise SchemaError(f"{where}: expected a table, got {_kind_of(value)}")
    by_kind = {typing.get_args(typing.get_type_hints(member)["kind"])[0]: member for member in members}
    member = by_kind.get(value.get("kind"))
    if member is None:
        raise SchemaError(f"{where}.kind: {value.get('kind')!r} is not one of {', '.join(by_kind)}")
    return _read(member, value, where, lax)


def _read_tuple(kinds: tuple[Any, ...], value: Any, where: str, lax: bool) -> tuple[Any, ...]:
    if not isinstance(value, (list, tuple)):
        raise SchemaError(f"{where}: expected a list, got {_kind_of(value)}")
    if len(kinds) == 2 and kinds[1] is Ellipsis:
        return tuple(_read(kinds[0], item, f"{where}[{index}]", lax) for index, item in enumerate(value))
    if len(value) != len(kinds):
        raise SchemaError(f"{where}: expected {len(kinds)} values, got {len(value)}")
    return tuple(_read(kind, item, f"{where}[{index}]", lax) for index, (kind, item) in enumerate(zip(kinds, value)))


def _kind_of(value: Any) -> str:
    return "nothing" if value is None else type(value).__name__
