"""How well a detector finds faces: recall by face size against people's boxes, and agreement with a reference detector."""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from facette.data.geometry import iou
from facette_runtime.types import Detections, FloatArray


@dataclass(frozen=True, slots=True)
class SizeRecall:
    """Recall among faces of similar size.

    Attributes:
        low, high: side (square root of the box's area) in pixels, from and below.
        faces: how many there are.
        found: how many of them were found.
    """

    low: float
    high: float
    faces: int
    found: int

    @property
    def recall(self) -> float:
        """In 0..1; NaN where there is no face."""
        return self.found / self.faces if self.faces else float("nan")


def recall_by_size(
    pairs: Iterable[tuple[Detections, FloatArray]], edges: Sequence[float], min_iou: float = 0.4
) -> tuple[SizeRecall, ...]:
    """Counts the labelled faces that a detection overlaps.

    Args:
        pairs: by picture, what was found and the labelled boxes, float32 [n, 4], both in the same pixels: the photo's, or those of
            the network's input where sizes are meant so.
        edges: sides in these pixels between which faces are pooled, increasing.
        min_iou: overlap from which a face counts as found.
    """
    sides: list[NDArray[np.float32]] = []
    hits: list[NDArray[np.bool_]] = []
    for found, boxes in pairs:
        sides.append(np.sqrt(np.prod(boxes[:, 2:] - boxes[:, :2], axis=1)))
        hits.append(np.max(iou(boxes, found.boxes_xyxy), axis=1, initial=0) >= min_iou)
    side, hit = np.concatenate(sides), np.concatenate(hits)
    bins = [(side >= low) & (side < high) for low, high in itertools.pairwise(edges)]
    return tuple(
        SizeRecall(low, high, int(chosen.sum()), int((chosen & hit).sum()))
        for low, high, chosen in zip(edges[:-1], edges[1:], bins, strict=True)
    )


@dataclass(frozen=True, slots=True)
class Agreement:
    """How a detector's central face compares with a reference detector's, over some pictures.

    Attributes:
        pictures: those in which the reference finds a face.
        found: those of them in which the detector finds the same face (IoU ≥ 0.3).
        landmark_error: mean distance of the five landmarks over the inter-ocular distance of the reference, over the faces found.
        landmark_error_p95: its 95th percentile by face.
    """

    pictures: int
    found: int
    landmark_error: float
    landmark_error_p95: float


def agreement(triples: Iterable[tuple[Detections, Detections, tuple[int, int]]]) -> Agreement:
    """Compares the faces nearest to the pictures' centres.

    Args:
        triples: by picture, the detector's faces, the reference's faces, and the picture's width and height.
    """
    errors, pictures = [], 0
    for found, reference, size_wh in triples:
        if not len(reference):
            continue
        pictures += 1
        wanted = most_central(reference, size_wh)
        overlap = iou(reference.boxes_xyxy[wanted : wanted + 1], found.boxes_xyxy)[0]
        if overlap.size and overlap.max() >= 0.3:
            points, truth = found.landmarks_xy[overlap.argmax()], reference.landmarks_xy[wanted]
            errors.append(np.linalg.norm(points - truth, axis=1).mean() / np.linalg.norm(truth[0] - truth[1]))
    mean, high = (float(np.mean(errors)), float(np.percentile(errors, 95))) if errors else (float("nan"), float("nan"))
    return Agreement(pictures, len(errors), mean, high)


def most_central(faces: Detections, size_wh: tuple[int, int]) -> int:
    """Index of the face whose box's centre is nearest to the picture's."""
    centres = (faces.boxes_xyxy[:, :2] + faces.boxes_xyxy[:, 2:]) / 2
    return int(np.linalg.norm(centres - np.array(size_wh) / 2, axis=1).argmin())
