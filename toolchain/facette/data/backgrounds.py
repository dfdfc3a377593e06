"""Pictures without faces."""

from __future__ import annotations

from collections.abc import Sequence
from importlib.util import find_spec
from pathlib import Path

import cv2
import numpy as np
from numpy.random import Generator

from facette.data.face_photos import FacePhoto
from facette_runtime.types import Image

SKIMAGE_PICTURES = (
    "brick.png", "cell.png", "chelsea.png", "clock_motion.png", "coffee.png", "grass.png", "gravel.png", "horse.png",
    "hubble_deep_field.jpg", "ihc.png", "moon.png", "motorcycle_left.png", "page.png", "retina.jpg", "rocket.jpg", "text.png",
)  # fmt: skip
"""Sample pictures that come with scikit-image and show nobody."""


def installed_backgrounds() -> list[Image]:
    """scikit-image's pictures without people: uint8 [h, w, 3], BGR; none where it is not installed."""
    spec = find_spec("skimage")
    if spec is None or spec.origin is None:
        return []
    folder = Path(spec.origin).parent / "data"
    found = (cv2.imread(str(folder / name), cv2.IMREAD_COLOR) for name in SKIMAGE_PICTURES if (folder / name).is_file())
    return [np.asarray(image, np.uint8) for image in found if image is not None]


def empty_regions(generator: Generator, photos: Sequence[FacePhoto], tries: int = 12, smallest: int = 64) -> list[Image]:
    """Squares of photos that touch neither a face nor a doubtful region: uint8 [s, s, 3], BGR.

    Args:
        generator: draws the squares.
        photos: where to look.
        tries: squares drawn a photo.
        smallest: side in pixels.
    """
    regions = []
    for photo in photos:
        height, width = photo.image_bgr.shape[:2]
        boxes = np.concatenate([photo.boxes_xyxy, photo.doubtful_xyxy])
        if min(height, width) < smallest:
            continue
        for _ in range(tries):
            side = int(generator.integers(smallest, min(height, width) + 1))
            left, top = int(generator.integers(0, width - side + 1)), int(generator.integers(0, height - side + 1))
            apart = (boxes[:, 0] >= left + side) | (boxes[:, 2] <= left) | (boxes[:, 1] >= top + side) | (boxes[:, 3] <= top)
            if apart.all():
                regions.append(np.ascontiguousarray(photo.image_bgr[top : top + side, left : left + side]))
    return regions
