"""What a compressed network must still be able to do: the part of a recipe that the gate enforces."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Floor:
    """How much a network may lose against the one that the recipe names, before any pass.

    Attributes:
        max_accuracy_drop, max_tar_drop: in percentage points over all pairs of photos in LFW's choosing folds; TAR at a false
            accept rate of 1e-3.
        min_accuracy, min_tar: in percent on the pairs that these folds list, whatever the original reaches.
        max_error_share: by rounding, an embedding may move by this share of the way from identical to just matching:
            1 − cosine ≤ share × (1 − match threshold).
        min_recall: of the faces that the original detector finds, 0..1.
        max_extra: boxes that the original detector has not, for each of its faces.
        max_landmark_shift: mean, in distances between the eyes.
    """

    max_accuracy_drop: float = 0.10
    max_tar_drop: float = 0.5
    min_accuracy: float | None = None
    min_tar: float | None = None
    max_error_share: float = 0.1
    min_recall: float = 0.98
    max_extra: float = 0.05
    max_landmark_shift: float = 0.03
