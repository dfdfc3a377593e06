"""What is drawn, and that the picture given is left alone."""

from __future__ import annotations

import numpy as np
import pytest

from facette_runtime.draw import KNOWN_BGR, UNKNOWN_BGR, draw_faces, label
from facette_runtime.types import Face, Match


def _face(name: str | None, box: tuple[float, ...] = (40, 40, 90, 100)) -> Face:
    landmarks = np.array([[52, 60], [78, 60], [65, 72], [55, 86], [75, 86]], np.float32)
    return Face(np.array(box, np.float32), 0.9, landmarks, np.zeros(4, np.float32), Match(name, 0.4321))


@pytest.mark.parametrize(("name", "colour"), [("Grace", KNOWN_BGR), (None, UNKNOWN_BGR)])
def test_colour_tells_known_from_unknown(name: str | None, colour: tuple[int, int, int]) -> None:
    image = np.zeros((160, 200, 3), np.uint8)
    drawn = draw_faces(image, [_face(name)])
    assert not image.any()
    assert drawn.shape == image.shape
    assert drawn.dtype == np.uint8
    np.testing.assert_allclose(drawn[100, 65], colour, atol=25)  # the box's lower edge, smoothed
    np.testing.assert_array_equal(drawn[72, 65], colour)  # the nose


def test_labels() -> None:
    assert label(_face("Grace")) == "Grace 0.43"
    assert label(_face(None)) == "unknown 0.43"


@pytest.mark.parametrize("box", [(-30, -30, 20, 20), (150, 120, 400, 400), (-1e4, -1e4, 1e4, 1e4), (5, 5, 5, 5)])
@pytest.mark.parametrize("name", ["Zoë", "李明", "x" * 200])
def test_faces_at_the_edge_and_any_name(box: tuple[float, ...], name: str) -> None:
    assert draw_faces(np.zeros((160, 200, 3), np.uint8), [_face(name, box)]).any()


def test_no_faces_changes_nothing() -> None:
    image = np.full((20, 20, 3), 7, np.uint8)
    np.testing.assert_array_equal(draw_faces(image, []), image)
