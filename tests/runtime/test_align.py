"""The similarity transform against transforms that are known."""

from __future__ import annotations

import numpy as np
import pytest

from facette_runtime.align import align, similarity_transform
from facette_runtime.manifest import Alignment

TEMPLATE = np.array([[38.3, 51.7], [73.5, 51.5], [56.0, 71.7], [41.5, 92.4], [70.7, 92.2]])


@pytest.mark.parametrize(("degrees", "scale", "shift"), [(0, 1, (0, 0)), (30, 2, (5, -7)), (-170, 0.2, (100, 3))])
def test_recovers_a_known_similarity(degrees: float, scale: float, shift: tuple[float, float]) -> None:
    angle = np.deg2rad(degrees)
    linear = scale * np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
    transform = similarity_transform(TEMPLATE, TEMPLATE @ linear.T + shift)
    np.testing.assert_allclose(transform, np.column_stack([linear, shift]), atol=1e-9)


def test_is_the_least_squares_fit() -> None:
    random = np.random.default_rng(0)
    target = TEMPLATE + random.normal(0, 3, TEMPLATE.shape)
    # x' = a·x − b·y + c, y' = b·x + a·y + d, solved as a linear system.
    rows = [[x, -y, 1, 0] for x, y in TEMPLATE] + [[y, x, 0, 1] for x, y in TEMPLATE]
    a, b, c, d = np.linalg.lstsq(np.array(rows), np.concatenate([target[:, 0], target[:, 1]]), rcond=None)[0]
    np.testing.assert_allclose(similarity_transform(TEMPLATE, target), [[a, -b, c], [b, a, d]], atol=1e-9)


def test_a_mirrored_face_is_not_reflected() -> None:
    mirrored = TEMPLATE * (-1, 1)
    assert np.linalg.det(similarity_transform(mirrored, TEMPLATE)[:, :2]) >= 0


def test_coincident_landmarks_give_a_shift() -> None:
    transform = similarity_transform(np.full((5, 2), 7.0), TEMPLATE)
    np.testing.assert_allclose(transform, np.column_stack([np.eye(2), TEMPLATE.mean(0) - 7]))


def test_landmarks_come_to_lie_on_the_template() -> None:
    image = np.zeros((300, 300, 3), np.uint8)
    landmarks = TEMPLATE * 2 + 20
    for x, y in landmarks:
        image[round(y) - 3 : round(y) + 4, round(x) - 3 : round(x) + 4] = 255
    crop = align(image, landmarks.astype(np.float32), Alignment((112, 112), tuple(map(tuple, TEMPLATE.tolist()))))
    assert crop.shape == (112, 112, 3)
    assert all(crop[round(y), round(x), 0] > 200 for x, y in TEMPLATE)
    assert crop.mean() < 20
