"""Strict reading: every mistake names its place and the valid choices."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

import pytest

from facette_runtime.errors import SchemaError
from facette_runtime.manifest import Manifest
from facette_runtime.schema import from_dict, to_dict
from tests.runtime import bundles


@dataclass(frozen=True)
class Circle:
    kind: Literal["circle"]
    radius: float


@dataclass(frozen=True)
class Square:
    kind: Literal["square"]
    side: int = 1


@dataclass(frozen=True)
class Drawing:
    name: str
    shapes: tuple[Circle | Square, ...]
    size: tuple[int, int] = (1, 1)
    note: str | None = None
    marks: dict[str, int] | None = None


def test_round_trip() -> None:
    drawing = Drawing("x", (Circle("circle", 1.5), Square("square", 2)), (3, 4), None, {"a": 1})
    assert from_dict(Drawing, to_dict(drawing), "d") == drawing
    manifest = bundles.manifest(bundles.bundle_files())
    assert from_dict(Manifest, to_dict(manifest), "m") == manifest


def test_whole_numbers_are_floats_and_defaults_hold() -> None:
    circle = from_dict(Drawing, {"name": "x", "shapes": [{"kind": "circle", "radius": 2}]}, "d").shapes[0]
    assert circle == Circle("circle", 2.0)
    assert isinstance(circle.radius, float)


@pytest.mark.parametrize(
    ("data", "message"),
    [
        ([], "d: expected a table, got list"),
        ({"name": "x"}, "d: missing key 'shapes'"),
        ({"name": "x", "shapes": [], "colour": 1}, "d: unknown key 'colour'; known keys: name, shapes, size, note, marks"),
        ({"name": 1, "shapes": []}, "d.name: expected str, got int"),
        ({"name": "x", "shapes": {}}, "d.shapes: expected a list, got dict"),
        ({"name": "x", "shapes": [{"kind": "star"}]}, "d.shapes[0].kind: 'star' is not one of circle, square"),
        ({"name": "x", "shapes": [{"kind": "square", "side": True}]}, "d.shapes[0].side: expected int, got bool"),
        ({"name": "x", "shapes": [{"kind": "square", "side": 1.5}]}, "d.shapes[0].side: expected int, got float"),
        ({"name": "x", "shapes": [], "size": [1]}, "d.size: expected 2 values, got 1"),
        ({"name": "x", "shapes": [], "marks": {"a": "b"}}, "d.marks.a: expected int, got str"),
    ],
)
def test_mistakes(data: Any, message: str) -> None:
    with pytest.raises(SchemaError) as caught:
        from_dict(Drawing, data, "d")
    assert str(caught.value) == message


def test_unknown_keys_can_be_passed_over_at_any_depth() -> None:
    data = {"name": "x", "shapes": [{"kind": "square", "new": 1}], "new": 2}
    assert from_dict(Drawing, data, "d", ignore_unknown=True) == Drawing("x", (Square("square"),))
