"""The gate, from measurements that are given."""

from __future__ import annotations

import numpy as np

from facette.evaluation.agreement import Agreement, agreement
from facette.evaluation.verification import Verification
from facette.floor import Floor
from facette.gate import agreement_shortfall, verification_shortfall
from facette_runtime.types import Detections

ORIGINAL = Verification(0.9922, 0.981, 0.97, 0.99, 0.28, 3000)


def measured(accuracy: float, tar: float) -> Verification:
    return Verification(accuracy, tar, tar - 0.01, tar + 0.01, 0.28, 3000)


def test_accuracy_within_the_floor_passes() -> None:
    assert verification_shortfall(measured(0.9912, 0.979), ORIGINAL, Floor()) is None


def test_lost_accuracy_is_named_with_both_numbers() -> None:
    assert verification_shortfall(measured(0.9777, 0.98), ORIGINAL, Floor()) == (
        "accuracy 97.77 % < 99.12 % (the original has 99.22%)"
    )


def test_lost_tar_is_refused_although_accuracy_stands() -> None:
    refusal = verification_shortfall(measured(0.9922, 0.91), ORIGINAL, Floor())
    assert refusal is not None
    assert refusal.startswith("TAR@FAR=1e-3 91.00 % < 97.60 %")


def test_an_absolute_floor_holds_whatever_the_original_reaches() -> None:
    assert verification_shortfall(measured(0.9922, 0.981), ORIGINAL, Floor(min_accuracy=99.5)) is not None


def test_what_is_not_a_number_is_refused() -> None:
    assert verification_shortfall(measured(float("nan"), 0.98), ORIGINAL, Floor()) is not None


def faces(*boxes: tuple[float, float, float, float], shift: float = 0.0) -> Detections:
    xyxy = np.array(boxes, np.float32).reshape(-1, 4)
    landmarks = np.array([[[x0 + 2, y0 + 2], [x1 - 2, y0 + 2], [x0 + 5, y0 + 5], [x0 + 3, y1 - 2], [x1 - 3, y1 - 2]]
                          for x0, y0, x1, y1 in boxes], np.float32).reshape(-1, 5, 2)  # fmt: skip
    return Detections(xyxy, np.ones(len(xyxy), np.float32), landmarks + np.float32(shift))


def test_agreement_counts_what_is_found_again_and_what_is_new() -> None:
    expected = [faces((0, 0, 10, 10), (20, 20, 34, 34)), faces()]
    found = [faces((0, 0, 10, 10)), faces((5, 5, 9, 9))]
    assert agreement(found, expected) == Agreement(2, 0.5, 0.5, 0.0)


def test_landmarks_are_measured_in_distances_between_the_eyes() -> None:
    moved = agreement([faces((0, 0, 10, 10), shift=0.3)], [faces((0, 0, 10, 10))])
    assert np.isclose(moved.landmark_shift, 0.3 * np.sqrt(2) / 6)
    assert agreement_shortfall(moved, Floor(max_landmark_shift=0.05)) == "landmarks move by 7.1% of the eyes' distance (5% allowed)"
    assert agreement_shortfall(moved, Floor(max_landmark_shift=0.08)) is None


def test_missing_faces_are_told() -> None:
    assert agreement_shortfall(Agreement(100, 0.9, 0.0, 0.0), Floor()) == "finds 90.0% of the original's 100 faces (98% wanted)"


def test_a_detector_that_finds_nothing_is_no_division_by_zero() -> None:
    assert agreement([faces()], [faces((0, 0, 10, 10))]) == Agreement(1, 0.0, 0.0, 0.0)
