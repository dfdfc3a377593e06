"""Zeros where they were asked for, nowhere else, and they stay."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

from facette.model import Model
from facette.passes.sparsify import Sparsify, sparsify, two_of_four
from facette.pruning.masks import density, hold_zeros, weights_of
from facette_runtime.errors import FacetteError, SchemaError
from facette_runtime.schema import from_dict


@pytest.fixture
def stock(tiny_models: tuple[Model, Model]) -> Model:
    return tiny_models[1]


def weights(model: Model) -> dict[str, Tensor]:
    assert isinstance(model.network, nn.Module)
    return {name: weight.detach() for name, weight in weights_of(model.network).items()}


def zeros(model: Model) -> dict[str, int]:
    return {name: int((weight == 0).sum()) for name, weight in weights(model).items()}


def test_the_largest_stay_as_they_were(stock: Model) -> None:
    sparse = sparsify(stock, Sparsify(keep=100))
    before = torch.cat([weight.flatten() for weight in weights(stock).values()])
    after = torch.cat([weight.flatten() for weight in weights(sparse).values()])
    assert int(after.count_nonzero()) == 100
    assert set(after.nonzero().flatten().tolist()) == set(before.abs().topk(100).indices.tolist())
    assert torch.equal(after[after != 0], before[after != 0])


def test_a_part_of_each_layer(stock: Model) -> None:
    sparse = sparsify(stock, Sparsify(sparsity=0.5, scope="layer", layers={"embedding": 0.75}))
    sizes = {name: weight.numel() for name, weight in weights(stock).items()}
    assert zeros(sparse) == {"conv1": sizes["conv1"] // 2, "conv2": sizes["conv2"] // 2, "embedding": sizes["embedding"] * 3 // 4}


def test_so_many_in_each_layer(stock: Model) -> None:
    sparse = sparsify(stock, Sparsify(keep=50, scope="layer"))
    assert {name: weight.numel() - zeros(sparse)[name] for name, weight in weights(stock).items()} == dict.fromkeys(
        weights(stock), 50
    )


def test_layers_that_come_first_are_emptied_first(stock: Model) -> None:
    total = sum(weight.numel() for weight in weights(stock).values())
    first, second = weights(stock)["embedding"].numel(), weights(stock)["conv2"].numel()
    settings = Sparsify(keep=total - first - 10, order=("embedding", "conv2"), most=1.0)
    assert zeros(sparsify(stock, settings)) == {"conv1": 0, "conv2": 10, "embedding": first}
    limited = zeros(sparsify(stock, replace(settings, most=0.5)))
    assert limited == {"conv1": first + 10 - first // 2 - second // 2, "conv2": second // 2, "embedding": first // 2}


def test_no_layer_is_emptied_whole(stock: Model) -> None:
    sparse = sparsify(stock, Sparsify(sparsity=1.0))
    assert all(weight.count_nonzero() > 0 for weight in weights(sparse).values())


def test_what_is_skipped_stays(stock: Model) -> None:
    assert zeros(sparsify(stock, Sparsify(sparsity=0.9, skip=("conv1",))))["conv1"] == 0


def test_two_of_every_four_input_channels() -> None:
    weight = torch.tensor([1.0, -4.0, 2.0, 3.0, 0.5, 0.1, 0.2, 0.3]).reshape(1, 8, 1, 1).repeat(2, 1, 3, 3)
    mask = two_of_four(weight)
    assert mask[1, :, 2, 2].tolist() == [False, True, False, True, True, False, False, True]
    assert (mask.unflatten(1, (2, 4)).sum(2) == 2).all()
    assert two_of_four(torch.ones(4, 3, 3, 3)).all()  # three channels make no group of four


def test_the_pattern_goes_wherever_it_fits(stock: Model) -> None:
    sparse = sparsify(stock, Sparsify(pattern="2:4"))
    assert zeros(sparse) == {"conv1": 0, "conv2": 0, "embedding": weights(stock)["embedding"].numel() // 2}


def test_zeros_stay_zero_in_training(stock: Model) -> None:
    sparse = sparsify(stock, Sparsify(sparsity=0.5))
    assert isinstance(sparse.network, nn.Module)
    before = density(sparse.network)
    assert hold_zeros(sparse.network)
    optimizer = torch.optim.AdamW(sparse.network.parameters(), lr=0.1, weight_decay=0.1)
    moved = next(sparse.network.parameters()).detach().clone()
    for _ in range(3):
        sparse.network(torch.randn(2, 3, 32, 32)).square().sum().backward()
        optimizer.step()
    assert density(sparse.network) == before == pytest.approx(0.5, abs=0.01)
    assert not torch.equal(moved, next(sparse.network.parameters()))
    assert not hold_zeros(nn.Linear(4, 4))


def test_the_original_is_left_alone(stock: Model) -> None:
    before = zeros(stock)
    sparsify(stock, Sparsify(sparsity=0.9))
    assert zeros(stock) == before


def test_what_cannot_be_done_is_refused(stock: Model) -> None:
    with pytest.raises(FacetteError, match="no layer 'norm' with weights; known: conv1, conv2, embedding"):
        sparsify(stock, Sparsify(sparsity=0.5, order=("norm",)))
    with pytest.raises(FacetteError, match="ONNX file"):
        sparsify(replace(stock, network=Path("net.onnx")), Sparsify(sparsity=0.5))


@pytest.mark.parametrize(
    ("table", "message"),
    [
        ({}, "either sparsity"),
        ({"sparsity": 0.5, "keep": 3}, "either sparsity"),
        ({"sparsity": 1.5}, r"0\.\.1"),
        ({"pattern": "2:4", "sparsity": 0.5}, "half of everything"),
        ({"sparsity": 0.5, "scope": "layer", "order": ["a"]}, "order is for"),
        ({"sparsity": 0.5, "layers": {"a": 0.5}}, "layers are for"),
        ({"keep": -1}, "negative"),
    ],
)
def test_settings_that_contradict_themselves_are_refused(table: dict[str, object], message: str) -> None:
    with pytest.raises(SchemaError, match=message):
        from_dict(Sparsify, table, "passes[0]")
