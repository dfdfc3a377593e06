"""Which face a portrait is of."""

from __future__ import annotations

import numpy as np
import pytest

from facette_runtime.enrol import main_face
from facette_runtime.types import Detections, Frame


@pytest.mark.parametrize(
    ("boxes", "expected"),
    [
        ([[10, 10, 30, 30]], 0),
        ([[0, 0, 40, 40], [80, 80, 120, 120]], 1),  # of two alike, the one in the middle
        ([[85, 85, 115, 115], [20, 20, 180, 180]], 1),  # of two in the middle, the larger
        ([[0, 0, 60, 60], [70, 70, 130, 130]], 1),
    ],
)
def test_large_and_central(boxes: list[list[float]], expected: int) -> None:
    count = len(boxes)
    detections = Detections(np.array(boxes, np.float32), np.ones(count, np.float32), np.zeros((count, 5, 2), np.float32))
    assert main_face(detections, Frame(0, "x", np.zeros((200, 200, 3), np.uint8))) == expected
