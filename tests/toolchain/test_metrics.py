"""Metrics against cases small enough to count by hand, and against slow, obvious versions."""

from __future__ import annotations

import time

import numpy as np
import pytest

from facette.evaluation.metrics import Scores, accuracy_at, best_threshold, equal_error_rate, tar_at_far, view2_accuracy


def make_scores(positives: list[float], negatives: list[float], folds: list[int] | None = None) -> Scores:
    count = len(positives) + len(negatives)
    same = np.array([True] * len(positives) + [False] * len(negatives))
    return Scores(np.array(positives + negatives), same, np.array(folds or [1] * count))


def random_scores(pairs: int = 6000, seed: int = 0) -> Scores:
    generator = np.random.default_rng(seed)
    same = np.tile(np.repeat([True, False], pairs // 20), 10)
    similarities = generator.normal(np.where(same, 0.6, 0.05), 0.12)
    return Scores(similarities, same, np.repeat(np.arange(1, 11), pairs // 10))


@pytest.mark.parametrize(
    ("positives", "negatives", "value", "accuracy"),
    [
        ([0.8, 0.9], [0.1, 0.2], 0.5, 1.0),  # the middle of the gap
        ([0.3, 0.9], [0.1, 0.5], 0.7, 0.75),  # below 0.3 is as good, but the gap 0.5 to 0.9 is wider than 0.1 to 0.3
        ([0.1, 0.1], [0.1, 0.1], 0.1, 0.5),  # no gap at all: just above 0.1, which accepts nobody
        ([0.4], [0.6], 0.6, 0.5),  # accepting nobody is as good as accepting everybody, and safer
    ],
)
def test_best_threshold(positives: list[float], negatives: list[float], value: float, accuracy: float) -> None:
    found = best_threshold(make_scores(positives, negatives))

    assert found.value == pytest.approx(value)
    assert found.accuracy == accuracy
    assert accuracy_at(make_scores(positives, negatives), found.value) == accuracy


def test_best_threshold__beats_every_other() -> None:
    scores = random_scores(400)
    found = best_threshold(scores)

    brute = max(accuracy_at(scores, value) for value in np.append(scores.similarities, np.inf))
    assert found.accuracy == pytest.approx(brute)
    assert accuracy_at(scores, found.value) == pytest.approx(brute)


def test_best_threshold__only_negatives_rejects_all() -> None:
    scores = make_scores([], [0.2, 0.7])

    assert accuracy_at(scores, best_threshold(scores).value) == 1.0


def test_view2__each_fold_is_judged_by_the_others() -> None:
    # Alone fold 2 would choose 0.35 and be perfect; the threshold of fold 1, 0.7, refuses its positive.
    scores = make_scores([0.9, 0.4], [0.5, 0.3], folds=[1, 2, 1, 2])
    accuracy = view2_accuracy(scores)

    assert accuracy.thresholds == pytest.approx((0.35, 0.7))
    assert accuracy.by_fold == (0.5, 0.5)
    assert (accuracy.mean, accuracy.std) == (0.5, 0.0)


def test_view2__std_is_the_population_form() -> None:
    accuracy = view2_accuracy(random_scores())

    assert len(accuracy.by_fold) == 10
    assert accuracy.std == pytest.approx(np.std(accuracy.by_fold, ddof=0))
    assert accuracy.std > 0


@pytest.mark.parametrize(("far", "false_accepts", "tar"), [(0.0, 0, 0.5), (0.1, 1, 0.75), (0.2, 2, 1.0), (0.15, 1, 0.75)])
def test_tar_at_far__counts(far: float, false_accepts: int, tar: float) -> None:
    negatives = [0.0, 0.05, 0.1, 0.15, 0.2, 0.25, 0.3, 0.35, 0.6, 0.8]
    scores = make_scores([0.5, 0.7, 0.85, 0.9], negatives)
    result = tar_at_far(scores, far, resamples=50)

    assert (result.false_accepts, result.tar, result.negatives) == (false_accepts, tar, 10)
    assert np.mean(np.array(negatives) >= result.threshold) <= far
    assert np.mean(np.array([0.5, 0.7, 0.85, 0.9]) >= result.threshold) == tar


def test_tar_at_far__ties_at_the_bar_are_refused() -> None:
    result = tar_at_far(make_scores([0.5, 0.6], [0.5] * 5), far=0.2, resamples=10)

    assert (result.tar, result.false_accepts) == (0.5, 0)


def test_tar_at_far__interval_is_seeded_and_holds_the_value() -> None:
    scores = random_scores()
    result = tar_at_far(scores)

    assert result == tar_at_far(scores)
    assert result.low < result.tar < result.high
    assert result.level == 0.95
    assert tar_at_far(scores, seed=1).low != result.low


def test_tar_at_far__interval_agrees_with_a_plain_bootstrap() -> None:
    scores = random_scores(1000)
    generator = np.random.default_rng(3)
    positives, negatives = scores.similarities[scores.same], scores.similarities[~scores.same]
    tars = []
    for _ in range(1000):
        drawn = np.sort(generator.choice(negatives, len(negatives)))
        tars.append(np.mean(generator.choice(positives, len(positives)) > drawn[-1 - int(0.01 * len(negatives))]))
    result = tar_at_far(scores, 0.01)

    assert (result.low, result.high) == pytest.approx(np.quantile(tars, [0.025, 0.975]), abs=0.01)


def test_tar_at_far__six_thousand_pairs_take_a_moment() -> None:
    scores = random_scores()
    started = time.process_time()
    tar_at_far(scores)

    assert time.process_time() - started < 5


@pytest.mark.parametrize(
    ("positives", "negatives", "expected"),
    [([0.8, 0.9], [0.1, 0.2], 0.0), ([0.1, 0.2], [0.8, 0.9], 1.0), ([0.2, 0.6, 0.8, 0.9], [0.1, 0.3, 0.4, 0.7], 0.25)],
)
def test_equal_error_rate(positives: list[float], negatives: list[float], expected: float) -> None:
    assert equal_error_rate(make_scores(positives, negatives)) == pytest.approx(expected)


def test_scores__refuse_wrong_shapes_and_nan() -> None:
    with pytest.raises(ValueError, match=r"folds must have shape \(2,\), but got \(1,\)"):
        Scores(np.zeros(2), np.ones(2, bool), np.ones(1, int))
    with pytest.raises(ValueError, match="finite"):
        Scores(np.array([np.nan]), np.ones(1, bool), np.ones(1, int))


@pytest.mark.parametrize("measure", [tar_at_far, equal_error_rate])
def test_one_kind_of_pairs_is_an_error(measure: object) -> None:
    assert callable(measure)
    with pytest.raises(ValueError, match="both pairs"):
        measure(make_scores([0.5], []))
    with pytest.raises(ValueError, match="at least two folds"):
        view2_accuracy(make_scores([0.5], [0.1]))
