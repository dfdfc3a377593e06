"""Equalization changes weights and nothing else."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
import torch
from torch import Tensor, fx, nn
from torch.nn import functional as F

from facette.model import Model
from facette.passes.equalize import equalize
from facette.passes.fold import fold_batch_norm
from facette.passes.trace import trace

PICTURE = torch.randn(2, 3, 64, 64, generator=torch.Generator().manual_seed(5))


class Chain(nn.Module):
    """Convolution, PReLU, depthwise, leaky ReLU, convolution, ReLU, pooling, and two linear readers of one flattened picture."""

    def __init__(self) -> None:
        super().__init__()
        self.first = nn.Conv2d(3, 8, 3, 2, 1)
        self.prelu = nn.PReLU(8)
        self.depthwise = nn.Conv2d(8, 8, 3, 1, 1, groups=8)
        self.grouped = nn.Conv2d(8, 12, 1, groups=2)
        self.one, self.other = nn.Linear(12 * 4, 5), nn.Linear(12 * 4, 3)

    def forward(self, x: Tensor) -> Tensor:
        x = self.depthwise(self.prelu(self.first(x)))
        x = F.max_pool2d(self.grouped(F.leaky_relu(x, 0.1)).relu(), 16).flatten(1)
        return torch.cat([self.one(x), self.other(x)], 1)


def ready(network: nn.Module, like: Model) -> Model:
    generator = torch.Generator().manual_seed(1)
    with torch.no_grad():
        for part in network.modules():
            if isinstance(part, nn.Conv2d):
                # Channels whose ranges differ a hundredfold, as those of networks with folded batch norms do.
                scale = torch.exp(torch.empty(part.out_channels).uniform_(-2.3, 2.3, generator=generator))
                part.weight *= scale[:, None, None, None]
            if isinstance(part, nn.PReLU):
                part.weight.copy_(torch.linspace(-0.5, 2, len(part.weight)))
            if isinstance(part, nn.BatchNorm2d) and part.running_var is not None:
                part.running_var.uniform_(0.5, 2, generator=generator)
    traced = trace(replace(like, network=network.eval()))
    assert traced is not None
    return fold_batch_norm(traced)


def outputs(model: Model) -> Tensor:
    assert isinstance(model.network, nn.Module)
    with torch.no_grad():
        given = model.network(PICTURE)
    return given if isinstance(given, Tensor) else torch.cat([output.flatten() for output in given])


def layer(model: Model, name: str) -> Tensor:
    assert isinstance(model.network, fx.GraphModule)
    weight = model.network.get_submodule(name).weight
    assert isinstance(weight, Tensor)
    return weight.detach().abs()


@pytest.fixture
def chain(tiny_models: tuple[Model, Model]) -> Model:
    torch.manual_seed(0)
    return ready(Chain(), tiny_models[1])


def test_the_function_stays(chain: Model) -> None:
    before = outputs(chain).clone()
    equalized = equalize(chain)
    torch.testing.assert_close(outputs(equalized), before, atol=1e-5, rtol=1e-5)
    assert torch.equal(outputs(chain), before)


def test_each_channel_has_the_same_range_on_both_sides(chain: Model) -> None:
    equalized = equalize(chain)
    written = layer(equalized, "first").amax((1, 2, 3))
    torch.testing.assert_close(written, layer(equalized, "depthwise").amax((1, 2, 3)), rtol=2e-3, atol=0)
    by_group = layer(equalized, "grouped").amax((2, 3)).reshape(2, 6, 4).amax(1).flatten()
    torch.testing.assert_close(layer(equalized, "depthwise").amax((1, 2, 3)), by_group, rtol=2e-3, atol=0)
    read = torch.stack([layer(equalized, name).reshape(-1, 12, 4).amax((0, 2)) for name in ("one", "other")]).amax(0)
    torch.testing.assert_close(layer(equalized, "grouped").amax((1, 2, 3)), read, rtol=2e-3, atol=0)
    spread = layer(chain, "first").amax((1, 2, 3))
    assert written.max() / written.min() < 0.3 * spread.max() / spread.min()


def test_unused_channels_stay(tiny_models: tuple[Model, Model]) -> None:
    network = Chain()
    with torch.no_grad():
        network.first.weight[3] = 0
        network.depthwise.weight[5] = 0
    chain = ready(network, tiny_models[1])
    equalized = equalize(chain)
    assert torch.isfinite(outputs(equalized)).all()
    torch.testing.assert_close(outputs(equalized), outputs(chain), atol=1e-5, rtol=1e-5)


class Residual(nn.Module):
    """A stream with a shortcut, ReLUs in three spellings, and a layer that is read by two."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Conv2d(3, 8, 3, 2, 1, bias=False)
        self.inner, self.outer = nn.Conv2d(8, 16, 3, 1, 1), nn.Conv2d(16, 8, 1)
        self.shared, self.boxes, self.landmarks = nn.Conv2d(8, 8, 3, 1, 1, groups=8), nn.Conv2d(8, 4, 1), nn.Conv2d(8, 10, 1)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        x = self.stem(x).relu()
        x = torch.relu(x + self.outer(F.relu(self.inner(x))))
        x = F.relu(self.shared(x))
        return self.boxes(x), self.landmarks(x)


def test_residual_networks(tiny_models: tuple[Model, Model]) -> None:
    torch.manual_seed(0)
    model = ready(Residual(), tiny_models[1])
    before = outputs(model)
    equalized = equalize(model)
    largest = before.abs().max()
    torch.testing.assert_close(outputs(equalized) / largest, before / largest, atol=1e-5, rtol=0)
    torch.testing.assert_close(
        layer(equalized, "inner").amax((1, 2, 3)), layer(equalized, "outer").amax((0, 2, 3)), rtol=2e-3, atol=0
    )
    # Two layers write into the residual stream: it stays as it was.
    assert torch.equal(layer(equalized, "stem"), layer(model, "stem"))
    read = torch.stack([layer(equalized, name).amax((0, 2, 3)) for name in ("boxes", "landmarks")]).amax(0)
    torch.testing.assert_close(layer(equalized, "shared").amax((1, 2, 3)), read, rtol=2e-3, atol=0)


class Twice(nn.Module):
    """One layer on two inputs."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(3, 3, 1)

    def forward(self, x: Tensor) -> Tensor:
        return self.conv(self.conv(x).relu())


@pytest.mark.parametrize(
    "network", [Twice(), nn.Sequential(nn.Conv2d(3, 4, 1), nn.Sigmoid(), nn.Conv2d(4, 2, 1))], ids=["twice", "sigmoid"]
)
def test_nothing_to_equalize(network: nn.Module, tiny_models: tuple[Model, Model]) -> None:
    model = ready(network, tiny_models[1])
    assert equalize(model) is model


def test_the_public_network(weights_dir: Path, tiny_models: tuple[Model, Model]) -> None:
    from facette.loading import SearchPath, load_embedder
    from facette.recipe import EmbedderRecipe

    stock = load_embedder(EmbedderRecipe("mobilefacenet-y1", "mobilefacenet-y1.safetensors"), SearchPath(weights_dir))
    traced = trace(stock)
    assert traced is not None
    folded = fold_batch_norm(traced)
    pictures = torch.randn(2, 3, 112, 112, generator=torch.Generator().manual_seed(0))
    equalized = equalize(folded)
    assert isinstance(folded.network, nn.Module)
    assert isinstance(equalized.network, nn.Module)
    with torch.no_grad():
        torch.testing.assert_close(equalized.network(pictures), folded.network(pictures), atol=1e-5, rtol=1e-4)
