"""The letterbox: scale, place, fill."""

from __future__ import annotations

import numpy as np
import pytest

from facette_runtime.manifest import Letterbox
from facette_runtime.preprocess import letterbox, to_network

PAD = (9, 8, 7)


@pytest.mark.parametrize(
    ("shape", "upscale", "scale", "filled_hw"),
    [
        ((64, 64), True, 1.0, (64, 64)),
        ((128, 64), True, 0.5, (64, 32)),
        ((100, 400), True, 0.16, (16, 64)),
        ((32, 16), True, 2.0, (64, 32)),
        ((32, 16), False, 1.0, (32, 16)),
        ((1, 1), True, 64.0, (64, 64)),
        ((1, 5000), True, 0.0128, (1, 64)),
    ],
)
def test_letterbox(shape: tuple[int, int], upscale: bool, scale: float, filled_hw: tuple[int, int]) -> None:
    result, actual_scale = letterbox(np.full((*shape, 3), 200, np.uint8), (64, 64), Letterbox(PAD, upscale))
    assert actual_scale == pytest.approx(scale)
    expected = np.empty((64, 64, 3), np.uint8)
    expected[:] = PAD
    expected[: filled_hw[0], : filled_hw[1]] = 200
    np.testing.assert_array_equal(result, expected)


def test_channel_order() -> None:
    image = np.array([[[1, 2, 3]]], np.uint8)
    np.testing.assert_array_equal(to_network(image, "rgb"), [[[3, 2, 1]]])
    np.testing.assert_array_equal(to_network(image, "bgr"), image)
