"""The film is the same every time, and the camera knows where the faces are."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import pytest

from facette.data.photos import Portrait
from facette.demo.virtual_camera import Scene, Shot, build_scene, film

_RED, _BLUE = (0, 0, 255), (255, 0, 0)


@pytest.fixture(scope="module")
def scene() -> Scene:
    """Two grey portraits with one coloured face each."""
    people = []
    for name, colour in (("Red", _RED), ("Blue", _BLUE)):
        image = np.full((400, 360, 3), 128, np.uint8)
        image[100:200, 130:230] = colour
        people.append(Portrait(name, image, (180.0, 150.0), "public domain"))
    return build_scene(people)


def test_scene__faces_are_where_it_says(scene: Scene) -> None:
    for name, colour in (("Red", _RED), ("Blue", _BLUE)):
        x, y = scene.faces_xy[name]
        assert tuple(scene.image_bgr[int(y), int(x)]) == colour


def test_film__faces_are_where_it_says(scene: Scene) -> None:
    seen = {"Red": 0, "Blue": 0}
    for shot in film(scene, 40):
        for name, channel in (("Red", 2), ("Blue", 0)):
            x, y = shot.faces_xy[name]
            if 10 <= x < 630 and 10 <= y < 470:
                pixel = shot.image_bgr[int(y) - 5 : int(y) + 5, int(x) - 5 : int(x) + 5].mean(axis=(0, 1))
                assert pixel.argmax() == channel
                seen[name] += 1

    assert min(seen.values()) >= 15


def test_film__is_deterministic_and_moves(scene: Scene) -> None:
    first, second = list(film(scene, 12)), list(film(scene, 12))
    other = next(iter(film(scene, 12, seed=1)))

    for one, two in zip(first, second, strict=True):
        np.testing.assert_array_equal(one.image_bgr, two.image_bgr)
    assert not np.array_equal(first[0].image_bgr, other.image_bgr)
    assert all(_distance(one, two) > 1 for one, two in pairwise(first))
    assert first[0].image_bgr.shape == (480, 640, 3)


def _distance(one: Shot, two: Shot) -> float:
    return float(np.hypot(*(np.array(one.faces_xy["Red"]) - np.array(two.faces_xy["Red"]))))
