"""Bias correction: rounding weights shifts what a layer gives on average; its bias takes the shift back."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import torch
from torch import Tensor, nn

from facette.fake_quantize import Layer, is_on_grid, round_weight
from facette.model import Model
from facette.side_by_side import Place, SideBySide


@torch.no_grad()
def correct_bias(model: Model, pictures: np.ndarray, bits: int = 8) -> Model:
    """Subtracts from every bias the shift of its layer's mean output that rounding the weights causes (Nagel et al., "Data-free
    quantization through weight equalization and bias correction", 2019, section 4.2; measured on pictures as in appendix D).

    Layers are corrected in the order in which they run, each on what the layers before it give when rounded and corrected. The
    weights stay as they are, since the exporters round them; a layer whose weights lie on the grid already keeps its bias.

    Args:
        model: traced, batch norms folded; in the form that ships, so that no later pass rescales the weights.
        pictures: uint8 [n, h, w, 3] in the network's channel order; a hundred are plenty, as only means are taken.
        bits: of the weights' grid.

    Returns:
        A model whose layers have biases, also where there was none before.
    """
    walk = SideBySide(model, pictures)
    originals: dict[Layer, Tensor] = {}
    for place in walk.layers():
        if is_on_grid(place.layer.weight, bits):
            continue
        originals[place.layer] = place.layer.weight.data
        place.layer.weight.data = round_weight(place.layer.weight, bits)
        _subtract(place.layer, _shift(place))
    for layer, weight in originals.items():
        layer.weight.data = weight
    return replace(model, network=walk.changed)


def _shift(place: Place) -> Tensor:
    """By how much the mean output of each channel has moved: float32 [out]."""
    given = torch.stack([_channel_means(place.layer, chunk) * len(chunk) for chunk in place.given_inputs]).sum(0)
    wanted = torch.stack([_channel_means(place.original, chunk) * len(chunk) for chunk in place.wanted_inputs]).sum(0)
    return (given - wanted) / sum(map(len, place.wanted_inputs))


def _channel_means(layer: Layer, x: Tensor) -> Tensor:
    output = layer(x)
    return output.mean((0, 2, 3)) if isinstance(layer, nn.Conv2d) else output.flatten(0, -2).mean(0)


def _subtract(layer: Layer, shift: Tensor) -> None:
    if layer.bias is None:
        layer.bias = nn.Parameter(-shift, requires_grad=False)
    else:
        layer.bias.data -= shift
