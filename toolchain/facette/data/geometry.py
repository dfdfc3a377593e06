"""Boxes and landmarks of faces, apart from any picture."""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

from facette_runtime.types import FloatArray

MIRRORED = (1, 0, 2, 4, 3)
"""Which landmark each one becomes in a mirror: right and left change places."""


def move_faces(
    boxes_xyxy: FloatArray, landmarks_xy: FloatArray, matrix: NDArray[np.float64], *, mirror: bool
) -> tuple[FloatArray, FloatArray]:
    """Faces of a photo after a similarity transform, mirrored or not.

    A box's centre moves, its sides are scaled: at small angles the box that a person would draw around the turned head is much the
    same. Landmarks move, and in a mirror the right ones become the left ones.

    Args:
        boxes_xyxy: float32 [n, 4].
        landmarks_xy: float32 [n, 5, 2].
        matrix: float64 [2, 3].
        mirror: whether ``matrix`` mirrors.
    """
    scale = math.sqrt(abs(float(np.linalg.det(matrix[:, :2]))))
    centres = (boxes_xyxy[:, :2] + boxes_xyxy[:, 2:]) / 2 @ matrix[:, :2].T + matrix[:, 2]
    halves = (boxes_xyxy[:, 2:] - boxes_xyxy[:, :2]) / 2 * scale
    moved = landmarks_xy @ matrix[:, :2].T + matrix[:, 2]
    moved = moved[:, MIRRORED] if mirror else moved
    return np.concatenate([centres - halves, centres + halves], axis=1).astype(np.float32), moved.astype(np.float32)


def iou(one_xyxy: FloatArray, other_xyxy: FloatArray) -> NDArray[np.float32]:
    """Intersection over union of every pair: float32 [n, m]."""
    low = np.maximum(one_xyxy[:, None, :2], other_xyxy[None, :, :2])
    high = np.minimum(one_xyxy[:, None, 2:], other_xyxy[None, :, 2:])
    overlap = np.prod(np.maximum(high - low, 0), axis=2)
    areas = [np.prod(boxes[:, 2:] - boxes[:, :2], axis=1) for boxes in (one_xyxy, other_xyxy)]
    union = areas[0][:, None] + areas[1][None] - overlap
    return np.asarray(overlap / np.maximum(union, 1e-9), np.float32)
