"""The gate, from measurements that are given."""

from __future__ import annotations

import numpy as np

from facette.evaluation.agreement import Agreement, agreement
from facette.evaluation.all_pairs import AllPairs
from facette.evaluation.verification import Verification
from facette.floor import Floor
from facette.gate import agreement_shortfall, verification_shortfall
from facette_runtime.types import Detections


def measured(accuracy: float, tar: float, listed: float = 0.9922) -> Verification:
    """``listed``: accuracy on the listed pairs, the others over all pairs."""
    return Verification(listed, 0.981, 0.97, 0.99, 0.28, 3000, AllPairs(4414, 7_255_541, accuracy, 0.01, (0.99, tar, 0.9)))


ORIGINAL = measured(0.9902, 0.981)


def test_accuracy_within_the_floor_passes() -> None:
    assert verification_shortfall(measured(0.9892, 0.976), ORIGINAL, Floor()) is None


def test_lost_accuracy_is_named_with_both_numbers() -> None:
    assert verification_shortfall(measured(0.9777, 0.98), ORIGINAL, Floor()) == (
        "accuracy over all pairs 97.77 % < 98.92 % (the original has 99.02 %)"
    )


def test_lost_tar_is_refused_although_accuracy_stands() -> None:
    refusal = verification_shortfall(measured(0.9902, 0.91), ORIGINAL, Floor())
    assert refusal == "TAR@FAR=1e-3 over all pairs 91.00 % < 97.60 % (the original has 98.10 %)"


def test_a_hair_too_little_does_not_read_as_enough() -> None:
    refusal = verification_shortfall(measured(0.989198, 0.98), ORIGINAL, Floor())
    assert refusal == "accuracy over all pairs 98.9198 % < 98.9200 % (the original has 99.02 %)"


def test_a_few_listed_pairs_more_or_less_decide_nothing() -> None:
    assert verification_shortfall(measured(0.9902, 0.981, listed=0.985), ORIGINAL, Floor()) is None


def test_an_absolute_floor_holds_on_the_listed_pairs_whatever_the_original_reaches() -> None:
    assert verification_shortfall(ORIGINAL, ORIGINAL, Floor(min_accuracy=99.5)) == "accuracy 99.22 % < 99.50 % (the floor)"
    assert verification_shortfall(ORIGINAL, ORIGINAL, Floor(min_tar=99)) == "TAR@FAR=1e-3 98.10 % < 99.00 % (the floor)"


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
