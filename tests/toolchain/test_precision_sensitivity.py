"""Which layers int8 hurts, and what they cost."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest
import torch
from torch import nn

from facette.model import Model
from facette.precision_sensitivity import LayerSensitivity, keep_float, measure_sensitivity, to_table
from facette_runtime.errors import FacetteError
from facette_runtime.schema import to_dict
from tests.toolchain.quantizing import folded, layers, outputs, pictures

FACES = pictures(16, seed=1)
ENTRIES = (
    LayerSensitivity("stem", 0.02, 0.1),
    LayerSensitivity("middle", 0.03, 0.6),
    LayerSensitivity("depthwise", 0.01, 0.01),
    LayerSensitivity("head", 0.0, 0.29),
)


@pytest.fixture
def model(tiny_models: tuple[Model, Model]) -> Model:
    return folded(tiny_models[1])


def fragile(model: Model) -> Model:
    """Its second layer reads one channel that is a thousand times larger than the others and counts as much as they."""
    torch.manual_seed(0)
    first, second, third = nn.Conv2d(3, 8, 3), nn.Conv2d(8, 8, 3), nn.Conv2d(8, 4, 3)
    first.weight.data[0] *= 1000
    second.weight.data[:, 0] /= 1000
    return replace(model, network=nn.Sequential(first, second, third).eval())


def test_the_layer_with_unequal_inputs_suffers_most(model: Model) -> None:
    network = fragile(model)
    first, second, third = measure_sensitivity(network, FACES)
    assert (first.layer, second.layer, third.layer) == ("0", "1", "2")
    assert second.distance > 10 * max(first.distance, third.distance)
    assert min(first.distance, third.distance) > 0
    assert keep_float((first, second, third), second.macs_share + 1e-6) == {"1"}


def test_shares_are_those_of_the_macs(model: Model) -> None:
    found = measure_sensitivity(model, FACES)
    assert [entry.layer for entry in found] == list(layers(model))
    macs = torch.tensor([16 * 16 * 16 * 27, 8 * 8 * 16 * 9, 16 * 8]).double()  # 3×3 at stride 2, depthwise, linear
    assert [entry.macs_share for entry in found] == pytest.approx((macs / macs.sum()).tolist())


def test_fewer_bits_hurt_more(model: Model) -> None:
    eight, four = (sum(e.distance for e in measure_sensitivity(model, FACES, "mse", bits)) for bits in (8, 4))
    assert 0 < 10 * eight < four


def test_the_network_is_left_as_it_was(model: Model) -> None:
    before = outputs(model, FACES)
    measure_sensitivity(model, FACES)
    assert torch.equal(outputs(model, FACES), before)


@pytest.mark.parametrize(
    ("budget", "kept"),
    [
        (0.0, set()),
        (0.05, {"depthwise"}),
        (0.11, {"depthwise", "stem"}),
        (0.6, {"depthwise", "stem"}),
        (1.0, {"depthwise", "stem", "middle"}),
    ],
)
def test_what_wins_most_for_its_cost_stays_in_float(budget: float, kept: set[str]) -> None:
    assert keep_float(ENTRIES, budget) == kept


@pytest.mark.parametrize("budget", [-0.1, 1.5, float("nan")])
def test_a_share_outside_0_to_1_is_refused(budget: float) -> None:
    with pytest.raises(FacetteError, match="between 0 and 1"):
        keep_float(ENTRIES, budget)


def test_it_is_told_as_a_table_and_as_json() -> None:
    lines = to_table(ENTRIES, frozenset({"stem"})).splitlines()
    assert lines[2].split() == ["middle", "3.00e-02", "60.0%", "int8"]
    assert lines[3].split() == ["stem", "2.00e-02", "10.0%", "float"]
    assert json.loads(json.dumps(to_dict(ENTRIES)))[0] == {"layer": "stem", "distance": 0.02, "macs_share": 0.1}
