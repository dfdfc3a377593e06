"""Weights of one bit."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import pytest
import torch
from torch import nn
from torch.nn.utils import parametrize

from facette.passes.binarize import Binarize, _Binary, binarize, binary_layers
from facette.passes.distil import training_alignment
from facette.train.log import read_log
from tests.toolchain.faces import small_model, smooth_pictures

SETTINGS = Binarize(steps=60, batch=8, learning_rate=5e-3, warmup=2, ema=0.5, views=2, precision="fp32", checkpoint_every=10)


@pytest.mark.parametrize("depthwise", [False, True])
def test_all_but_the_first_and_the_last_layer_are_binary(tmp_path: Path, depthwise: bool) -> None:
    teacher = small_model()
    settings = dataclasses.replace(SETTINGS, depthwise=depthwise)
    crops = [smooth_pictures(32, training_alignment(teacher).size_wh[0])]
    trained = binarize(small_model(), teacher, settings, crops, tmp_path).network
    assert isinstance(trained, nn.Module)
    layers = {name: layer for name, layer in trained.named_modules() if isinstance(layer, (nn.Conv2d, nn.Linear))}
    binary = {name for name, layer in layers.items() if all(len(row.abs().unique()) == 1 for row in layer.weight.flatten(1))}
    assert binary == ({"point", "deep", "depthwise"} if depthwise else {"point", "deep"})
    assert not any(parametrize.is_parametrized(part) for part in trained.modules())
    losses = [float(row["loss"]) for row in read_log(tmp_path / "log.csv")]
    assert losses[-1] < losses[0]


def test_gradients_reach_the_hidden_weights_unless_they_are_far_out() -> None:
    torch.manual_seed(0)
    layer = nn.Conv2d(2, 1, 1, bias=False)
    with torch.no_grad():
        layer.weight.copy_(torch.tensor([0.1, -0.2]).reshape(1, 2, 1, 1))
    network = nn.Sequential(nn.Conv2d(2, 2, 1), layer, nn.Linear(1, 1))
    assert binary_layers(network, depthwise=False) == [layer]
    parametrize.register_parametrization(layer, "weight", _Binary())
    assert layer.weight.flatten().tolist() == pytest.approx([0.15, -0.15])
    layer.weight[0, 0].sum().backward()  # type: ignore[no-untyped-call]
    hidden = layer.parametrizations.weight.original.grad  # type: ignore[union-attr]
    assert hidden is not None
    assert float(hidden.flatten()[0]) > 0  # type: ignore[operator]
