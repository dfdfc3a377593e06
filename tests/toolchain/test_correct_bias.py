"""Bias correction takes back the mean shift that rounding causes, and nothing else."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from torch import nn

from facette.fake_quantize import round_weight
from facette.model import Model
from facette.passes.correct_bias import correct_bias
from facette.passes.trace import trace
from tests.toolchain.quantizing import BITS, error, folded, layers, outputs, pictures

SEEN, UNSEEN = pictures(32, seed=1), pictures(16, seed=2)


@pytest.fixture
def model(tiny_models: tuple[Model, Model]) -> Model:
    return folded(tiny_models[1])


def test_it_brings_the_rounded_network_closer_on_pictures_it_has_not_seen(model: Model) -> None:
    assert error(correct_bias(model, SEEN, BITS), model, UNSEEN) < 0.8 * error(model, model, UNSEEN)


def test_the_mean_of_every_output_is_that_of_the_float_network(model: Model) -> None:
    corrected = correct_bias(model, SEEN, BITS)
    shift = (outputs(corrected, SEEN, BITS) - outputs(model, SEEN)).mean(0)
    plain = (outputs(model, SEEN, BITS) - outputs(model, SEEN)).mean(0)
    assert shift.abs().max() < 1e-3 * plain.abs().max()


def test_weights_and_the_original_stay(model: Model) -> None:
    before = outputs(model, UNSEEN)
    corrected = correct_bias(model, SEEN, BITS)
    assert torch.equal(outputs(model, UNSEEN), before)
    for name, layer in layers(model).items():
        assert torch.equal(layers(corrected)[name].weight, layer.weight)
        assert not torch.equal(layers(corrected)[name].bias, layer.bias)


def test_a_layer_without_a_bias_gets_one(model: Model) -> None:
    traced = trace(replace(model, network=nn.Sequential(nn.Conv2d(3, 4, 3, bias=False))))
    assert traced is not None
    corrected = correct_bias(traced, SEEN, BITS)
    assert layers(traced)["0"].bias is None
    assert layers(corrected)["0"].bias.shape == (4,)
    plain, mended = (outputs(form, SEEN, BITS).mean() - outputs(traced, SEEN).mean() for form in (traced, corrected))
    assert abs(mended) < 0.1 * abs(plain)


def test_weights_on_the_grid_need_no_correction(model: Model) -> None:
    for layer in layers(model).values():
        layer.weight.data = round_weight(layer.weight, BITS)
    corrected = correct_bias(model, SEEN, BITS)
    assert all(torch.equal(layers(corrected)[name].bias, layer.bias) for name, layer in layers(model).items())


def test_it_needs_pictures(model: Model) -> None:
    with pytest.raises(ValueError, match="at least one picture"):
        correct_bias(model, SEEN[:0])
