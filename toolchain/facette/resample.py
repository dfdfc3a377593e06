"""Pictures in fewer pixels, for a network that a pass made to take smaller ones than the original."""

from __future__ import annotations

import cv2
import numpy as np

from facette_runtime.engines.base import Engine
from facette_runtime.types import Image


def fitted(engine: Engine, pictures: Image) -> Image:
    """Pictures as an engine takes them.

    Args:
        engine: its first input is uint8 [n, h, w, 3].
        pictures: uint8 [n, h, w, 3] of any size.

    Returns:
        The same where the size is the engine's already; else resampled between the four nearest pixels, as the runtime cuts a face
        out (`facette_runtime.align`).
    """
    height, width = engine.inputs[0].shape[1:3]
    if height is None or width is None or pictures.shape[1:3] == (height, width):
        return pictures
    return np.stack(
        [np.asarray(cv2.resize(picture, (width, height), interpolation=cv2.INTER_LINEAR), np.uint8) for picture in pictures]
    )
