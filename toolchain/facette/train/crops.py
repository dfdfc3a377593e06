"""Training crops with their labels, made once and kept in the run's folder."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np

from facette.data.faces import Faces, aligned_crops
from facette_runtime.errors import FacetteError
from facette_runtime.files import replacing
from facette_runtime.manifest import Alignment
from facette_runtime.types import Detections, Image


def labelled_crops(
    faces: Faces, detect: Callable[[Image], Detections], alignment: Alignment, cache: Path
) -> tuple[np.ndarray, tuple[str, ...]]:
    """As `facette.data.faces.aligned_crops` of pictures that are mirrored beyond their edges, with the label of each crop.

    Args:
        faces: where the pictures come from.
        detect: finds faces in a BGR picture, best first.
        alignment: the crop.
        cache: a .npy file; beside it stands which pictures had a face.

    Returns:
        uint8 [n, height, width, 3], BGR, memory-mapped; and n labels, "" where nobody says.

    Raises:
        FacetteError: no face in any picture, or the file belongs to other pictures.
    """
    found: list[bool] = []
    wider, within = mirrored(faces, detect)

    def noted(image: Image) -> Detections:
        detections = within(image)
        found.append(len(detections) > 0)
        return detections

    crops = aligned_crops(wider, noted, alignment, cache)
    places = cache.with_suffix(".places.npy")
    if found:
        with replacing(places) as temporary:
            np.save(temporary, np.flatnonzero(found))
    if not places.exists():  # crops that an older version made
        return crops, ("",) * len(crops)
    kept = np.load(places)
    if len(kept) != len(crops) or (len(kept) and kept[-1] >= len(faces)):
        raise FacetteError(f"{cache}: holds crops of other pictures than {len(faces)} of this data set; use another run folder")
    return crops, tuple(faces.labels[place] for place in kept)


class MirroredFaces(Faces):
    """The same pictures, mirrored beyond their edges by half their size on each side.

    Data sets that are cut close would otherwise give training crops with black borders, which no camera makes.
    """

    def picture(self, index: int) -> Image:
        """uint8 [2 h, 2 w, 3], BGR; as `Faces.picture`."""
        image = super().picture(index)
        top, left = image.shape[0] // 2, image.shape[1] // 2
        return np.asarray(cv2.copyMakeBorder(image, top, top, left, left, cv2.BORDER_REFLECT_101), np.uint8)


def mirrored(faces: Faces, detect: Callable[[Image], Detections]) -> tuple[Faces, Callable[[Image], Detections]]:
    """Pictures mirrored beyond their edges, and a detector for them that looks at the original part only.

    Args:
        faces: as they come.
        detect: finds faces in a BGR picture, best first.
    """

    def within(image: Image) -> Detections:
        top, left = image.shape[0] // 4, image.shape[1] // 4
        found = detect(np.ascontiguousarray(image[top : image.shape[0] - top, left : image.shape[1] - left]))
        shift = np.array([left, top], np.float32)
        return Detections(found.boxes_xyxy + np.tile(shift, 2), found.scores, found.landmarks_xy + shift)

    return MirroredFaces(faces.names, faces.labels, faces.read), within
