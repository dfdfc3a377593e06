"""What a bundle allows a device to be off follows from what the engines that ship are off on the host."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import pytest

from facette.data.photos import golden_photos
from facette.golden import ADDED_UP, Stages, run_reference, tolerance_of
from facette.loading import load_models
from facette.model import Model
from facette.recipe import load_recipe
from facette.reference import reference_engine
from facette_runtime.engines.base import Engine
from facette_runtime.manifest import GoldenTolerance

FLOOR = GoldenTolerance()


@pytest.fixture(scope="module")
def models() -> tuple[Model, Model]:
    return load_models(load_recipe("xs"), None)


@pytest.fixture(scope="module")
def stages(models: tuple[Model, Model]) -> list[Stages]:
    return run_reference(*models, golden_photos(None)[:2])


class _Moved:
    """An engine that sees every picture two pixels further to the right."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self.name, self.inputs, self.outputs = engine.name, engine.inputs, engine.outputs

    def run(self, tensors: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
        return self._engine.run({name: np.roll(pixels, 2, axis=2) for name, pixels in tensors.items()})


def test_float_engines_get_the_floor(models: tuple[Model, Model], stages: list[Stages]) -> None:
    detector, embedder = ((model, reference_engine(model)) for model in models)
    assert tolerance_of(stages, detector, embedder, FLOOR) == FLOOR


def test_a_detector_that_is_off_moves_the_crop(models: tuple[Model, Model], stages: list[Stages]) -> None:
    moved = (models[0], _Moved(reference_engine(models[0])))
    found = tolerance_of(stages, moved, (models[1], reference_engine(models[1])), FLOOR)
    assert found.landmark_px > 2 * FLOOR.landmark_px
    assert found.embedding_cosine == FLOOR.embedding_cosine
    assert found.end_to_end_cosine < 1 - ADDED_UP * (1 - FLOOR.embedding_cosine)


def test_an_embedder_that_is_off_is_off_end_to_end_too(models: tuple[Model, Model], stages: list[Stages]) -> None:
    found = tolerance_of(stages, (models[0], reference_engine(models[0])), (models[1], _Moved(reference_engine(models[1]))), FLOOR)
    assert found.landmark_px == FLOOR.landmark_px
    assert found.embedding_cosine < FLOOR.embedding_cosine
    assert found.end_to_end_cosine == pytest.approx(1 - ADDED_UP * (1 - found.embedding_cosine))
