"""Five landmarks → an aligned crop."""

from __future__ import annotations

import cv2
import numpy as np

from facette_runtime.manifest import Alignment
from facette_runtime.types import FloatArray, Image


def similarity_transform(source_xy: FloatArray, target_xy: FloatArray) -> np.ndarray:
    """The rotation, uniform scale and shift that bring ``source_xy`` closest to ``target_xy`` in the least-squares sense.

    Umeyama, "Least-squares estimation of transformation parameters between two point patterns", PAMI 1991, equations 40–42,
    written for the plane, where the rotation has one parameter and no singular value decomposition is needed. Reflections are
    excluded by construction.

    Args:
        source_xy, target_xy: float [n, 2].

    Returns:
        float64 [2, 3]: target ≈ M[:, :2] @ source + M[:, 2]. Coincident source points give the pure shift of the means.
    """
    source = np.asarray(source_xy, np.float64)
    target = np.asarray(target_xy, np.float64)
    source_mean, target_mean = source.mean(0), target.mean(0)
    sx, sy = (source - source_mean).T
    tx, ty = (target - target_mean).T
    spread = (sx * sx + sy * sy).sum()
    if spread < 1e-12:
        cosine, sine = 1.0, 0.0
    else:
        cosine, sine = (sx * tx + sy * ty).sum() / spread, (sx * ty - sy * tx).sum() / spread
    linear = np.array([[cosine, -sine], [sine, cosine]])
    return np.column_stack([linear, target_mean - linear @ source_mean])


def align(image_bgr: Image, landmarks_xy: FloatArray, alignment: Alignment) -> Image:
    """Cuts one face out so that its landmarks lie on the template.

    Args:
        image_bgr: uint8 [h, w, 3], BGR.
        landmarks_xy: float32 [5, 2], pixels, in the order of `facette_runtime.types.Detections`.
        alignment: the embedder's template and crop size.

    Returns:
        uint8 [crop height, crop width, 3], BGR; black where the crop leaves the picture.
    """
    transform = similarity_transform(landmarks_xy, np.array(alignment.template_xy))
    return cv2.warpAffine(image_bgr, transform, alignment.size_wh, flags=cv2.INTER_LINEAR)
