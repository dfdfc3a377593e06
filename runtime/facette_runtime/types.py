"""What flows through the pipeline.

Coordinates are continuous pixels of the original picture: x right, y down, pixel i covers [i, i+1).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Image = NDArray[np.uint8]
"""uint8 [height, width, 3], BGR, as OpenCV gives it."""

FloatArray = NDArray[np.float32]


def _check_shape(name: str, array: np.ndarray, shape: tuple[int | None, ...]) -> None:
    if array.ndim != len(shape) or any(want is not None and have != want for have, want in zip(array.shape, shape)):
        wanted = "(" + ", ".join("_" if size is None else str(size) for size in shape) + ")"
        raise ValueError(f"{name} must have shape {wanted}, but got {array.shape}")


@dataclass(frozen=True, slots=True)
class Detections:
    """All faces of one picture, best score first.

    Attributes:
        boxes_xyxy: float32 [n, 4], left, top, right, bottom in pixels.
        scores: float32 [n], in 0..1.
        landmarks_xy: float32 [n, 5, 2]: the subject's right eye (left in the picture), left eye, nose tip, right and left
            mouth corner, in pixels.
    """

    boxes_xyxy: FloatArray
    scores: FloatArray
    landmarks_xy: FloatArray

    def __post_init__(self) -> None:
        count = len(self.scores)
        _check_shape("scores", self.scores, (None,))
        _check_shape("boxes_xyxy", self.boxes_xyxy, (count, 4))
        _check_shape("landmarks_xy", self.landmarks_xy, (count, 5, 2))

    def __len__(self) -> int:
        return len(self.scores)


@dataclass(frozen=True, slots=True)
class Match:
    """The gallery's answer for one probe.

    Attributes:
        name: the person, or None when the best similarity is below the threshold.
        similarity: cosine of the best template, in -1..1; -1 when the gallery is empty.
    """

    name: str | None
    similarity: float


@dataclass(frozen=True, slots=True)
class Face:
    """One recognised face.

    Attributes:
        box_xyxy: float32 [4], pixels.
        score: the detector's confidence, 0..1.
        landmarks_xy: float32 [5, 2], pixels, in the order of `Detections`.
        embedding: float32 [d], L2-normalised.
        match: the gallery's answer.
    """

    box_xyxy: FloatArray
    score: float
    landmarks_xy: FloatArray
    embedding: FloatArray
    match: Match


@dataclass(frozen=True, slots=True)
class Frame:
    """One picture of a source.

    Attributes:
        index: 0-based position in the source.
        name: the file's name, or the source's name and position.
        image_bgr: uint8 [height, width, 3], BGR.
    """

    index: int
    name: str
    image_bgr: Image
