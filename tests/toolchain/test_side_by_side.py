"""Two networks in step: each layer sees what the float part and what the changed part give it."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from facette.model import Model
from facette.passes.lower import flip_steep_channels, lower_prelu
from facette.passes.trace import trace
from facette.side_by_side import CHUNK, SideBySide, network_input
from tests.toolchain.quantizing import folded, layers, outputs, pictures

FACES = pictures(CHUNK + 3, seed=1)


class Activated(nn.Module):
    """Every way to write an activation, and two layers without one of their own."""

    def __init__(self) -> None:
        super().__init__()
        self.a, self.b, self.c, self.d, self.e = (nn.Conv2d(3, 3, 1) for _ in range(5))
        self.act = nn.PReLU(3)

    def forward(self, x: Tensor) -> Tensor:
        x = self.act(self.a(x))
        x = F.relu(self.b(x))
        x = self.c(x).sigmoid()
        x = self.d(x)
        return self.e(x + x.relu())


@pytest.fixture
def model(tiny_models: tuple[Model, Model]) -> Model:
    return folded(tiny_models[1])


def test_what_is_changed_is_what_the_next_layer_sees(model: Model) -> None:
    walk = SideBySide(model, FACES)
    seen = []
    for place in walk.layers():
        assert [len(chunk) for chunk in place.given_inputs] == [CHUNK, 3]
        seen.append((place.name, bool(torch.equal(place.wanted_inputs[0], place.given_inputs[0]))))
        if place.name == "conv1":
            place.layer.weight.data *= 2
    assert seen == [("conv1", True), ("conv2", False), ("embedding", False)]
    torch.testing.assert_close(layers(replace(model, network=walk.changed))["conv1"].weight, 2 * layers(model)["conv1"].weight)
    assert not torch.equal(outputs(replace(model, network=walk.changed), FACES), outputs(model, FACES))


def test_layers_inside_lowered_activations_are_visited(model: Model) -> None:
    walk = SideBySide(lower_prelu(flip_steep_channels(model), "dw2"), FACES[:2])
    assert [place.name for place in walk.layers()] == ["conv1", "act.linear", "act.rectified", "conv2", "embedding"]


def test_activations_are_found_where_nothing_else_reads_the_layer(model: Model) -> None:
    traced = trace(replace(model, network=Activated()))
    assert traced is not None
    found = {place.name: place.activation for place in SideBySide(traced, FACES[:2]).layers()}
    x = torch.tensor([[-2.0, 0.5, 3.0]])
    wanted = {"a": F.prelu(x, torch.full((3,), 0.25)), "b": x.relu(), "c": x.sigmoid()}
    for name, value in wanted.items():
        activation = found[name]
        assert activation is not None
        torch.testing.assert_close(activation(x), value)
    assert (found["d"], found["e"]) == (None, None)


def test_pictures_become_the_network_s_input(model: Model) -> None:
    x = network_input(model.image, FACES)
    assert x.shape == (CHUNK + 3, 3, 32, 32)
    pixel = torch.tensor(FACES[1, 2, 3].astype("float32"))
    wanted = (pixel - torch.tensor(model.image.mean)) * torch.tensor(model.image.scale)
    torch.testing.assert_close(x[1, :, 2, 3], wanted)
