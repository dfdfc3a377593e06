"""Boxes and landmarks of faces, apart from any picture."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from facette_runtime.types import FloatArray

MIRRORED = (1, 0, 2, 4, 3)
"""Which landmark each one becomes in a mirror: right and left change places."""


def iou(one_xyxy: FloatArray, other_xyxy: FloatArray) -> NDArray[np.float32]:
    """Intersection over union of every pair: float32 [n, m]."""
    low = np.maximum(one_xyxy[:, None, :2], other_xyxy[None, :, :2])
    high = np.minimum(one_xyxy[:, None, 2:], other_xyxy[None, :, 2:])
    overlap = np.prod(np.maximum(high - low, 0), axis=2)
    areas = [np.prod(boxes[:, 2:] - boxes[:, :2], axis=1) for boxes in (one_xyxy, other_xyxy)]
    union = areas[0][:, None] + areas[1][None] - overlap
    return np.asarray(overlap / np.maximum(union, 1e-9), np.float32)
