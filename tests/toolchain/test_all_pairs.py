"""All pairs against cases that can be counted by hand, and against the metrics of listed pairs."""

from __future__ import annotations

import numpy as np
import pytest

from facette.evaluation.all_pairs import FARS, verify_all_pairs
from facette.evaluation.metrics import Scores, equal_error_rate, tar_at_far
from facette_runtime.embed import normalize
from facette_runtime.types import FloatArray


def on_circle(*degrees: float) -> FloatArray:
    angles = np.radians(degrees)
    return np.stack([np.cos(angles), np.sin(angles)], axis=1).astype(np.float32)


def crowd(people: int, photos: int, spread: float) -> tuple[FloatArray, list[str]]:
    generator = np.random.default_rng(0)
    centres = np.repeat(generator.normal(size=(people, 16)), photos, axis=0)
    noisy = centres + spread * generator.normal(size=centres.shape)
    return normalize(noisy.astype(np.float32)), [str(number) for number in range(people) for _ in range(photos)]


def test_two_people_apart() -> None:
    found = verify_all_pairs(on_circle(0, 10, 90, 110), ["a", "a", "b", "b"])
    assert (found.same, found.different) == (2, 4)
    assert (found.accuracy, found.eer, found.tar) == (1.0, 0.0, (1.0, 1.0, 1.0))


def test_one_stranger_too_near() -> None:
    # One person's photos are 40 and 10 degrees apart, strangers' 5, 15, 45 and 55.
    found = verify_all_pairs(on_circle(0, 40, 45, 55), ["a", "a", "b", "b"])
    # Best takes 40 degrees or nearer for one person: all of the same pairs are right, and half of the different ones.
    assert found.accuracy == pytest.approx((1 + 1 / 2) / 2)
    # With no false accept allowed: the nearest strangers are nearer than any two photos of one person.
    assert found.tar == (0.0, 0.0, 0.0)


def test_agrees_with_the_metrics_of_listed_pairs() -> None:
    embeddings, people = crowd(people=60, photos=4, spread=0.5)
    found = verify_all_pairs(embeddings, people)
    first, second = np.triu_indices(len(people), 1)
    names = np.array(people)
    scores = Scores(
        np.einsum("nd,nd->n", embeddings[first], embeddings[second]).astype(np.float64),
        names[first] == names[second],
        np.ones(len(first), np.int64),
    )
    assert 0.005 < found.eer < 0.2
    assert found.eer == pytest.approx(equal_error_rate(scores), abs=2e-3)
    assert found.tar == tuple(pytest.approx(tar_at_far(scores, far, resamples=2).tar, abs=3e-3) for far in FARS)


def test_more_noise_is_worse() -> None:
    clear, noisy = (verify_all_pairs(*crowd(people=60, photos=4, spread=spread)) for spread in (0.4, 0.8))
    assert clear.accuracy > noisy.accuracy
    assert clear.eer < noisy.eer
    assert clear.tar[1] > noisy.tar[1]


@pytest.mark.parametrize(("people", "said"), [(["a"], "names"), (["a", "b", "c"], "both pairs"), (["a", "a", "a"], "both pairs")])
def test_refuses(people: list[str], said: str) -> None:
    with pytest.raises(ValueError, match=said):
        verify_all_pairs(on_circle(0, 10, 90), people)
