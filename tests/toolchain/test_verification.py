"""Verifying on several choices of folds: every crop is embedded once, and the figures are those of each choice by itself."""

from __future__ import annotations

import importlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from facette.data.lfw import Pairs
from facette.evaluation.verification import VerificationSet, verify, verify_folds
from facette_runtime.engines.base import TensorSpec

PEOPLE, FOLDS = 12, 10


class ByColour:
    """An engine whose embedding is the mean colour, centred; it counts the crops that it was given."""

    name = "by colour"
    inputs = (TensorSpec("image", (1, 4, 4, 3), "uint8"),)
    outputs = (TensorSpec("embedding", (1, 3), "float32"),)

    def __init__(self) -> None:
        self.seen = 0

    def run(self, tensors: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
        self.seen += len(tensors["image"])
        return {"embedding": tensors["image"].mean(axis=(1, 2)).astype(np.float32) - 128}


@pytest.fixture
def colours() -> VerificationSet:
    """Two noisy photos of each person, so noisy that some are taken for others; each fold names some of the people only."""
    rng = np.random.default_rng(0)
    people = rng.integers(40, 216, (PEOPLE, 1, 1, 1, 3))
    crops = np.clip(people + rng.integers(-70, 71, (PEOPLE, 2, 1, 1, 3)) + np.zeros((4, 4, 1)), 0, 255).astype(np.uint8)
    first, second, same, folds = [], [], [], []
    for fold in range(1, FOLDS + 1):
        for person, other in rng.choice(PEOPLE, (8, 2)):
            other = (person + 1) % PEOPLE if other == person else other
            first += [2 * person, 2 * person]
            second += [2 * person + 1, 2 * other]
            same += [True, False]
            folds += [fold, fold]
    names = tuple(f"p{index // 2:02d}/{index % 2}" for index in range(2 * PEOPLE))
    found = np.arange(2 * PEOPLE) != 5
    pairs = Pairs(names, np.array(first), np.array(second), np.array(same), np.array(folds))
    return VerificationSet("colours", crops.reshape(-1, 4, 4, 3), found, pairs)


def _select(against: VerificationSet, folds: range) -> VerificationSet:
    pairs = against.pairs.select(folds)
    rows = [against.pairs.photos.index(name) for name in pairs.photos]
    return VerificationSet("some", against.crops[rows], against.found[rows], pairs)


def test_folds_are_judged_as_if_each_choice_were_alone(colours: VerificationSet) -> None:
    choices = (range(1, 4), range(4, 7), range(1, FOLDS + 1))
    engine = ByColour()
    together = verify_folds(engine, colours, choices)
    assert engine.seen == len(colours.crops)
    assert together == [verify(ByColour(), _select(colours, folds)) for folds in choices]
    assert len({found.accuracy for found in together}) > 1
    assert [found.pairs for found in together] == [48, 48, 160]


def test_all_pairs_are_of_the_photos_with_a_face(colours: VerificationSet) -> None:
    everyone = verify(ByColour(), colours).all_pairs
    photos = 2 * PEOPLE - 1  # one has no face
    assert (everyone.same, everyone.same + everyone.different) == (PEOPLE - 1, photos * (photos - 1) // 2)


@pytest.fixture
def contenders(benchmarks: Path) -> Any:
    """What the benchmarks share, as a module."""
    return importlib.import_module("contenders")


def test_contenders_are_measured_beside_the_stock_export(contenders: Any, colours: VerificationSet) -> None:
    both = {contenders.STOCK: contenders.Contender(ByColour(), 400), "int8": contenders.Contender(ByColour(), 100, 10**6)}
    measured, peak = contenders.measure_contenders(both, colours, seconds=0.2)
    stock, int8 = measured[contenders.STOCK], measured["int8"]
    assert stock.speedup == 1
    assert stock.limit is None
    assert int8.speedup == stock.latency.median / int8.latency.median
    assert int8.limit == pytest.approx(1 / peak / int8.latency.median)
    assert (int8.chosen_on, int8.all_folds) == tuple(verify_folds(ByColour(), colours, (range(1, 6), range(1, 11))))
    assert len(contenders.cells(int8)) == len(contenders.HEADERS)
