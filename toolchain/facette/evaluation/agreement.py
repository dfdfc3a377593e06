"""How far a detector that was rounded or cut still finds what it found before."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from facette.entries import REFERENCE, detector_entry
from facette.model import Model
from facette_runtime.detect import Detector
from facette_runtime.engines.base import Engine
from facette_runtime.types import Detections, FloatArray, Image

SAME_FACE = 0.5
"""Boxes that overlap by this much (intersection over union) show one face."""


@dataclass(frozen=True, slots=True)
class Agreement:
    """A detector against the one it was made from.

    Attributes:
        faces: that the original finds.
        recall: share of them found again, 0..1.
        extra: boxes that the original has not, for each face of its own.
        landmark_shift: mean distance of the landmarks of faces found by both, in distances between the eyes.
    """

    faces: int
    recall: float
    extra: float
    landmark_shift: float


def detections(engine: Engine, model: Model, pictures: Sequence[Image]) -> list[Detections]:
    """What a network finds in pictures that are letterboxed already: uint8 [h, w, 3] in the network's channel order."""
    detector = Detector(engine, detector_entry(model, REFERENCE))
    name = engine.inputs[0].name
    return [detector.decode(engine.run({name: picture[None]}), 1.0) for picture in pictures]


def agreement(found: Sequence[Detections], expected: Sequence[Detections]) -> Agreement:
    """Pairs each expected face with the found box that overlaps it most.

    Args:
        found, expected: by picture.
    """
    faces = matched = extra = 0
    shifts: list[float] = []
    for ours, theirs in zip(found, expected, strict=True):
        faces += len(theirs)
        overlaps = _overlaps(theirs.boxes_xyxy, ours.boxes_xyxy)
        best = overlaps.argmax(1) if len(ours) else np.zeros(len(theirs), int)
        hit = overlaps.max(1, initial=0.0) >= SAME_FACE
        matched += int(hit.sum())
        extra += len(ours) - len(set(best[hit].tolist()))
        for row in np.flatnonzero(hit):
            wanted, given = theirs.landmarks_xy[row], ours.landmarks_xy[best[row]]
            eyes = max(float(np.linalg.norm(wanted[0] - wanted[1])), 1e-6)
            shifts.append(float(np.linalg.norm(wanted - given, axis=1).mean()) / eyes)
    return Agreement(faces, matched / max(faces, 1), extra / max(faces, 1), float(np.mean(shifts)) if shifts else 0.0)


def _overlaps(a: FloatArray, b: FloatArray) -> FloatArray:
    low = np.maximum(a[:, None, :2], b[None, :, :2])
    high = np.minimum(a[:, None, 2:], b[None, :, 2:])
    shared = np.prod(np.maximum(high - low, 0), axis=2)
    areas = [np.prod(np.maximum(boxes[:, 2:] - boxes[:, :2], 0), axis=1) for boxes in (a, b)]
    return np.asarray(shared / np.maximum(areas[0][:, None] + areas[1][None] - shared, 1e-9), np.float32)
