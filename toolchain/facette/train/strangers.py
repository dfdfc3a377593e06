"""Faces that nobody has, made of faces that somebody has: a teacher can say what it would say of them, which widens the data.

All faces are uint8 [s, s, 3], BGR, aligned alike.
"""

from __future__ import annotations

import cv2
import numpy as np

from facette_runtime.types import FloatArray, Image

_CELLS = 4
"""Smooth random fields have this many independent values along each side: about an eye, a nose and a mouth apart."""


def blend(face: Image, other: Image, rng: np.random.Generator) -> Image:
    """Both faces, one shining through the other (Zhang et al., "mixup", 2018, of aligned faces)."""
    weight = rng.uniform(0.5, 0.9)
    return cv2.addWeighted(face, weight, other, 1 - weight, 0)


def chimera(face: Image, other: Image, rng: np.random.Generator) -> Image:
    """Parts of the one and of the other, in the colours of the first, with soft borders between them."""
    part = 1 / (1 + np.exp(-6 * _smooth_field(len(face), 1, rng)[..., 0]))
    matched = cv2.add(other, np.subtract(cv2.mean(face), cv2.mean(other)))
    return np.asarray(cv2.blendLinear(face, matched, part, 1 - part), np.uint8)


def reshape(face: Image, strength: float, rng: np.random.Generator) -> Image:
    """Features moved by a smooth random field (Simard et al., 2003, section 2, of larger scale).

    Args:
        face: see above.
        strength: standard deviation of the displacement, as a part of the side.
        rng: all randomness.
    """
    size = len(face)
    field = _smooth_field(size, 2, rng) * (strength * size)
    rows, columns = np.mgrid[:size, :size].astype(np.float32)
    return cv2.remap(face, columns + field[..., 0], rows + field[..., 1], cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)


def _smooth_field(size: int, channels: int, rng: np.random.Generator) -> FloatArray:
    """float32 [size, size, channels], about standard normal."""
    cells = rng.normal(0, 1, (_CELLS, _CELLS, channels)).astype(np.float32)
    return np.asarray(cv2.resize(cells, (size, size), interpolation=cv2.INTER_CUBIC), np.float32).reshape(size, size, channels)
