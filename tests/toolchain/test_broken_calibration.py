"""The gate's purpose: int8 that was calibrated on the wrong pictures, or fed in the wrong order, does not ship."""

from __future__ import annotations

import copy
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pytest
from torch import nn

from facette.cache import Cache
from facette.calibration import Calibration, Quantization
from facette.candidates import Bench, Candidate, Plan, make
from facette.data.calibration_pictures import calibration_pictures
from facette.evaluation.verification import verification_set
from facette.floor import Floor
from facette.forms import graph_forms
from facette.gate import EmbedderGate
from facette.loading import load_models
from facette.model import Model
from facette.recipe import load_recipe
from facette.reference import reference_engine
from facette.selection import judge
from facette_runtime.types import Image

pytestmark = pytest.mark.data


@dataclass(frozen=True)
class Workshop:
    """One embedder with everything that int8 needs."""

    form: Model
    gate: EmbedderGate
    bench: Bench
    pictures: Image
    cache: Cache

    def verdict(self, form: Model, pictures: Image) -> Candidate:
        """The candidate that these pictures calibrate, judged."""
        plan = Plan(form, "onnxruntime", "int8", Quantization("min-max"))
        calibration = Calibration(pictures, "a test")
        made = make(plan, self.bench, 0.9999, lambda model, engine, method: calibration, self.cache)
        return judge([made], 1, self.gate, lambda first, way: first, ())[0]


@pytest.fixture(scope="module")
def workshop(data_dir: Path, weights_dir: Path, tmp_path_factory: pytest.TempPathFactory) -> Workshop:
    detector, embedder = load_models(load_recipe("retinaface-mobilefacenet"), weights_dir)
    cache = Cache(tmp_path_factory.mktemp("cache"))
    pictures = calibration_pictures(embedder, data_dir / "utkface-128.zip", 32, detector, seed=0)
    reference = reference_engine(embedder)
    shown = list(pictures[:16])
    expected = [reference.run({reference.inputs[0].name: picture[None]}) for picture in shown]
    # Two folds keep the test short.
    test = verification_set(data_dir, embedder, detector, cache, (1, 2))
    gate = EmbedderGate(embedder, test, Floor(), None, cache)
    form = next(form for form in graph_forms(embedder) if form.form == "dw2")
    return Workshop(form, gate, Bench(shown, expected, 1, False), pictures, cache)


def test_faces_pass(workshop: Workshop) -> None:
    assert workshop.verdict(workshop.form, workshop.pictures).refusal is None


@pytest.mark.parametrize(
    "breakage",
    [
        lambda pictures: np.random.default_rng(0).integers(118, 138, pictures.shape, np.uint8),
        lambda pictures: np.zeros_like(pictures),
    ],
    ids=["grey noise", "black pictures"],
)
def test_wrong_pictures_are_refused(workshop: Workshop, breakage: Callable[[Image], Image]) -> None:
    refusal = workshop.verdict(workshop.form, breakage(workshop.pictures)).refusal
    assert refusal is not None
    assert "accuracy" in refusal or "TAR" in refusal


def test_the_wrong_channel_order_is_refused(workshop: Workshop) -> None:
    network = copy.deepcopy(workshop.form.network)
    assert isinstance(network, nn.Module)
    stem = next(part for part in network.modules() if isinstance(part, nn.Conv2d))
    stem.weight.data = stem.weight.data.flip(1)  # what a graph computes that takes its pictures for BGR
    swapped = replace(workshop.form, network=network)
    assert workshop.verdict(swapped, np.ascontiguousarray(workshop.pictures[..., ::-1])).refusal is not None
