"""What a quantizer is shown: real faces as the device would feed them to the network."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np

from facette.data.faces import Faces, open_faces
from facette.finder import find_with
from facette.model import Model
from facette_runtime.align import align
from facette_runtime.errors import FacetteError
from facette_runtime.manifest import Letterbox
from facette_runtime.preprocess import letterbox, to_network
from facette_runtime.types import Image

FACES_A_SCENE = 5
"""At most; a detector must be shown small faces beside large ones."""
FRAME_WH = (640, 480)
"""Of a scene, before the letterbox: what cameras give."""


def calibration_pictures(model: Model, faces: Path, count: int, finder: Model | None, seed: int) -> Image:
    """Faces evenly spread over a data set.

    Args:
        model: whose input they become.
        faces: a folder, zip or CSV, see `facette.data.faces.open_faces`. Never the test set.
        count: how many.
        finder: finds the faces that an embedder is shown, which are then aligned as the device aligns them; None for a detector,
            which is shown scenes: one to `FACES_A_SCENE` photos at random sizes on a blurred one.
        seed: another seed takes other photos.

    Returns:
        uint8 [n, h, w, 3] in the network's channel order; n is smaller than ``count`` where photos show no face.

    Raises:
        FacetteError: the data set can't be read, or no photo shows a face.
    """
    source = open_faces(faces)
    rng = np.random.default_rng(seed)
    # Evenly spread, since a data set's order often follows its labels; the seed shifts the whole comb.
    comb = (np.linspace(0, len(source), count, endpoint=False) + rng.uniform(0, len(source) / count)).astype(int) % len(source)
    pictures = _scenes(model, source, comb, rng) if finder is None else _crops(model, source, comb, finder)
    if not pictures:
        raise FacetteError(f"{faces}: no face found in any of {count} photos")
    return np.stack([to_network(picture, model.image.color_order) for picture in pictures])


def _crops(model: Model, source: Faces, rows: np.ndarray, finder: Model) -> list[Image]:
    detect = find_with(finder)
    assert model.alignment is not None
    crops = []
    for row in rows:
        photo = source.picture(int(row))
        found = detect(photo)
        if len(found):
            crops.append(align(photo, found.landmarks_xy[0], model.alignment))
    return crops


def _scenes(model: Model, source: Faces, rows: np.ndarray, rng: np.random.Generator) -> list[Image]:
    scenes = []
    for row in rows:
        others = rng.integers(0, len(source), int(rng.integers(0, FACES_A_SCENE)))
        background = source.picture(int(rng.integers(0, len(source))))
        scene = cv2.GaussianBlur(cv2.resize(background, FRAME_WH, interpolation=cv2.INTER_LINEAR), (0, 0), 9)
        for number in [int(row), *map(int, others)]:
            _paste(scene, source.picture(number), rng)
        scenes.append(letterbox(np.asarray(scene, np.uint8), model.image.size_wh, model.letterbox or Letterbox())[0])
    return scenes


def _paste(scene: Image, photo: Image, rng: np.random.Generator) -> None:
    height, width = scene.shape[:2]
    side = int(min(height, width) * np.exp(rng.uniform(np.log(0.12), np.log(0.9))))
    small = cv2.resize(photo, (side, side), interpolation=cv2.INTER_AREA if side < photo.shape[0] else cv2.INTER_LINEAR)
    top, left = int(rng.integers(0, height - side + 1)), int(rng.integers(0, width - side + 1))
    scene[top : top + side, left : left + side] = small
