"""Faces that nobody has."""

from __future__ import annotations

from dataclasses import replace

import cv2
import numpy as np
import pytest

from facette.train.augment import Augmentation, augment
from facette.train.strangers import blend, chimera, reshape
from tests.toolchain.faces import smooth_pictures

SIZE = 64
FACE, OTHER = smooth_pictures(2, SIZE, seed=3)
STILL = Augmentation(0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0)


def _apart(one: np.ndarray, other: np.ndarray) -> float:
    return float(np.abs(one.astype(float) - other).mean())


def test_a_chimera_is_here_the_one_and_there_the_other() -> None:
    made = chimera(FACE, OTHER, np.random.default_rng(0)).astype(float)
    matched = np.clip(OTHER + (FACE.mean((0, 1)) - OTHER.mean((0, 1))), 0, 255)
    like_face, like_other = (np.abs(made - each).max(-1) < 4 for each in (FACE, matched))
    assert 0.1 < like_face.mean() < 0.9
    assert 0.1 < like_other.mean() < 0.9
    low, high = np.minimum(FACE, matched), np.maximum(FACE, matched)
    assert ((made > low - 2) & (made < high + 2)).all()


def test_two_halves_of_one_face_are_that_face() -> None:
    assert _apart(chimera(FACE, FACE, np.random.default_rng(0)), FACE) < 1


def test_features_move_by_as_much_as_is_said() -> None:
    grid = np.zeros((SIZE, SIZE, 3), np.uint8)
    grid[SIZE // 2 - 2 : SIZE // 2 + 2, SIZE // 2 - 2 : SIZE // 2 + 2] = 255
    moves = []
    for seed in range(60):
        moments = cv2.moments(reshape(grid, 0.05, np.random.default_rng(seed))[..., 0])
        moves.append(np.array([moments["m10"], moments["m01"]]) / moments["m00"] - (SIZE - 1) / 2)
    assert 0.3 < np.std(moves) / (0.05 * SIZE) < 1.5
    assert np.abs(np.mean(moves)) < 0.3 * np.std(moves)
    assert np.array_equal(reshape(grid, 0.0, np.random.default_rng(0)), grid)


@pytest.mark.parametrize("make", [blend, chimera])
def test_strangers_depend_on_their_seed_alone(make: object) -> None:
    assert callable(make)
    same = [make(FACE, OTHER, np.random.default_rng(seed)) for seed in (1, 1, 2)]
    assert np.array_equal(same[0], same[1])
    assert _apart(same[0], same[2]) > 1


@pytest.mark.parametrize("kind", ["mix", "chimera", "reshape"])
def test_a_view_says_whether_it_shows_a_stranger(kind: str) -> None:
    face, other = smooth_pictures(2, SIZE + 12, seed=4)
    plain, strange = (
        augment(face, other, SIZE, settings, np.random.default_rng(0)) for settings in (STILL, replace(STILL, **{kind: 1.0}))
    )
    assert not plain.stranger
    assert strange.stranger
    assert _apart(plain.pixels, strange.pixels) > 2
