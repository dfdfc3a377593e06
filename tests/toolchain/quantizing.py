"""What the tests of passes for quantization share: a folded tiny network, pictures, and how far rounding moves its outputs."""

from __future__ import annotations

import copy

import numpy as np
import torch
from torch import Tensor, nn

from facette.fake_quantize import round_weight
from facette.model import Model
from facette.passes.fold import fold_batch_norm
from facette.passes.trace import trace
from facette.side_by_side import network_input
from facette_runtime.types import Image

BITS = 4
"""Few enough that rounding hurts a tiny network."""


def folded(model: Model) -> Model:
    """Traced, batch norms folded."""
    traced = trace(model)
    assert traced is not None
    return fold_batch_norm(traced)


def pictures(count: int, seed: int, side: int = 32) -> Image:
    """uint8 [count, side, side, 3], smooth enough that neighbours are alike."""
    coarse = np.random.default_rng(seed).integers(0, 256, (count, side // 4, side // 4, 3), np.uint8)
    return np.ascontiguousarray(coarse.repeat(4, 1).repeat(4, 2))


def layers(model: Model) -> dict[str, nn.Conv2d | nn.Linear]:
    """Convolutions and linear layers by name."""
    assert isinstance(model.network, nn.Module)
    return {name: part for name, part in model.network.named_modules() if isinstance(part, (nn.Conv2d, nn.Linear))}


def outputs(model: Model, faces: Image, bits: int | None = None) -> Tensor:
    """The network's outputs, its weights rounded to nearest where ``bits`` says so."""
    model = copy.deepcopy(model)
    if bits is not None:
        for layer in layers(model).values():
            layer.weight.data = round_weight(layer.weight, bits)
    assert isinstance(model.network, nn.Module)
    with torch.no_grad():
        return model.network(network_input(model.image, faces))


def error(model: Model, original: Model, faces: Image, bits: int = BITS) -> float:
    """Mean squared difference of the rounded ``model``'s outputs from the float ``original``'s."""
    return float((outputs(model, faces, bits) - outputs(original, faces)).square().mean())
