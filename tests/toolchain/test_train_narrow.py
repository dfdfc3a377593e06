"""Cutting a network between two rounds of its training."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from facette.catalogue import CATALOGUE
from facette.model import Model
from facette.nets.facette_detect import FacetteDetect, FacetteDetectConfig
from facette.train.narrow import narrow
from facette_runtime.errors import FacetteError

STEM = "backbone.stem.0"
PYRAMID = "backbone.stage8.0.pointwise.0"
PICTURES = np.random.default_rng(0).integers(0, 256, (4, 64, 96, 3)).astype(np.uint8)


def model(network: FacetteDetect) -> Model:
    entry = CATALOGUE["facette-detect"]
    return Model("detector", network.eval(), entry.image, entry.decoder, entry.letterbox, None, (), "")


@pytest.fixture(scope="module")
def stock() -> Model:
    torch.manual_seed(0)
    return model(FacetteDetect())


def test_what_nobody_reads_goes_first() -> None:
    torch.manual_seed(0)
    network = FacetteDetect()
    unread = torch.arange(1, 16, 2)
    with torch.no_grad():
        network.get_parameter("backbone.stage4.0.pointwise.0.weight")[:, unread] = 0
    narrower = narrow(model(network), {STEM: 8}, PICTURES, seed=0)
    x = torch.randn(2, 3, 96, 128)
    with torch.inference_mode():
        for given, wanted in zip(narrower(x), network(x), strict=True):
            torch.testing.assert_close(given, wanted, rtol=1e-4, atol=1e-5)
    assert torch.equal(narrower.get_parameter(f"{STEM}.weight"), network.get_parameter(f"{STEM}.weight")[::2])


def test_the_result_is_the_architecture_with_those_widths(stock: Model) -> None:
    narrower = narrow(stock, {STEM: 8, PYRAMID: 48}, PICTURES, seed=0)
    FacetteDetect(FacetteDetectConfig((8, 32, 48, 96, 128))).load_state_dict(narrower.state_dict())
    FacetteDetect().load_state_dict(stock.network.state_dict())  # the original is as it was


def test_a_width_that_is_reached_already_changes_nothing(stock: Model) -> None:
    same = narrow(stock, {STEM: 16, PYRAMID: 1000}, PICTURES, seed=0)
    whole = stock.network.state_dict()
    assert all(torch.equal(value, whole[name]) for name, value in same.state_dict().items())


def test_wrong_widths_are_refused(stock: Model) -> None:
    with pytest.raises(FacetteError, match=r"'nowhere' has no channels.*backbone\.stem\.0"):
        narrow(stock, {"nowhere": 8}, PICTURES, seed=0)
    with pytest.raises(FacetteError, match="at least one channel, but got 0"):
        narrow(stock, {STEM: 0}, PICTURES, seed=0)
