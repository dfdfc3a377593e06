"""Bits of weights go where they help most, and no further than the average allows."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from facette.fake_quantize import mixing_layers, round_weight
from facette.weight_bits import FEWEST, MOST, measure_harm, share_bits


def test_a_layer_that_suffers_more_gets_more_bits() -> None:
    bits = share_bits({"one": 0.16, "two": 0.01}, {"one": 100, "two": 100}, 4)
    assert bits == {"one": 5, "two": 3}


def test_a_small_layer_gets_more_bits_than_a_large_one_that_suffers_as_much() -> None:
    bits = share_bits({"small": 0.01, "large": 0.01}, {"small": 64, "large": 1024}, 4)
    assert bits["small"] > bits["large"]
    assert 64 * bits["small"] + 1024 * bits["large"] <= 4 * 1088


@pytest.mark.parametrize("mean", [1.0, 2.0, 3.3, 5.0, 7.0, 7.9])
def test_the_average_is_kept_and_every_layer_has_bits(mean: float) -> None:
    generator = torch.Generator().manual_seed(0)
    weights = {f"layer{number}": int(torch.randint(8, 512, (), generator=generator)) for number in range(9)}
    harm = {name: float(torch.rand((), generator=generator)) for name in weights}
    bits = share_bits(harm, weights, mean)
    assert all(FEWEST <= count <= MOST for count in bits.values())
    spent = sum(bits[name] * weights[name] for name in bits) / sum(weights.values())
    assert spent <= max(mean, FEWEST)
    assert spent > min(max(mean, FEWEST), MOST) - max(weights.values()) / sum(weights.values())


def test_harm_is_what_four_bits_of_one_layer_do_to_the_output() -> None:
    torch.manual_seed(0)
    network = nn.Sequential(nn.Conv2d(3, 8, 1), nn.ReLU(), nn.Conv2d(8, 8, 3, groups=8), nn.Flatten(), nn.Linear(32, 16)).eval()
    x = torch.randn(6, 3, 4, 4)
    layers = mixing_layers(network)
    assert list(layers) == ["0", "4"]
    kept = {name: layer.weight.clone() for name, layer in layers.items()}
    harm = measure_harm(network, layers, [x[:4], x[4:]])
    assert all(torch.equal(layer.weight, kept[name]) for name, layer in layers.items())
    with torch.no_grad():
        wanted = network(x)
        layers["4"].weight.copy_(round_weight(kept["4"], 4))
        by_hand = float((1 - torch.cosine_similarity(network(x), wanted)).mean())
    assert harm["4"] == pytest.approx(by_hand, rel=1e-4)
    assert harm["0"] > 0
