"""The same picture in fewer pixels, for a network that a pass made to take smaller ones than the original."""

from __future__ import annotations

import cv2
import numpy as np

from facette_runtime.engines.base import Engine
from facette_runtime.manifest import Alignment
from facette_runtime.types import Image


def resampled(pictures: Image, size_wh: tuple[int, int]) -> Image:
    """Pictures in another size.

    Args:
        pictures: uint8 [n, h, w, 3].
        size_wh: width and height wanted.

    Returns:
        The same where they have that size already; else resampled between the four nearest pixels, as the runtime cuts a face out
        (`facette_runtime.align`).
    """
    if pictures.shape[2:0:-1] == size_wh:
        return pictures
    return np.stack([np.asarray(cv2.resize(picture, size_wh, interpolation=cv2.INTER_LINEAR), np.uint8) for picture in pictures])


def fitted(engine: Engine, pictures: Image) -> Image:
    """Pictures (uint8 [n, h, w, 3]) as an engine takes them, whose first input is uint8 [n, h, w, 3]; see `resampled`."""
    height, width = engine.inputs[0].shape[1:3]
    return pictures if height is None or width is None else resampled(pictures, (width, height))


def in_pixels(alignment: Alignment, side: int) -> Alignment:
    """The same crop in ``side`` pixels, whose centres lie half a pixel from the edge."""
    factor = side / alignment.size_wh[0]
    template = tuple(((x + 0.5) * factor - 0.5, (y + 0.5) * factor - 0.5) for x, y in alignment.template_xy)
    return Alignment((side, side), template)
