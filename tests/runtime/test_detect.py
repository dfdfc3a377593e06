"""Decoding against arithmetic done by hand, and suppression against its definition."""

from __future__ import annotations

import math

import numpy as np
import pytest

from facette_runtime.detect import decode, non_maximum_suppression
from facette_runtime.manifest import AnchorDecoder, PointDecoder

ANCHORS = AnchorDecoder("anchors", strides=(16, 32), anchor_sizes=((10, 20), (30,)), variances=(0.1, 0.2))
POINTS = PointDecoder("points", strides=(16, 32))


def _outputs(count: int) -> dict[str, np.ndarray]:
    return {
        "boxes": np.zeros((1, count, 4), np.float32),
        "scores": np.zeros((1, count), np.float32),
        "landmarks": np.zeros((1, count, 10), np.float32),
    }


def test_anchor_by_hand() -> None:
    outputs = _outputs(2 * 2 * 2 + 1)  # a 32x32 input: 2x2 cells of two sizes, one cell of one
    outputs["scores"][0, 5] = 0.9  # row 1, column 0, size 20: centre (8, 24)
    outputs["boxes"][0, 5] = (1, -2, math.log(2) / 0.2, 0)
    outputs["landmarks"][0, 5, :2] = (3, 4)
    found = decode(outputs, ANCHORS, (32, 32), scale=0.5)
    # Centre (8 + 0.1·20, 24 − 0.2·20) = (10, 20), size 40 × 20; all twice as large in the picture.
    np.testing.assert_allclose(found.boxes_xyxy, np.array([[-10, 10, 30, 30]]) * 2, rtol=1e-5)
    np.testing.assert_allclose(found.landmarks_xy[0, :2], [[28, 64], [16, 48]], rtol=1e-5)
    np.testing.assert_allclose(found.scores, [0.9])


def test_point_by_hand() -> None:
    outputs = _outputs(2 * 1 + 1)  # a 32x16 input: 2x1 cells, then one
    outputs["scores"][0, [1, 2]] = (0.6, 0.8)
    outputs["boxes"][0, 1] = (0.5, 0.25, 1, 0.5)  # centre (24, 8), stride 16
    outputs["boxes"][0, 2] = 0.25  # centre (16, 16), stride 32
    outputs["landmarks"][0, 2, 8:] = (-0.5, 1)
    found = decode(outputs, POINTS, (32, 16), scale=1.0)
    np.testing.assert_allclose(found.boxes_xyxy, [[8, 8, 24, 24], [16, 4, 40, 16]])
    np.testing.assert_allclose(found.landmarks_xy[0, 4], [0, 48])
    np.testing.assert_allclose(found.scores, [0.8, 0.6])


def test_nothing_above_the_threshold() -> None:
    found = decode(_outputs(9), ANCHORS, (32, 32), 1.0)
    assert len(found) == 0
    assert found.landmarks_xy.shape == (0, 5, 2)


@pytest.mark.parametrize(
    ("boxes", "kept"),
    [
        ([], []),
        ([[0, 0, 10, 10]], [0]),
        ([[0, 0, 10, 10], [0, 0, 10, 10]], [0]),
        ([[0, 0, 10, 10], [20, 0, 30, 10]], [0, 1]),
        ([[0, 0, 10, 10], [0, 0, 10, 4]], [0, 1]),  # overlap is exactly the threshold: both stay
        ([[0, 0, 10, 10], [0, 0, 10, 6], [0, 6, 10, 10]], [0, 2]),
        ([[0, 0, 10, 10], [3, 0, 13, 10], [6, 0, 16, 10]], [0, 2]),  # the second is gone and suppresses nobody
        ([[0, 0, 0, 0], [0, 0, 0, 0]], [0, 1]),  # empty boxes overlap nothing
    ],
)
def test_suppression(boxes: list[list[float]], kept: list[int]) -> None:
    array = np.array(boxes, np.float32).reshape(-1, 4)
    assert non_maximum_suppression(array, 0.4).tolist() == kept
