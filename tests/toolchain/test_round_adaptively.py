"""AdaRound beats plain rounding and leaves weights that round to themselves."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from torch import Tensor, nn

from facette.fake_quantize import is_on_grid, round_activation, round_weight, weight_codes, weight_scale
from facette.model import Model
from facette.passes.lower import flip_steep_channels, lower_prelu
from facette.passes.round_adaptively import RoundAdaptively, round_adaptively
from facette.passes.trace import trace
from facette_runtime.schema import from_dict
from tests.toolchain.quantizing import BITS, error, folded, layers, outputs, pictures

SEEN, UNSEEN = pictures(48, seed=1), pictures(16, seed=2)
SETTINGS = RoundAdaptively(steps=150, batch=128, samples=2048, bits=BITS)


@pytest.fixture
def model(tiny_models: tuple[Model, Model]) -> Model:
    return folded(tiny_models[1])


@pytest.fixture
def rounded(model: Model) -> Model:
    return round_adaptively(model, SETTINGS, SEEN)


def test_it_beats_rounding_to_nearest_on_pictures_it_has_not_seen(model: Model, rounded: Model) -> None:
    assert error(rounded, model, UNSEEN) < 0.7 * error(model, model, UNSEEN)


def test_rounding_the_result_changes_nothing(model: Model, rounded: Model) -> None:
    torch.testing.assert_close(outputs(rounded, UNSEEN, BITS), outputs(rounded, UNSEEN), atol=1e-5, rtol=1e-5)
    for name, layer in layers(model).items():
        result = layers(rounded)[name].weight.detach()
        assert is_on_grid(result, BITS)
        torch.testing.assert_close(weight_scale(result, BITS), weight_scale(layer.weight, BITS), atol=0, rtol=1e-6)
        torch.testing.assert_close(round_weight(result, BITS), result, atol=0, rtol=1e-6)


def test_every_weight_went_to_a_neighbour_on_the_grid(model: Model, rounded: Model) -> None:
    moved = 0
    for name, layer in layers(model).items():
        exact = layer.weight.detach() / weight_scale(layer.weight, BITS)
        codes = weight_codes(layers(rounded)[name].weight, BITS)
        assert bool(((codes - exact).abs() < 1 + 1e-3).all())
        moved += int((codes != exact.round()).sum())
    assert moved > 0


def test_rounding_again_and_lowering_keep_the_grid(model: Model) -> None:
    rounded = round_adaptively(flip_steep_channels(model), SETTINGS, SEEN)
    again = round_adaptively(rounded, SETTINGS, SEEN)
    lowered = lower_prelu(rounded, "dw2")
    assert all(torch.equal(layers(again)[name].weight, layer.weight) for name, layer in layers(rounded).items())
    assert all(torch.equal(layers(lowered)[name].weight, layer.weight) for name, layer in layers(rounded).items())


def test_a_lowered_network_is_rounded_too(model: Model) -> None:
    lowered = lower_prelu(flip_steep_channels(model), "dw2")
    rounded = round_adaptively(lowered, SETTINGS, SEEN)
    assert error(rounded, lowered, UNSEEN) < error(lowered, lowered, UNSEEN)


def test_the_same_seed_gives_the_same_weights(model: Model, rounded: Model) -> None:
    again = round_adaptively(model, SETTINGS, SEEN)
    assert torch.equal(outputs(again, UNSEEN), outputs(rounded, UNSEEN))


@pytest.mark.parametrize(
    "convolution",
    [
        nn.Conv2d(8, 8, 3, 2, 1, groups=2),
        nn.Conv2d(8, 8, (3, 2), dilation=(1, 2), padding="same"),
        nn.Conv2d(8, 16, 3, padding="valid", groups=8),
        nn.Conv2d(8, 8, 3, padding=1, padding_mode="replicate"),
    ],
    ids=["grouped", "dilated", "depthwise", "replicated"],
)
def test_every_kind_of_convolution_is_learnt(model: Model, convolution: nn.Conv2d) -> None:
    torch.manual_seed(0)
    nn.init.normal_(convolution.weight)
    first = nn.Conv2d(3, 8, 1)
    first.weight.data = round_weight(torch.randn(8, 3, 1, 1), 3)  # on the grid already: only the second one is learnt
    traced = trace(replace(model, network=nn.Sequential(first, convolution, nn.Hardswish())))
    assert traced is not None
    rounded = round_adaptively(traced, replace(SETTINGS, bits=3), SEEN)
    assert torch.equal(layers(rounded)["0"].weight, first.weight)
    assert error(rounded, traced, UNSEEN, 3) < 0.9 * error(traced, traced, UNSEEN, 3)


class Twice(nn.Module):
    """A layer that is called twice."""

    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.Conv2d(3, 3, 3, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        return self.layer(torch.relu(self.layer(x)))


def test_a_layer_that_runs_twice_is_rounded_once(model: Model) -> None:
    traced = trace(replace(model, network=Twice()))
    assert traced is not None
    rounded = round_adaptively(traced, SETTINGS, SEEN)
    assert is_on_grid(layers(rounded)["layer"].weight, BITS)


def test_settings_come_from_a_recipe_and_are_checked() -> None:
    assert from_dict(RoundAdaptively, {"kind": "round-adaptively", "steps": 20}, "recipe").steps == 20
    with pytest.raises(ValueError, match="steps"):
        RoundAdaptively(steps=0)
    with pytest.raises(ValueError, match="bits"):
        RoundAdaptively(bits=1)


def test_the_grids() -> None:
    weight = torch.tensor([[0.5, -1.27, 0.004], [0.0, 0.0, 0.0]])
    assert torch.equal(weight_codes(weight), torch.tensor([[50.0, -127.0, 0.0], [0.0, 0.0, 0.0]]))
    torch.testing.assert_close(round_weight(weight), torch.tensor([[0.5, -1.27, 0.0], [0.0, 0.0, 0.0]]))
    assert not is_on_grid(weight)
    x = torch.tensor([-9.0, -1.0, 0.0, 0.4, 2.0, 9.0])
    torch.testing.assert_close(round_activation(x, -1.0, 2.0, bits=2), torch.tensor([-1.0, -1.0, 0.0, 0.0, 2.0, 2.0]))
    assert float(round_activation(torch.zeros(1), 1.0, 2.0)) == 0  # zero is always exact


@pytest.mark.parametrize("bits", [2, 4, 7])
def test_steps_of_few_bits_have_few_binary_digits_and_every_channel_has_the_last_code(bits: int) -> None:
    weight = torch.randn(64, 40, generator=torch.Generator().manual_seed(0))
    steps = weight_scale(weight, bits)
    assert torch.equal(torch.frexp(steps).mantissa * 32 % 1, torch.zeros(64, 1))
    rounded, last = round_weight(weight, bits), 2 ** (bits - 1) - 1
    assert torch.equal(weight_codes(weight, bits).abs().amax(1), torch.full((64,), float(last)))
    assert torch.equal(round_weight(rounded, bits), rounded)
    clipped = 1 - rounded.abs().amax(1) / weight.abs().amax(1)
    assert float(clipped.min()) >= 0
    assert float(clipped.max()) < 1 / 16
